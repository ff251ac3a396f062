"""One stopped thread: its frames, its handles, and the loop in which it serves requests about itself.

The thread does the work on its own frames, so thread-locals and context variables are those of the task. Other threads run
on: the wait holds no lock and no GIL.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import guard, limits, templates, unpatched
from .errors import RequestError
from .evaluate import Scope
from .targets import CallTarget
from .threads import ThreadState

if TYPE_CHECKING:
    from queue import SimpleQueue

_handles = itertools.count(1)
_frame_ids = itertools.count(1)

Job = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Resume:
    """How a stopped thread goes on: `continue`, the kind of a step, or the reason of a jump after which it stops again."""

    kind: str
    target: CallTarget | None = None


@dataclass(slots=True)
class StackEntry:
    """A frame of a stopped thread, at the line where it stands; with a label, a line of text that stands between frames."""

    frame: FrameType
    line: int
    label: str | None = None


@dataclass(slots=True)
class Stop:
    """A thread's stop, from its `stopped` event until it resumes."""

    number: int
    thread: ThreadState
    stack: list[StackEntry]
    reason: str
    session_id: str
    generation: int
    task: dict[str, Any] | None
    exception: BaseException | None = None
    exception_mode: str = "always"
    #: The functions that returned on the way here, and what.
    returned: dict[str, Any] = field(default_factory=dict)
    inbox: SimpleQueue[Job | Resume] = field(default_factory=unpatched.SimpleQueue)
    nodes: dict[int, Any] = field(default_factory=dict)
    frame_ids: dict[int, int] = field(default_factory=dict)
    indices: dict[int, int] = field(default_factory=dict)
    is_resuming: bool = False
    is_cancelled: bool = False
    gone: unpatched.Event = field(default_factory=unpatched.Event)
    running: guard.Guarded | None = None
    call_targets: dict[int, CallTarget] = field(default_factory=dict)

    def frame_id(self, index: int) -> int:
        """The id of the frame at this depth."""
        known = self.frame_ids.get(index)
        if known is None:
            known = self.frame_ids[index] = next(_frame_ids)
            self.indices[known] = index
        return known

    def frame(self, frame_id: int) -> FrameType:
        """The frame behind an id."""
        return self.stack[self.indices[frame_id]].frame

    def scope(self, frame_id: int) -> Scope:
        """Where expressions about the frame behind an id find their names."""
        return templates.scope_of(self.frame(frame_id))

    def handle(self, node: Any) -> int:
        """A variables reference for a node of the value tree; 0, which means a leaf, when there are too many."""
        if len(self.nodes) >= limits.HANDLES_PER_STOP_MAX:
            return 0
        handle = next(_handles)
        self.nodes[handle] = node
        return handle

    def wait(self) -> Resume:
        """Serves requests on the stopped thread until one resumes it."""
        while True:
            job = self.inbox.get()
            if isinstance(job, Resume):
                return job
            job()

    def serve_rest(self) -> None:
        """Answers what was asked before the thread resumed. No more can come."""
        while not self.inbox.empty():
            job = self.inbox.get()
            if not isinstance(job, Resume):
                job()

    def bounded(self, call: Callable[[], Any], seconds: float | None) -> Any:
        """Runs code of the program on this thread, where `interrupt` can end it."""

        def started(guarded: guard.Guarded) -> None:
            self.running = guarded
            if self.is_resuming or self.is_cancelled:
                guarded.interrupt()  # Whoever wanted it ended came before there was anything to end.

        try:
            return guard.run(call, seconds, started)
        except TimeoutError:
            raise RequestError("The expression did not end in time and was interrupted.") from None
        finally:
            self.running = None

    def interrupt(self) -> None:
        """Ends an evaluation that runs on this thread."""
        running = self.running
        if running is not None:
            running.interrupt()
