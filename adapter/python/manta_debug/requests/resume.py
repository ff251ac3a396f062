"""`continue`, `next`, `stepIn`, `stepOut`: one thread goes on, the others stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..stops import Resume
from .base import Arguments, Body, OnClient, Reply, of_thread

if TYPE_CHECKING:
    from ..engine import Engine


def _request(kind: str, body: Body | None) -> OnClient:
    def run(engine: Engine, arguments: Arguments) -> Reply:
        with engine.core.lock:
            stop = of_thread(engine, arguments)
            stop.is_resuming = True
        stop.interrupt()
        return Reply(body, then=lambda: stop.inbox.put(Resume(kind)))

    return OnClient(run)


REQUESTS = {
    "continue": _request("continue", {"allThreadsContinued": False}),
    "next": _request("next", None),
    "stepIn": _request("stepIn", None),
    "stepOut": _request("stepOut", None),
}
