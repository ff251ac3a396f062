"""Tracing by `sys.settrace`, for 3.11: only while there is something to stop at, and line by line only in code that owns it.

A thread can install a tracer only in itself. New threads get it through `threading`, the main thread through a pending call of
the interpreter, and a worker's thread at the start of each task.
"""

from __future__ import annotations

import sys
import threading
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from .. import limits, unpatched
from ..codes import leaves_by_exception, yields
from ..steps import Outcome, Step
from ..threads import ThreadState
from .main_thread import run_soon

if TYPE_CHECKING:
    from ..core import Core

_REACH_SECONDS_MAX = 0.02
_settrace = sys.settrace


class _Interest:
    """The local trace functions of code that ran before, for the quickest answer that Python can give to a call."""

    def __init__(self) -> None:
        self._held: list[CodeType] = []
        self.forget: Any = None

    def answer_calls(self, otherwise: Any) -> Any:
        """The global trace function: gives what is kept for the code, or asks `otherwise`."""
        kept: dict[int, Any] = {}

        def on_call(frame: FrameType, event: str, arg: Any) -> Any:
            # Between the look into the dictionary and the return no other thread can run: an answer is never older than the table.
            key = id(frame.f_code)
            try:
                return kept[key]
            except KeyError:
                while True:
                    asked = kept
                    answer = otherwise(frame, asked)
                    if asked is kept:
                        return answer

        def forget() -> None:
            # A new dictionary: who is just making an answer by an older table puts it into the old one.
            nonlocal kept
            kept = {}
            self._held = []

        self.forget = forget
        return on_call

    def keep(self, kept: dict[int, Any], code: CodeType, local: Any) -> None:
        """Keeps an answer, and the code with it, as another would have its number else."""
        if len(kept) < limits.CODE_CACHE_MAX:
            self._held.append(code)
            kept[id(code)] = local


