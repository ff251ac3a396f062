"""The frames of a stopped thread, as the client sees them."""

from __future__ import annotations

import os
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from . import awaiting, limits, templates
from .codes import CO_OPTIMIZED
from .origins import Origin, Origins
from .stops import StackEntry, Stop

if TYPE_CHECKING:
    from .core import Core


def stack_of(frame: FrameType | None, origins: Origins) -> list[StackEntry]:
    """The frames from this one outwards, without what only starts a task, a thread or a script."""
    stack: list[StackEntry] = []
    while frame is not None and len(stack) < limits.FRAMES_COUNTED_MAX:
        stack.append(StackEntry(frame, frame.f_lineno or frame.f_code.co_firstlineno))
        frame = frame.f_back
    while len(stack) > 1 and origins.is_bootstrap(stack[-1].frame):
        stack.pop()
    return stack


def add_awaiters(stack: list[StackEntry]) -> None:
    """Behind the frames of an asyncio task, puts those of the task that awaits it, as if it had called."""
    if not awaiting.has_loop():
        return
    task = awaiting.current_task()
    outermost = getattr(task.get_coro(), "cr_frame", None) if task is not None else None
    at = next((i for i, entry in enumerate(stack) if entry.frame is outermost), None)
    if at is None or outermost is None:
        return
    added: list[StackEntry] = []
    for waiter in awaiting.awaiters(outermost):
        frames = awaiting.frames_of(waiter)
        if not frames:
            break
        added.append(StackEntry(frames[0], 0, f"awaited by {awaiting.name_of(waiter)}"))
        added += [StackEntry(f, f.f_lineno or f.f_code.co_firstlineno) for f in frames]
    stack[at + 1 : at + 1] = added


def stack_of_traceback(frame: FrameType, error: BaseException, origins: Origins) -> list[StackEntry]:
    """The frames that an exception went through, innermost first, and then those around `frame`, which it leaves."""
    inner: list[StackEntry] = []
    link: TracebackType | None = error.__traceback__
    while link is not None and len(inner) < limits.FRAMES_COUNTED_MAX:
        inner.append(StackEntry(link.tb_frame, link.tb_lineno))
        link = link.tb_next
    if not inner:
        return stack_of(frame, origins)
    inner.reverse()
    outer = [e for e in stack_of(frame, origins)[1:] if not origins.is_bootstrap(e.frame)]
    return inner + outer


def place_of(core: Core, frame: FrameType, line: int) -> tuple[dict[str, Any], int]:
    """The source and the line that the client sees for a line of a frame's code."""
    file = frame.f_code.co_filename
    elsewhere = core.sources.maps.at_client(file, line)
    if elsewhere is not None:
        return {"name": os.path.basename(elsewhere[0]), "path": elsewhere[0]}, elsewhere[1]
    return core.sources.of(frame.f_code), templates.line_of(frame, line)


def describe_frame(core: Core, stop: Stop, index: int) -> dict[str, Any]:
    """One DAP `StackFrame`."""
    entry = stop.stack[index]
    if entry.label is not None:
        return {
            "id": stop.frame_id(index),
            "name": entry.label,
            "line": 0,
            "column": 0,
            "presentationHint": "label",
        }
    code = entry.frame.f_code
    source, line = place_of(core, entry.frame, entry.line)
    described: dict[str, Any] = {
        "id": stop.frame_id(index),
        "name": templates.name_of(entry.frame) or code.co_qualname,
        "line": line,
        "column": 1,
        "source": source,
    }
    if index or stop.exception is not None or not code.co_flags & CO_OPTIMIZED:
        described["canRestart"] = False
    if core.origins.of(code) is not Origin.USER:
        described["presentationHint"] = "subtle"
    return described
