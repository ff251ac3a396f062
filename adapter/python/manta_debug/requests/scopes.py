"""`scopes`: the locals and globals of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..values.tree import ScopeNode
from .base import Arguments, Body, OnStop, of_frame

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def _scopes(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    frame = stop.frame(int(arguments["frameId"]))
    pseudo: tuple[tuple[str, Any], ...] = ()
    if frame is stop.stack[0].frame:
        if stop.return_value is not None:
            pseudo += ((f"(return) {stop.return_value[0]}", stop.return_value[1]),)
        if stop.exception is not None:
            pseudo += (("__exception__", stop.exception),)
    local = ScopeNode(frame, False, pseudo)
    return {
        "scopes": [
            {
                "name": "Locals",
                "presentationHint": "locals",
                "variablesReference": stop.handle(local),
                "expensive": False,
            },
            {"name": "Globals", "variablesReference": stop.handle(ScopeNode(frame, True)), "expensive": True},
        ]
    }


REQUESTS = {"scopes": OnStop(of_frame, _scopes)}
