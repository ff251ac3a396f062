"""Coroutines: what a suspended one waits in, and which task waits for which. Looks without importing or changing anything.

To be called on the thread that runs the event loop.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, FunctionType, GeneratorType
from typing import TYPE_CHECKING, Any

from . import limits
from .codes import first_traceable_offset

if TYPE_CHECKING:
    Suspendable = GeneratorType[Any, Any, Any] | CoroutineType[Any, Any, Any] | AsyncGeneratorType[Any, Any]

SUSPENDABLE = (GeneratorType, CoroutineType, AsyncGeneratorType)
# The prefix of the attributes of each kind, and the attribute that says what it waits for.
_PREFIX: dict[type, str] = {GeneratorType: "gi", CoroutineType: "cr", AsyncGeneratorType: "ag"}
_AWAITED: dict[type, str] = {
    GeneratorType: "gi_yieldfrom",
    CoroutineType: "cr_await",
    AsyncGeneratorType: "ag_await",
}
# What stands between an awaiting coroutine and the one that it awaits, and does not name it.
_WRAPPERS = frozenset(
    {"coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable"}
)


def frame_of(call: Suspendable) -> FrameType | None:
    """The frame of a generator or coroutine that has not ended."""
    frame: FrameType | None = getattr(call, f"{_PREFIX[type(call)]}_frame")
    return frame


def awaited_by(call: Suspendable) -> tuple[str, Any]:
    """What a suspended one waits for, behind the name of the attribute that says so."""
    attribute = _AWAITED[type(call)]
    return attribute, getattr(call, attribute)


def state_of(call: Suspendable) -> str:
    """Where a generator or coroutine is, in words."""
    frame, prefix = frame_of(call), _PREFIX[type(call)]
    if frame is None:
        return "finished"
    if getattr(call, f"{prefix}_running"):
        return "running"
    # Python 3.11 does not say it of async generators.
    has_begun = frame.f_lasti >= first_traceable_offset(frame.f_code)
    return (
        f"suspended at {place_of(frame)}"
        if getattr(call, f"{prefix}_suspended", has_begun)
        else "not started"
    )


def place_of(frame: FrameType) -> str:
    """The file's name and the line."""
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def await_stack(coroutine: Any) -> list[FrameType]:
    """The frames of a suspended coroutine and of what it awaits, innermost first."""
    frames: list[FrameType] = []
    awaited = coroutine
    for _ in range(limits.AWAITS_MAX):
        if type(awaited) in SUSPENDABLE:
            frame, following = frame_of(awaited), awaited_by(awaited)[1]
        elif type(awaited).__name__ in _WRAPPERS:
            frame, following = (
                None,
                next((r for r in gc.get_referents(awaited) if isinstance(r, SUSPENDABLE)), None),
            )
        else:
            break
        if frame is not None:
            frames.append(frame)
        awaited = following
    frames.reverse()
    return frames


def tasks() -> list[Any]:
    """The unfinished tasks of the event loop that the calling thread runs, in the order of their names' numbers."""
    loop = running_loop()
    if loop is None:
        return []
    found = sys.modules["asyncio.tasks"].all_tasks(loop)
    return sorted(found, key=lambda task: (len(name_of(task)), name_of(task)))


def has_loop() -> bool:
    """Whether the calling thread runs an event loop."""
    return running_loop() is not None


def current_task() -> Any:
    """The task that runs on the calling thread, if any."""
    loop = running_loop()
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


def running_loop() -> Any:
    """The event loop that the calling thread runs, if any."""
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
        return [cell.cell_contents for cell in call.__closure__ if is_filled(cell)]
    return []


def is_filled(cell: Any) -> bool:
    """Whether the variable of a closure has a value."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
