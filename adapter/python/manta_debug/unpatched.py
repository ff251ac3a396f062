"""Threads, locks, queues and sockets of the interpreter itself, for the engine's own use.

Libraries such as gevent put their own in the place of those in `threading`, `queue` and `socket`, which let other code of the program
run while they wait. What a stopped thread waits for must not.
"""

from __future__ import annotations

import collections
import importlib
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any


def _original(module: str, name: str) -> Any:
    """What a module had under this name before gevent patched it."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(importlib.import_module(module), name)


Lock: Any = _original("_thread", "allocate_lock")
RLock: Any = _original("_thread", "RLock")
Local: Any = _original("_thread", "_local")
SimpleQueue: Any = _original("_queue", "SimpleQueue")
get_ident: Callable[[], int] = _original("_thread", "get_ident")
_start: Any = _original("_thread", "start_new_thread")
_Socket: Any = _original("socket", "socket")

_first_main_ident = threading.main_thread().ident


def main_ident() -> int | None:
    """The number of the program's main thread."""
    # A fork from another thread makes that one the main thread; under gevent, this is the number of a greenlet.
    ident = threading.main_thread().ident
    return ident if ident in sys._current_frames() else _first_main_ident


class Condition:
    """As `threading.Condition` with its own lock, which a thread may take more than once."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._waiting: collections.deque[Any] = collections.deque()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until another thread notifies; answers whether one did in time."""
        turn = Lock()
        turn.acquire()
        self._waiting.append(turn)
        held = self._lock._release_save()
        came = False
        try:
            came = bool(turn.acquire(True, -1 if seconds is None else max(0.0, seconds)))
        finally:
            self._lock._acquire_restore(held)
            if not came and turn in self._waiting:
                self._waiting.remove(turn)
        return came

    def wait_for(self, holds: Callable[[], bool], seconds: float | None = None) -> bool:
        """Waits until something holds; answers whether it does."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not (result := bool(holds())):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify_all(self) -> None:
        """Wakes all that wait."""
        while self._waiting:
            self._waiting.popleft().release()


class Event:
    """As `threading.Event`, without a way back."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._is_set = False

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    def set(self) -> None:
        """It has happened."""
        with self._changed:
            self._is_set = True
            self._changed.notify_all()

    def clear(self) -> None:
        """It has not happened."""
        self._is_set = False

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until it has happened; answers whether it has."""
        with self._changed:
            return self._changed.wait_for(self.is_set, seconds)


class Semaphore:
    """As `threading.Semaphore`."""

    def __init__(self, count: int) -> None:
        self._changed = Condition()
        self._count = count

    def acquire(self, seconds: float | None = None) -> bool:
        """Takes one; waits so long for it, or for good. Answers whether it has one."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._count > 0, seconds):
                return False
            self._count -= 1
            return True

    def release(self) -> None:
        """Gives one back."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()


class OwnThread:
    """A thread of the engine's, and none of the program: it never stops, no client sees it, and `threading` does not know it.

    It does not hold up the end of the program.
    """

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.name = f"manta-debug-{name}"
        self._call = run
        self._is_alive = False

    def start(self) -> None:
        """Starts it, and returns when it runs. Raises `RuntimeError` while the interpreter ends."""
        begun = Lock()
        begun.acquire()
        # Who looks at the list of all threads meanwhile would take it for one of the program's.
        with starting:
            _start(self._run, (begun,))
            begun.acquire()

    def is_alive(self) -> bool:
        """Whether it runs, in this very process."""
        return self._is_alive

    def _run(self, begun: Any) -> None:
        ident = get_ident()
        self._is_alive = True
        _own[ident] = self
        begun.release()
        try:
            self._call()
        except BaseException:
            # It ends by this, and is no part of the program, whose hooks are not to hear of it.
            if sys.__stderr__ is not None:
                sys.__stderr__.write(f"manta_debug: the thread {self.name} failed: {traceback.format_exc()}")
        finally:
            self._is_alive = False
            if _own.get(ident) is self:
                del _own[ident]


#: Held while a thread of the engine's begins.
starting: Any = RLock()
_own: dict[int, OwnThread] = {}


def own_thread(ident: int) -> OwnThread | None:
    """The engine's thread that has this number."""
    return _own.get(ident)


def _after_fork() -> None:
    """In a forked child none of the threads is there, and nobody can release what one of them held."""
    global starting
    for thread in list(_own.values()):
        thread._is_alive = False
    _own.clear()
    starting = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def create_server(host: str, port: int) -> Any:
    """A socket that listens there. Raises `OSError`."""
    listener = _Socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def create_connection(host: str, port: int, seconds: float) -> Any:
    """A connection to a program of this machine. Raises `OSError`."""
    connection = _Socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect((host, port))
        connection.settimeout(None)
    except OSError:
        connection.close()
        raise
    return connection


def accept(listener: Any) -> Any:
    """The next connection to a listening socket. Raises `OSError`."""
    descriptor, _ = listener._accept()
    return _Socket(listener.family, listener.type, listener.proto, fileno=descriptor)
