"""Puts a time limit on code that belongs to others, by an exception that is raised inside the thread that runs it.

It cannot end a call that is stuck in C, as one that waits for a lock is. What may be so is run aside, on a thread that can be left
behind.
"""

from __future__ import annotations

import contextlib
import contextvars
import heapq
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from . import limits, unpatched
from .unpatched import OwnThread

if TYPE_CHECKING:
    from queue import SimpleQueue

T = TypeVar("T")

# The interpreter's own: a tracer may watch who else calls it.
_settrace = sys.settrace
_ARRIVAL_TURNS = 10_000
# How long a call that was interrupted may take to notice.
_GRACE_SECONDS = 0.1


class Interrupted(BaseException):
    """Raised inside guarded code that ran too long, or that nobody waits for any more."""


class Guarded:
    """One guarded call, which any thread may interrupt."""

    __slots__ = ("_ident", "_lock", "_running", "_fired", "_told", "_raises", "arrived")

    def __init__(self) -> None:
        self._ident = unpatched.get_ident()
        self._lock = unpatched.Lock()
        self._running = True
        self._fired = False
        self._told: Callable[[], None] | None = None
        self._raises = True
        self.arrived = False

    @property
    def is_interrupted(self) -> bool:
        """Whether somebody has wanted it to end."""
        return self._fired

    def interrupt(self) -> None:
        """Ends the call, if it still runs."""
        with self._lock:
            if self._running and not self._fired:
                self._fired = True
                if self._told is not None:
                    self._told()
                if self._raises:
                    _raise_in(self._ident, Interrupted)

    @contextlib.contextmanager
    def interrupted_by(self, tell: Callable[[], None], *, raises: bool) -> Iterator[None]:
        """Has an interrupt call `tell`; whether it also raises inside the thread, or the code in here ends by itself."""
        with self._lock:
            if self._fired:
                tell()
            self._told, self._raises = tell, raises
        try:
            yield
        finally:
            with self._lock:
                self._told, self._raises = None, True

    def finish(self) -> None:
        """The call is over: an interrupt that is on its way must arrive here, not in the thread's own code.

        It cannot be taken back: in 3.11, clearing what is not there any more leaves a flag set that makes traced code spin.
        """
        with self._lock:
            self._running = False
        if self._fired and not self.arrived:
            for _ in range(_ARRIVAL_TURNS):
                pass


def run(call: Callable[[], T], seconds: float | None, started: Callable[[Guarded], None] | None = None) -> T:
    """Runs `call` for at most `seconds`. Raises `TimeoutError` when it was interrupted."""
    guarded = Guarded()
    try:
        try:
            if started is not None:
                started(guarded)
            if seconds is not None:
                _WATCHDOG.watch(guarded, seconds)
            return call()
        except Interrupted:
            guarded.arrived = True
            raise
        finally:
            guarded.finish()
    except Interrupted:
        raise TimeoutError("it did not end in time") from None


class _Watchdog:
    """One daemon thread, started when first needed, which interrupts what is over its time."""

    def __init__(self) -> None:
        self._condition = unpatched.Condition()
        self._heap: list[tuple[float, int, Guarded]] = []
        self._order = itertools.count()
        self._thread: OwnThread | None = None

    def watch(self, guarded: Guarded, seconds: float) -> None:
        due = time.monotonic() + seconds
        with self._condition:
            if self._thread is None or not self._thread.is_alive():
                self._thread = OwnThread("watchdog", self._run)
                self._thread.start()
            self._heap = [entry for entry in self._heap if entry[2]._running]
            heapq.heapify(self._heap)
            is_first = not self._heap or due < self._heap[0][0]
            heapq.heappush(self._heap, (due, next(self._order), guarded))
            if is_first:
                self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._heap:
                    self._condition.wait()
                due, _, guarded = self._heap[0]
                left = due - time.monotonic()
                if left > 0:
                    self._condition.wait(left)
                    continue
                heapq.heappop(self._heap)
            guarded.interrupt()


_WATCHDOG = _Watchdog()


def _raise_in(ident: int, kind: type[BaseException]) -> None:
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(kind))


def run_aside(call: Callable[[], Any], seconds: float) -> Any:
    """Runs `call` for at most `seconds` on another thread, with the calling thread's context variables.

    Raises what the call raises, `BaseException` included, and `TimeoutError` when it has not ended, or when too many have not.
    """
    return _ASIDE.run(call, seconds)


class _Helper:
    """A daemon thread that makes one call after another."""

    def __init__(self, pool: _Aside) -> None:
        self.jobs: SimpleQueue[_Job] = unpatched.SimpleQueue()
        self._pool = pool
        self.thread = OwnThread("helper", self._run)
        self.thread.start()

    def _run(self) -> None:
        while True:
            job = self.jobs.get()
            job.make()
            del job  # What it gave must not be kept alive here.
            self._pool.give_back(self)


def _run_traced(call: Callable[[], T], seconds: float) -> T:
    """As `run`, by a trace function that looks at the clock.

    In 3.11 an exception on its way to a thread that is stuck in C makes every thread that is traced spin at its next call.
    """
    due = time.monotonic() + seconds

    def look(frame: FrameType, event: str, argument: object) -> Any:
        if time.monotonic() > due:
            raise Interrupted
        return look

    before = sys.gettrace()
    _settrace(look)
    try:
        return call()
    except Interrupted:
        raise TimeoutError("it did not end in time") from None
    finally:
        _settrace(before)


_run_bounded = run if sys.version_info >= (3, 12) else _run_traced


class _Job:
    """One call, and what became of it."""

    def __init__(self, call: Callable[[], Any], seconds: float) -> None:
        self._context = contextvars.copy_context()
        self._call = call
        self._seconds = seconds
        self.done = unpatched.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def make(self) -> None:
        try:
            self.result = self._context.run(_run_bounded, self._call, self._seconds)
        except BaseException as error:
            self.error = error.with_traceback(None)
        self.done.set()


class _Aside:
    """The helpers. One whose call is stuck is missing until the call ends; so many may be missing, and no more."""

    def __init__(self) -> None:
        self._lock = unpatched.Lock()
        self._idle: list[_Helper] = []
        self._all: list[_Helper] = []

    def run(self, call: Callable[[], Any], seconds: float) -> Any:
        job = _Job(call, seconds)
        self._take().jobs.put(job)
        if not job.done.wait(seconds + _GRACE_SECONDS):
            raise TimeoutError("it did not end in time")
        if job.error is not None:
            raise job.error
        return job.result

    def give_back(self, helper: _Helper) -> None:
        with self._lock:
            self._idle.append(helper)

    def _take(self) -> _Helper:
        with self._lock:
            # In a forked child the parent's threads are not there.
            self._all = [helper for helper in self._all if helper.thread.is_alive()]
            while self._idle:
                helper = self._idle.pop()
                if helper.thread.is_alive():
                    return helper
            if len(self._all) >= limits.HELPERS_MAX:
                raise TimeoutError("it was not tried, as too many before it have not ended")
            helper = _Helper(self)
            self._all.append(helper)
            return helper


_ASIDE = _Aside()
