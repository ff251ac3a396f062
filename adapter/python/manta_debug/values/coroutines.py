"""The tasks of a stopped thread's event loop: each with the coroutines in which it waits, and their locals."""

from __future__ import annotations

from types import FrameType
from typing import Any

from .. import awaiting
from .tree import Child, GroupNode, ScopeNode


def coroutines(frame: FrameType) -> list[Child]:
    """One child for each unfinished task of the calling thread's event loop."""
    current = awaiting.current_task()
    return [_task(task, task is current, frame) for task in awaiting.tasks()]


def _task(task: Any, is_current: bool, frame: FrameType) -> Child:
    if is_current:
        return Child(
            awaiting.name_of(task),
            None,
            None,
            node=GroupNode(list, frame),
            text="runs; it is the one that stopped",
        )
    frames = awaiting.frames_of(task)
    text = (
        f"waits at {awaiting.place_of(frames[0])} in {frames[0].f_code.co_qualname}"
        if frames
        else "has no frame"
    )
    node = GroupNode(lambda: [_frame(f) for f in frames], frame)
    return Child(awaiting.name_of(task), None, None, node=node, text=text)


def _frame(frame: FrameType) -> Child:
    return Child(
        frame.f_code.co_qualname, None, None, node=ScopeNode(frame, False), text=awaiting.place_of(frame)
    )
