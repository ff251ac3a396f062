"""`cancel`: gives up a request that waits for a stopped thread, or that evaluates there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Arguments, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine


def _cancel(engine: Engine, arguments: Arguments) -> Reply:
    wanted = arguments.get("requestId")
    if wanted is not None:
        engine.cancel(int(wanted))
    return Reply()


REQUESTS = {"cancel": OnClient(_cancel)}
