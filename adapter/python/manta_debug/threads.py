"""The threads of this process, each under an id that is never used again."""

from __future__ import annotations

import itertools
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import unpatched

if TYPE_CHECKING:
    from .steps import Step
    from .stops import Stop


Owner = threading.Thread | unpatched.OwnThread


class ThreadState:
    """What the engine knows of one thread."""

    __slots__ = (
        "thread_id",
        "ident",
        "step",
        "stop",
        "reads_messages",
        "busy",
        "owner",
        "raised",
        "is_claimed",
        "landed",
        "look",
    )

    def __init__(self, thread_id: int, ident: int, owner: Owner | None) -> None:
        self.thread_id = thread_id
        self.ident = ident
        self.owner = owner
        self.step: Step | None = None
        self.stop: Stop | None = None
        #: Whether it is a host's thread that reads the client's messages.
        self.reads_messages = False
        self.busy = False
        self.raised: BaseException | None = None
        self.is_claimed = False
        #: The frame and the offset that the thread has jumped to, until it goes on from there.
        self.landed: tuple[FrameType, int] | None = None
        #: What the client will ask at the thread's next stop.
        self.look: dict[str, Any] | None = None

    def belongs_to(self, owner: Owner | None) -> bool:
        """Whether this may still be the thread that has its number now; the system gives numbers out again."""
        if self.owner is None:
            self.owner = owner
        if owner is None:
            return not isinstance(self.owner, unpatched.OwnThread)
        return owner is self.owner

    @property
    def is_engine(self) -> bool:
        """Whether it is none of the program's."""
        return self.reads_messages or isinstance(self.owner, unpatched.OwnThread)

    @property
    def name(self) -> str:
        """The thread's name, or its number where it has none."""
        if self.owner is not None:
            return self.owner.name
        return "MainThread" if self.ident == unpatched.main_ident() else f"thread {self.ident}"


class Threads:
    """The registry. A thread enters itself when it first meets the engine, or is entered when a client lists threads."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._lock = unpatched.RLock()
        self._by_ident: dict[int, ThreadState] = {}
        self._local = unpatched.Local()

    def current(self) -> ThreadState:
        """The calling thread."""
        state: ThreadState | None = getattr(self._local, "state", None)
        if state is None:
            ident = unpatched.get_ident()
            with self._lock:
                state = self._by_ident.get(ident)
                if state is None or state.is_claimed or not state.belongs_to(_owner(ident)):
                    state = self._by_ident[ident] = ThreadState(next(self._ids), ident, _owner(ident))
                state.is_claimed = True
            self._local.state = state
        elif state.owner is None:
            state.owner = _owner(state.ident)
        return state

    def known(self) -> list[ThreadState]:
        """The threads that the engine has met, without looking for others."""
        return list(self._by_ident.values())

    def steps(self) -> list[Step]:
        """The steps that are not at their end, of threads that live."""
        found = [s.step for s in self.known() if s.step is not None]
        if any(step.outlives_calls and step.enters for step in found):
            # One that waits for what is called next may have waited in vain.
            self.alive()
            found = [s.step for s in self.known() if s.step is not None]
        return found

    def alive(self) -> list[ThreadState]:
        """All Python threads of this process but the engine's own."""
        with unpatched.starting:
            idents = sys._current_frames().keys()
        with self._lock:
            for ident in [i for i in self._by_ident if i not in idents]:
                del self._by_ident[ident]
            for ident in idents:
                state = self._by_ident.get(ident)
                if state is None or not state.belongs_to(_owner(ident)):
                    self._by_ident[ident] = ThreadState(next(self._ids), ident, _owner(ident))
            states = sorted(self._by_ident.values(), key=lambda s: s.thread_id)
        return [s for s in states if not s.is_engine]

    def find(self, thread_id: int) -> ThreadState | None:
        """The thread with this id, if it lives."""
        return next((s for s in self.alive() if s.thread_id == thread_id), None)


def _owner(ident: int) -> Owner | None:
    """The object behind a thread, without making a dummy one for a thread that Python did not start."""
    own = unpatched.own_thread(ident)
    return own if own is not None else threading._active.get(ident)  # type: ignore[attr-defined]
