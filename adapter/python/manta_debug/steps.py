"""A step: what a thread must reach before it stops again. A pure state machine; the tracer tells it what happens."""

from __future__ import annotations

from enum import Enum
from types import CodeType, FrameType
from typing import Any

from . import limits, templates
from .codes import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from .origins import Origins
from .targets import CallTarget

# Calls of these give a generator or a coroutine, and what it returns comes later.
_RETURNS_LATER = CO_ASYNC_GENERATOR | CO_COROUTINE | CO_GENERATOR


class Outcome(Enum):
    """What the tracer must do after an event."""

    GO_ON = "go on"
    REARM = "watch other frames"
    STOP_IN_CALLER = "stop in the caller"
    FINISHED = "nothing is left to stop in"


class Step:
    """One thread's step. `line_frames` stop at their next line; `exit_frames` hand the step to their caller."""

    __slots__ = (
        "kind",
        "line_frames",
        "exit_frames",
        "enters",
        "left",
        "outlives_calls",
        "returned",
        "_passed",
        "_origins",
        "_anywhere",
        "_target",
        "_left_line",
    )

    def __init__(
        self,
        kind: str,
        frames: list[FrameType],
        origins: Origins,
        anywhere: bool = False,
        target: CallTarget | None = None,
    ) -> None:
        self.kind = kind
        self.line_frames = [] if kind == "stepOut" else frames
        self.exit_frames = frames
        self.enters = kind in ("stepIn", "pause", "entry")
        #: What was told of the stop that the step left; told again when the task ends before the step does.
        self.left: dict[str, Any] | None = None
        #: Whether a step that leaves the user's code for a library that has called it ends in what that calls next.
        self.outlives_calls = False
        #: What the user's functions returned that the stepping line has called, the last of each name.
        self.returned: dict[str, Any] = {}
        self._passed = 0
        self._origins = origins
        self._anywhere = anywhere
        self._target = target
        #: The frame and the line that it leaves.
        self._left_line = (frames[0], frames[0].f_lineno or 0) if frames else None

    @property
    def frames(self) -> list[FrameType]:
        """All frames whose code must be watched."""
        return [*self.line_frames, *(f for f in self.exit_frames if not _among(f, self.line_frames))]

    def wants_line(self, frame: FrameType) -> bool:
        """Whether a new line of this frame ends the step."""
        return _among(frame, self.line_frames)

    def ends_at(self, frame: FrameType) -> bool:
        """Whether the step ends with the line event that this frame has: in a template, only where a line of its text begins."""
        return _among(frame, self.line_frames) and templates.begins_line(frame, self._left_line)

    def follows(self, frame: FrameType) -> bool:
        """Whether the step goes on elsewhere when this frame is left."""
        return self.kind not in ("pause", "entry") and (
            _among(frame, self.exit_frames) or _among(frame, self.line_frames)
        )

    def collects_from(self, code: CodeType) -> bool:
        """Whether what a call of this code returns is shown at the step's end."""
        return (
            self.kind in ("next", "stepIn")
            and self._passed < limits.RETURNS_PASSED_MAX
            and not code.co_flags & _RETURNS_LATER
            and self._origins.is_user_code(code)
        )

    def on_return(self, frame: FrameType, value: object) -> bool:
        """A function returned. Answers whether others that do are still of interest."""
        caller = frame.f_back
        if caller is not None and _among(caller, self.line_frames) and not _among(frame, self.exit_frames):
            name = name_of(frame.f_code)
            if name in self.returned or len(self.returned) < limits.RETURNS_MAX:
                self.returned.pop(name, None)
                self.returned[name] = value
        else:
            self._passed += 1
        return self._passed < limits.RETURNS_PASSED_MAX

    def on_start(self, frame: FrameType) -> Outcome:
        """A function was entered or a generator resumed."""
        if not self.enters or _among(frame, self.line_frames):
            return Outcome.GO_ON
        if not self._origins.may_be_stepped_into(frame, anywhere=self._anywhere):
            return Outcome.GO_ON
        if self._target is not None and not self._target.is_running(frame):
            return Outcome.GO_ON
        self.line_frames = [*self.line_frames, frame]
        return Outcome.REARM

    def on_exit(
        self, frame: FrameType, *, unwinding: bool, yielding: bool, awaiter: FrameType | None = None
    ) -> Outcome:
        """A frame returned, yielded, or was left by an exception; `awaiter` is the coroutine that waited for its task."""
        if not _among(frame, self.exit_frames) and not _among(frame, self.line_frames):
            return Outcome.GO_ON
        if self.kind in ("pause", "entry"):
            return Outcome.GO_ON
        if yielding and _is_coroutine(frame):
            return Outcome.GO_ON
        if awaiter is not None and not yielding:
            return self._watch([awaiter])
        caller = self._caller(frame)
        if caller is None and self.outlives_calls and self._is_called_by_library(frame):
            self._watch([frame] if yielding else [])
            self.enters, self._target = True, None
            return Outcome.REARM
        inner = None if caller is None else _called_by(caller, frame)
        if inner is not None and self.outlives_calls and self.kind != "stepOut" and not _is_coroutine(frame):
            self.enters, self._target = True, None
        if yielding and _among(frame, self.line_frames):
            # With those that it has yielded for, as by `yield from`: they may go on before anybody else does.
            new = [f for f in (frame, caller) if f is not None and not _among(f, self.line_frames)]
            return self._watch([*self.line_frames, *new], inner)
        if caller is None:
            return Outcome.FINISHED
        if not unwinding and caller is frame.f_back:
            return Outcome.STOP_IN_CALLER
        return self._watch([caller], inner)

    def _watch(self, frames: list[FrameType], inner: FrameType | None = None) -> Outcome:
        """Ends at the next line of these frames, or when this one, which is in between, gives control back to the first."""
        self.line_frames = frames
        self.exit_frames = frames if inner is None else [*frames, inner]
        self.returned.clear()
        return Outcome.REARM

    def _is_called_by_library(self, frame: FrameType) -> bool:
        """Whether a library has called it, as a test's runner does, and not only what starts a program or a thread."""
        back = frame.f_back
        while back is not None and self._origins.is_bootstrap(back):
            back = back.f_back
        return back is not None

    def _caller(self, frame: FrameType) -> FrameType | None:
        back = frame.f_back
        while back is not None and not self._origins.may_be_stepped_into(back, anywhere=self._anywhere):
            back = back.f_back
        return back


def _is_coroutine(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR))


def _called_by(caller: FrameType, frame: FrameType) -> FrameType | None:
    """The frame that `caller` has called on the way to `frame`, unless it is this one."""
    back = frame.f_back
    while back is not None and back.f_back is not caller:
        back = back.f_back
    return back


def name_of(code: CodeType) -> str:
    """How a user calls a function: by its class, but not by the function around it."""
    return code.co_qualname.rpartition("<locals>.")[2]


def _among(frame: FrameType, frames: list[FrameType]) -> bool:
    return any(f is frame for f in frames)
