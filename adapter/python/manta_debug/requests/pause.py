"""`pause`: stops one running thread at its next line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Arguments, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine


def _pause(engine: Engine, arguments: Arguments) -> Reply:
    engine.core.attach()
    # Before the answer, as a thread that cannot be paused is a refusal. Its stop may overtake the answer, which the protocol allows.
    engine.core.pause(int(arguments["threadId"]))
    return Reply()


REQUESTS = {"pause": OnClient(_pause)}
