"""Puts a time limit on code that belongs to others, by an exception that is raised inside the thread that runs it.

It cannot end a call that is stuck in C. That is why values are shown without calling their classes wherever possible.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_ARRIVAL_TURNS = 10_000


class Interrupted(BaseException):
    """Raised inside guarded code that ran too long, or that nobody waits for any more."""


class Guarded:
    """One guarded call, which any thread may interrupt."""

    __slots__ = ("_ident", "_lock", "_running", "_fired", "arrived")

    def __init__(self) -> None:
        self._ident = threading.get_ident()
        self._lock = threading.Lock()
        self._running = True
        self._fired = False
        self.arrived = False

    def interrupt(self) -> None:
        """Ends the call, if it still runs."""
        with self._lock:
            if self._running and not self._fired:
                self._fired = True
                _raise_in(self._ident, Interrupted)

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
        raise TimeoutError("it did not end in time, or was interrupted") from None


class _Watchdog:
    """One daemon thread, started when first needed, which interrupts what is over its time."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Guarded]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    def watch(self, guarded: Guarded, seconds: float) -> None:
        due = time.monotonic() + seconds
        with self._condition:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="manta-debug-watchdog", daemon=True)
                self._thread.start()
            self._heap = [entry for entry in self._heap if entry[2]._running]
            heapq.heapify(self._heap)
            is_first = not self._heap or due < self._heap[0][0]
            heapq.heappush(self._heap, (due, next(self._order), guarded))
            if is_first:
                self._condition.notify()

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


def is_watchdog(ident: int) -> bool:
    """Whether this thread is the watchdog, which is no thread of the program."""
    thread = _WATCHDOG._thread
    return thread is not None and thread.ident == ident
