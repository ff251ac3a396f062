"""Runs what the debug console awaits, to its end, on the stopped thread.

Where the thread runs an event loop, that loop runs on meanwhile, inside the stopped call: what is awaited may need its connections, its
locks and its other tasks. Elsewhere a loop is made for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any

from . import awaiting
from .errors import RequestError
from .guard import Guarded, Interrupted

# How many turns of the loop a coroutine that is given up has to end.
_LAST_TURNS = 100


def drive(coroutine: Coroutine[Any, Any, Any], guarded: Guarded) -> Any:
    """What the coroutine returns. What it raises comes out."""
    loop = awaiting.running_loop()
    try:
        return (
            _in_own_loop(coroutine, guarded) if loop is None else _in_running_loop(loop, coroutine, guarded)
        )
    finally:
        coroutine.close()


def _in_own_loop(coroutine: Coroutine[Any, Any, Any], guarded: Guarded) -> Any:
    import asyncio

    async def whole() -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.set_exception_handler(_pass_interrupts)
        # A loop keeps what is raised in a call of its own to itself: then it is the cancelled task that ends.
        with guarded.interrupted_by(lambda: _wake(loop, task.cancel), raises=True):
            return await coroutine

    # With a factory, nothing is changed that the program sees as the thread's own loop.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            return runner.run(whole())
        except asyncio.CancelledError:
            if guarded.is_interrupted:
                raise Interrupted from None
            raise


def _pass_interrupts(loop: Any, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), Interrupted):
        loop.default_exception_handler(context)


def _in_running_loop(loop: Any, coroutine: Coroutine[Any, Any, Any], guarded: Guarded) -> Any:
    asyncio = sys.modules["asyncio"]
    tasks = sys.modules["asyncio.tasks"]
    if not isinstance(loop, asyncio.BaseEventLoop):
        kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
        raise RequestError(
            f"Nothing can be awaited here: this thread runs an event loop of its own kind ({kind}), which cannot run on inside "
            "a call. `asyncio.create_task(...)` starts what runs when the thread goes on."
        )
    stopped = tasks.current_task(loop)
    waiting = len(loop._ready)
    if stopped is not None:
        tasks._leave_task(loop, stopped)
    # Not by the loop's own factory, which may begin it at once.
    task = tasks.Task(coroutine, loop=loop, name="debug console")
    given_up: list[bool] = []

    def give_up() -> None:
        given_up.append(True)
        _wake(loop, _nothing)

    try:
        # No exception is raised from outside here, as it could meet another task.
        with guarded.interrupted_by(give_up, raises=False):
            while not task.done() and not given_up:
                loop._run_once()
        if given_up:
            _end(loop, task)
            raise Interrupted
        return task.result()
    finally:
        if stopped is not None:
            tasks._enter_task(loop, stopped)
        _fill(loop, waiting, asyncio.Handle)


def _end(loop: Any, task: Any) -> None:
    """Cancels the task, and lets it end."""
    task.cancel()
    for _ in range(_LAST_TURNS):
        if task.done():
            break
        loop.call_soon(_nothing)
        loop._run_once()
    if task.done() and not task.cancelled():
        task.exception()  # Looked at, so that nobody is told that it was lost.


def _fill(loop: Any, count: int, handle: Callable[..., Any]) -> None:
    """The turn of the loop that stopped goes on with as many calls as it has counted: empty ones take the place of those made since."""
    while len(loop._ready) < count:
        empty = handle(_nothing, (), loop)
        empty.cancel()
        loop._ready.append(empty)


def _wake(loop: Any, call: Callable[[], object]) -> None:
    # Who is interrupted may have ended its loop already.
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)


def _nothing() -> None:
    pass