class SettraceTracer:
    """The tracer for interpreters without `sys.monitoring`."""

    tells_jumps = False

    def __init__(self, core: Core) -> None:
        self._core = core
        self._wanted = False
        self._stepping = False
        self._exceptions = False
        self._traced: set[int] = set()
        self._interest = _Interest()
        self._call = self._interest.answer_calls(self._on_call)
        self._event = self._on_event
        self._watched_settrace = self._settrace_of_program
        self._has_told = False

    @property
    def note(self) -> str:
        """Says which threads cannot be reached."""
        if all(t.ident in self._traced for t in self._core.threads.alive()):
            return ""
        return (
            "Python 3.11 cannot watch threads that were started before the first breakpoint; "
            "a worker's thread stops from its next task on."
        )

    def apply(self) -> None:
        """Puts the table in force in every thread that can be reached."""
        table = self._core.binder.table
        self._wanted = not table.is_empty or self._stepping
        self._exceptions = bool(table.filters)
        self._interest.forget()
        if self._wanted:
            self._watch_for_others()
            threading.settrace(self._call)
            self._mark_running_frames()
            self._reach_main_thread()
        elif threading.gettrace() is self._call:
            threading.settrace(None)

    def watch_codes(self, codes: list[CodeType]) -> None:
        """Frames that run this code already must be told."""
        if self._wanted and codes:
            self._interest.forget()
            self._mark_running_frames()

    def rearm(self) -> None:
        """Marks the frames that step."""
        steps = self._core.threads.steps()
        self._stepping = bool(steps)
        self._wanted = self._stepping or not self._core.binder.table.is_empty
        self._interest.forget()
        for step in steps:
            for frame in step.frames:
                self._trace_frame(frame, lines=True)
        if any(step.kind == "pause" for step in steps):
            self._reach_main_thread()

    def on_task_start(self) -> None:
        """Installs or removes the tracer in the calling thread."""
        ours = sys.gettrace() is self._call
        if self._wanted and not ours:
            self._install()
        elif not self._wanted and ours:
            _settrace(None)

    def prepare_step(self, thread: ThreadState, frame: FrameType) -> None:
        """The calling thread needs the tracer, and the frame its local one."""
        self._stepping = self._wanted = True
        self._interest.forget()
        self._install()
        self._trace_frame(frame, lines=True)

    def release(self) -> None:
        """Each traced thread drops its tracer at its next call; frames drop theirs at their next line."""
        self._wanted = self._stepping = self._exceptions = False
        self._interest.forget()
        if threading.gettrace() is self._call:
            threading.settrace(None)
        if sys.settrace is self._watched_settrace:
            sys.settrace = _settrace
        self._mark_running_frames()
        self._reach_main_thread()

    def _watch_for_others(self) -> None:
        """Has the client told when the program takes a thread away from the debugger, which else would show by nothing but silence."""
        if sys.settrace is _settrace:
            sys.settrace = self._watched_settrace

    def _settrace_of_program(self, function: Any) -> None:
        _settrace(function)
        if function is None or function is self._call or self._has_told:
            return
        self._has_told = True
        caller = sys._getframe(1).f_code
        text = (
            f"{caller.co_qualname} ({caller.co_filename}) has set a trace function of its own. Python 3.11 has room for one, so "
            "breakpoints do not stop in this thread any more; from Python 3.12 on they do.\n"
        )
        self._core.send_event("output", {"category": "important", "output": text})

    def _install(self) -> None:
        self._traced.add(unpatched.get_ident())
        _settrace(self._call)

    def _trace_frame(self, frame: FrameType, lines: bool) -> None:
        frame.f_trace = self._event
        frame.f_trace_lines = lines

    def _mark_running_frames(self) -> None:
        for top in sys._current_frames().values():
            frame: FrameType | None = top
            while frame is not None:
                local = self._local_trace(frame) if self._wanted else None
                if local is not None:
                    frame.f_trace = local
                    frame.f_trace_lines = self._has_lines(frame.f_code)
                elif not self._wanted and frame.f_trace is not None and self._is_ours(frame.f_trace):
                    frame.f_trace = None
                frame = frame.f_back

    def _is_ours(self, trace: Any) -> bool:
        return trace is self._event or getattr(trace, "tracer", None) is self

    def _has_lines(self, code: CodeType) -> bool:
        binding = self._core.binder.find(code)
        return binding is not None and bool(binding.lines)

    def _local_trace(self, frame: FrameType) -> Any:
        """The local trace function for frames of this one's code; nothing when it does not concern anyone."""
        core, code = self._core, frame.f_code
        self._bind(frame)
        binding = core.binder.find(code)
        if binding is not None and binding.lines:
            return self._event_trace(binding.lines) if self._exceptions else self._line_trace(binding.lines)
        if self._exceptions and core.origins.is_user_code(code):
            return self._event
        return None

    def _line_trace(self, lines: dict[int, Any]) -> Any:
        """A trace function that lets other lines than these go by as fast as Python can. A frame that steps has another."""
        on_event = self._event

        def local(frame: FrameType, event: str, arg: Any) -> None:
            if frame.f_lineno in lines and event == "line":
                on_event(frame, event, arg)

        local.tracer = self  # type: ignore[attr-defined]
        return local

    def _event_trace(self, lines: dict[int, Any]) -> Any:
        """As above, where exceptions are watched too."""

        def local(frame: FrameType, event: str, arg: Any) -> None:
            if event != "line" or frame.f_lineno in lines or self._stepping:
                self._on_event(frame, event, arg)

        local.tracer = self  # type: ignore[attr-defined]
        return local

    def _reach_main_thread(self) -> None:
        """Has the main thread install or drop the tracer at its next chance, and waits a moment for it."""
        if unpatched.get_ident() == unpatched.main_ident():
            self.on_task_start()
            return
        run_soon(self.on_task_start, _REACH_SECONDS_MAX)

    # What follows runs on the program's threads.

    def _on_call(self, frame: FrameType, interest: dict[int, Any]) -> Any:
        """What is asked for code that no answer is kept for, and for all code while some thread steps."""
        if not self._wanted:
            _settrace(None)
            return None
        code = frame.f_code
        if self._stepping:
            thread = self._core.threads.current()
            step = None if thread.busy else thread.step
            if step is not None and (step.on_start(frame) is Outcome.REARM or _among(frame, step.frames)):
                # The step may end here before a breakpoint does.
                self._bind(frame)
                frame.f_trace_lines = True
                return self._event
            if step is not None and self._core.collects_returns and self._is_collected(step, frame):
                frame.f_trace_lines = self._has_lines(code)
                return self._event
        local = self._local_trace(frame)
        if local is self._event:
            frame.f_trace_lines = False
        elif not self._stepping:
            self._interest.keep(interest, code, local)
        return local

    def _is_collected(self, step: Step, frame: FrameType) -> bool:
        """Whether a line that steps has made this call, and wants to know what it returns."""
        caller = frame.f_back
        if caller is None or not step.wants_line(caller) or not step.collects_from(frame.f_code):
            return False
        self._bind(frame)
        return True

    def _bind(self, frame: FrameType) -> None:
        if self._core.binder.table.concerns(frame.f_code):
            self._core.discover(frame.f_code, frame.f_globals)

    def _on_event(self, frame: FrameType, event: str, arg: Any) -> None:
        # Answering nothing keeps the frame's trace function, which another thread may have replaced meanwhile.
        if not self._wanted:
            _settrace(None)
        elif event == "line":
            self._on_line(frame)
        elif event == "exception":
            # Here the traceback is still apart from its exception; they are joined when it is caught.
            self._core.threads.current().raised = arg[1].with_traceback(arg[2])
            if self._exceptions:
                self._core.on_raise(frame, arg[1])
        elif event == "return" and (self._stepping or self._exceptions):
            self._on_return(frame, arg)

    def _on_line(self, frame: FrameType) -> None:
        core = self._core
        code = frame.f_code
        binding = core.binder.find(code)
        if binding is not None and frame.f_lineno in binding.lines:
            core.on_breakpoint_line(frame, binding, frame.f_lineno)
        elif self._stepping:
            thread = core.threads.current()
            if thread.step is not None and thread.step.ends_at(frame):
                core.on_step_end(thread, frame)

    def _on_return(self, frame: FrameType, value: Any) -> None:
        core = self._core
        unwinding = value is None and leaves_by_exception(frame.f_code, frame.f_lasti)
        thread = core.threads.current()
        if unwinding and self._exceptions and thread.raised is not None:
            core.on_unwind(frame, thread.raised)
        if thread.step is not None:
            if not unwinding and self._core.collects_returns and thread.step.collects_from(frame.f_code):
                thread.step.on_return(frame, value)
            yielding = not unwinding and yields(frame.f_code, frame.f_lasti)
            core.on_step_exit(thread, frame, unwinding=unwinding, yielding=yielding, value=value)


def _among(frame: FrameType, frames: list[FrameType]) -> bool:
    return any(f is frame for f in frames)
