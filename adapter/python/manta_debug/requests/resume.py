"""`continue`, `next`, `stepIn`, `stepOut`: one thread goes on, the others stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RequestError
from ..stops import Resume, Stop
from ..targets import CallTarget
from .base import Arguments, Body, OnClient, Reply, of_thread

if TYPE_CHECKING:
    from ..engine import Engine


def _request(kind: str, body: Body | None) -> OnClient:
    def run(engine: Engine, arguments: Arguments) -> Reply:
        with engine.core.lock:
            if kind == "continue" and engine.core.is_running(int(arguments["threadId"])):
                # Clients send it twice for a quick second click, and what it asks for is so already.
                return Reply(body)
            stop = of_thread(engine, arguments)
            target = _call_target(stop, arguments) if kind == "stepIn" else None
            stop.is_resuming = True
            look = arguments.get("mantaLook")
            stop.thread.look = look if isinstance(look, dict) else None
        stop.interrupt()
        return Reply(body, then=lambda: stop.inbox.put(Resume(kind, target)))

    return OnClient(run)


def _call_target(stop: Stop, arguments: Arguments) -> CallTarget | None:
    wanted = arguments.get("targetId")
    if wanted is None:
        return None
    target = stop.call_targets.get(int(wanted))
    if target is None:
        raise RequestError("This call is no longer there to step into: its thread has gone on since.")
    return target


REQUESTS = {
    "continue": _request("continue", {"allThreadsContinued": False}),
    "next": _request("next", None),
    "stepIn": _request("stepIn", None),
    "stepOut": _request("stepOut", None),
}
