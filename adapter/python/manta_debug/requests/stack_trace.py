"""`stackTrace`: a page of a stopped thread's frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import limits
from ..stack import describe_frame
from .base import Arguments, Body, OnStop, of_thread

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def frames_of(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    """A page of the stop's frames."""
    start = max(0, int(arguments.get("startFrame") or 0))
    levels = int(arguments.get("levels") or 0) or limits.FRAMES_PAGE_MAX
    end = min(len(stop.stack), start + min(levels, limits.FRAMES_PAGE_MAX))
    frames = [describe_frame(engine.core, stop, index) for index in range(start, end)]
    if not engine.lines_start_at_1:
        for frame in frames:
            frame.update(line=max(0, frame["line"] - 1))
    return {"stackFrames": frames, "totalFrames": len(stop.stack)}


REQUESTS = {"stackTrace": OnStop(of_thread, frames_of)}
