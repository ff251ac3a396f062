"""`restartFrame`: the innermost function begins again, with its parameters as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..codes import CO_OPTIMIZED, first_line
from ..errors import RequestError
from ..jump import jump
from ..stops import Resume
from .base import Arguments, OnStop, Reply, of_frame

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def _restart_frame(engine: Engine, stop: Stop, arguments: Arguments) -> Reply:
    frame = stop.frame(int(arguments["frameId"]))
    line = first_line(frame.f_code)
    if not frame.f_code.co_flags & CO_OPTIMIZED or line is None:
        raise RequestError("Only a function can begin again, not a module or a class body.")
    jump(stop, frame, line)
    return Reply(then=lambda: stop.inbox.put(Resume("restart")))


REQUESTS = {"restartFrame": OnStop(of_frame, _restart_frame)}
