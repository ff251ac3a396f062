"""Runs a function on the main thread at its next chance, by the interpreter's pending calls."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from .. import unpatched

_waiting: collections.deque[Callable[[], None]] = collections.deque()
_entry: Any = None
_lock = unpatched.Lock()


def run_soon(call: Callable[[], None], seconds: float) -> None:
    """Has the main thread run `call`, and waits for it at most so long: a thread that is busy in C comes to it later."""
    import ctypes

    done = unpatched.Event()

    def run() -> None:
        try:
            call()
        finally:
            done.set()

    _waiting.append(run)
    if ctypes.pythonapi.Py_AddPendingCall(_c_entry(), None) == 0:
        done.wait(seconds)


def _c_entry() -> Any:
    """The C function that the interpreter calls. It is made once and never freed: a call of it may be pending at any time."""
    import ctypes

    global _entry
    with _lock:
        if _entry is None:
            _entry = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_run_waiting)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(_entry))
    return _entry


def _run_waiting(_: object) -> int:
    while _waiting:
        _waiting.popleft()()
    return 0
