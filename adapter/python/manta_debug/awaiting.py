"""Coroutines: what a suspended one waits in, and which task waits for which. Looks without importing or changing anything.

To be called on the thread that runs the event loop.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, FunctionType, GeneratorType
from typing import Any

from . import limits

_FRAMED = (CoroutineType, GeneratorType, AsyncGeneratorType)
# What stands between an awaiting coroutine and the one that it awaits, and does not name it.
_WRAPPERS = frozenset({"coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable"})


def await_stack(coroutine: Any) -> list[FrameType]:
    """The frames of a suspended coroutine and of what it awaits, innermost first."""
    frames: list[FrameType] = []
    awaited = coroutine
    for _ in range(limits.AWAITS_MAX):
        if isinstance(awaited, CoroutineType):
            frame, following = awaited.cr_frame, awaited.cr_await
        elif isinstance(awaited, GeneratorType):
            frame, following = awaited.gi_frame, awaited.gi_yieldfrom
        elif isinstance(awaited, AsyncGeneratorType):
            frame, following = awaited.ag_frame, awaited.ag_await
        elif type(awaited).__name__ in _WRAPPERS:
            frame, following = None, next((r for r in gc.get_referents(awaited) if isinstance(r, _FRAMED)), None)
        else:
            break
        if frame is not None:
            frames.append(frame)
        awaited = following
    frames.reverse()
    return frames


def tasks() -> list[Any]:
    """The unfinished tasks of the event loop that the calling thread runs, in the order of their names' numbers."""
    loop = _running_loop()
    if loop is None:
        return []
    found = sys.modules["asyncio.tasks"].all_tasks(loop)
    return sorted(found, key=lambda task: (len(name_of(task)), name_of(task)))


def has_loop() -> bool:
    """Whether the calling thread runs an event loop."""
    return _running_loop() is not None


def current_task() -> Any:
    """The task that runs on the calling thread, if any."""
    loop = _running_loop()
    return sys.modules["asyncio.tasks"].current_task(loop) if loop is not None else None


def name_of(task: Any) -> str:
    """The task's name."""
    return str(task.get_name())[: limits.STRING_CHARS_MAX]


def frames_of(task: Any) -> list[FrameType]:
    """Where a task that does not run waits, innermost frame first."""
    return await_stack(task.get_coro())


def awaiters(frame: FrameType) -> Iterator[Any]:
    """The tasks that wait, one for the other, for the task whose outermost frame this is."""
    task = current_task()
    if task is None or getattr(task.get_coro(), "cr_frame", None) is not frame:
        return
    seen = {id(task)}
    for _ in range(limits.AWAITERS_MAX):
        task = _waiter(task, seen)
        if task is None:
            return
        yield task


def _running_loop() -> Any:
    events = sys.modules.get("asyncio.events")
    return events._get_running_loop() if events is not None and "asyncio.tasks" in sys.modules else None


def _waiter(future: Any, seen: set[int]) -> Any:
    """The task that goes on when this future is done, through `gather`, `wait`, `shield` or a task group."""
    kind, task_kind = sys.modules["asyncio.futures"].Future, sys.modules["asyncio.tasks"].Task
    for callback in getattr(future, "_callbacks", None) or ():
        call = callback[0] if isinstance(callback, tuple) else callback
        for candidate in _behind(call):
            if id(candidate) in seen or not isinstance(candidate, kind):
                continue
            seen.add(id(candidate))
            found = candidate if isinstance(candidate, task_kind) else _waiter(candidate, seen)
            if found is not None:
                return found
    return None


def _behind(call: Any) -> list[Any]:
    """The futures that a callback belongs to: its own object, a task group's parent, or what a nested function holds."""
    owner = getattr(call, "__self__", None)
    if owner is not None:
        return [owner, getattr(owner, "_parent_task", None)]
    if isinstance(call, FunctionType) and call.__closure__:
        return [cell.cell_contents for cell in call.__closure__ if _is_filled(cell)]
    return []


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
