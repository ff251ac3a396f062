"""`scopes`: the locals and globals of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import awaiting
from ..values.coroutines import coroutines
from ..values.tree import GroupNode, ScopeNode
from .base import Arguments, Body, OnStop, of_frame

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def scopes_of(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    """The scopes of `frameId`."""
    frame = stop.frame(int(arguments["frameId"]))
    pseudo: tuple[tuple[str, Any], ...] = ()
    if frame is stop.stack[0].frame:
        pseudo += tuple((f"(return) {name}", value) for name, value in stop.returned.items())
        if stop.exception is not None:
            pseudo += (("__exception__", stop.exception),)
    scope = stop.scope(int(arguments["frameId"]))
    local = ScopeNode(scope, False, pseudo)
    scopes: list[Body] = [
        {
            "name": "Locals",
            "presentationHint": "locals",
            "variablesReference": stop.handle(local),
            "expensive": False,
        },
        {"name": "Globals", "variablesReference": stop.handle(ScopeNode(scope, True)), "expensive": True},
    ]
    if frame is stop.stack[0].frame and awaiting.has_loop():
        # A scope, as every client shows scopes, and DAP has threads that are flat: a coroutine that does not run is no thread.
        node = GroupNode(lambda: coroutines(frame), frame)
        scopes.append({"name": "Asyncio tasks", "variablesReference": stop.handle(node), "expensive": True})
    return {"scopes": scopes}


REQUESTS = {"scopes": OnStop(of_frame, scopes_of)}
