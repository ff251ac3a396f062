"""`mantaLook`: what the client will ask of a stop, told ahead of being asked.

A request that resumes a thread says what is wanted of its next stop. It is told behind the stop itself, the stack ahead of the variables,
so that neither is kept waiting for what comes behind it.
"""

from __future__ import annotations

import os
from time import perf_counter as _clock
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


def let_pass() -> None:
    """Lets those run first that were put in line behind this very thread, as long as there are any.

    Who writes to a Unix socket is believed to wait for the answer, so the kernel puts the adapter that reads the stop in line
    for the processor of this thread, which has more to tell.
    """
    before = _clock()
    until = before + limits.GIVE_WAY_SECONDS
    while before < until:
        os.sched_yield()
        now = _clock()
        if now - before < limits.NOBODY_RAN_SECONDS:
            return
        before = now


def stack_at(engine: Engine, stop: Stop, wanted: Arguments) -> Body:
    """The innermost frames; `more` if variables are to follow."""
    levels = max(1, min(int(wanted.get("levels") or 1), limits.LOOK_FRAMES_MAX))
    stack = frames_of(engine, stop, {"startFrame": 0, "levels": levels})
    innermost = stop.stack[0]
    if not wanted.get("variables") or innermost.label is not None:
        return {"stackTrace": stack}
    if len(scope_children(ScopeNode(innermost.frame, False, ()))) > limits.LOOK_VARIABLES_MAX:
        return {"stackTrace": stack}
    return {"stackTrace": stack, "more": True}


def variables_at(engine: Engine, stop: Stop) -> Body:
    """The scopes of the innermost frame, with the variables of the first."""
    frame = stop.frame_id(0)
    scopes = scopes_of(engine, stop, {"frameId": frame})
    scope = scopes["scopes"][0]["variablesReference"]
    variables = variables_of(engine, stop, {"variablesReference": scope})
    return {"frame": frame, "scopes": scopes, "scope": scope, "variables": variables}
