"""`pause`: stops one running thread at its next line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Arguments, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine


def _pause(engine: Engine, arguments: Arguments) -> Reply:
    engine.core.attach()
    thread_id = int(arguments["threadId"])
    return Reply(then=lambda: engine.core.pause(thread_id))


REQUESTS = {"pause": OnClient(_pause)}
