"""`mantaLook`: what the client will ask of a stop, told ahead of being asked.

A request that resumes a thread says what is wanted of its next stop. It is told behind the stop itself, in a message of its own, so
that the stop is not kept waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import limits
from ..values.tree import ScopeNode, scope_children
from .base import Arguments, Body
from .scopes import scopes_of
from .stack_trace import frames_of
from .variables import variables_of

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def look_at(engine: Engine, stop: Stop, wanted: Arguments) -> Body:
    """The innermost frames, and if they are wanted the scopes of the innermost one with the variables of the first."""
    levels = max(1, min(int(wanted.get("levels") or 1), limits.LOOK_FRAMES_MAX))
    stack = frames_of(engine, stop, {"startFrame": 0, "levels": levels})
    told: Body = {"stackTrace": stack}
    innermost = stop.stack[0]
    if not wanted.get("variables") or innermost.label is not None:
        return told
    if len(scope_children(ScopeNode(innermost.frame, False, ()))) > limits.LOOK_VARIABLES_MAX:
        return told
    frame = stack["stackFrames"][0]["id"]
    scopes = scopes_of(engine, stop, {"frameId": frame})
    scope = scopes["scopes"][0]["variablesReference"]
    variables = variables_of(engine, stop, {"variablesReference": scope})
    return {**told, "frame": frame, "scopes": scopes, "scope": scope, "variables": variables}
