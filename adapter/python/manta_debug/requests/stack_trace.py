"""`stackTrace`: a page of a stopped thread's frames."""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from .. import limits
from ..codes import CO_VARARGS, CO_VARKEYWORDS
from ..stack import describe_frame
from ..values.render import render, type_name
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
    wanted = arguments.get("format")
    if isinstance(wanted, dict):
        for index, frame in enumerate(frames, start):
            frame["name"] = _name(stop, index, frame, wanted)
    if not engine.lines_start_at_1:
        for frame in frames:
            frame.update(line=max(0, frame["line"] - 1))
    return {"stackFrames": frames, "totalFrames": len(stop.stack)}


def _name(stop: Stop, index: int, described: Body, wanted: Body) -> str:
    """The frame's name as a client's `StackFrameFormat` asks for it."""
    entry = stop.stack[index]
    name = str(described["name"])
    if entry.label is not None:
        return name
    if wanted.get("parameters"):
        name += f"({', '.join(_parameters(entry.frame, wanted))})"
    if wanted.get("module"):
        name = f"{entry.frame.f_globals.get('__name__', '?')}.{name}"
    return f"{name} : {described['line']}" if wanted.get("line") else name


def _parameters(frame: FrameType, wanted: Body) -> Iterator[str]:
    code, values = frame.f_code, frame.f_locals
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    for name in code.co_varnames[:count]:
        shown = [name] if wanted.get("parameterNames") else []
        if name in values:
            if wanted.get("parameterTypes"):
                shown = [": ".join([*shown, type_name(values[name])])]
            if wanted.get("parameterValues"):
                shown.append(render(values[name]))
        yield "=".join(shown)


REQUESTS = {"stackTrace": OnStop(of_thread, frames_of)}
