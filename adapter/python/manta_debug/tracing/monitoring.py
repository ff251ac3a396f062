"""Tracing by `sys.monitoring`: code without a breakpoint runs as if nobody debugged.

Two tools are used. *Breakpoints* watches lines only in code that owns one, and disables each location that is none of its
lines. *Stepping* never disables anything, so that a step needs no restart of the other's events; it watches only the code of
frames that step.
"""

from __future__ import annotations

import sys
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from .. import limits
from ..codes import yields
from ..errors import RequestError
from ..steps import Outcome
from ..threads import ThreadState

if TYPE_CHECKING:
    from types import FrameType

    from ..core import Core

_TOOL_IDS = (3, 4, 0, 5, 1, 2)


class MonitoringTracer:
    """The tracer for 3.12 and later."""

    note = ""
    tells_jumps = True

    def __init__(self, core: Core) -> None:
        self._core = core
        self._events: Any = sys.monitoring.events
        self._disable: Any = sys.monitoring.DISABLE
        self._break_tool = -1
        self._step_tool = -1
        self._break_global = 0
        self._step_global = 0
        self._watched: dict[int, CodeType] = {}
        self._stepped: dict[int, CodeType] = {}
        #: The code whose returns are shown at the end of a step that stands in a caller.
        self._returning: dict[int, CodeType] = {}

    def apply(self) -> None:
        """Moves line events to the code that now owns breakpoints."""
        table = self._core.binder.table
        if table.is_empty and self._break_tool < 0:
            return
        self._acquire()
        for code in self._watched.values():
            if not self._owns_line(code):
                sys.monitoring.set_local_events(self._break_tool, code, 0)
        self._watched = {key: code for key, code in self._watched.items() if self._owns_line(code)}
        starts = self._events.PY_START | self._events.PY_RESUME if table.has_breakpoints else 0
        raises = self._events.RAISE if "raised" in table.filters else 0
        unwinds = self._events.PY_UNWIND if {"uncaught", "userUncaught"} & table.filters.keys() else 0
        self._set_break_global(starts | raises | unwinds)
        sys.monitoring.restart_events()

    def watch_codes(self, codes: list[CodeType]) -> None:
        """Asks for the lines of code that was bound just now."""
        if self._break_tool < 0:
            return
        for code in codes:
            self._watched[id(code)] = code
            sys.monitoring.set_local_events(self._break_tool, code, self._events.LINE)

    def rearm(self) -> None:
        """Makes the stepping tool's events those that the threads' steps need, and no more."""
        with self._core.lock:
            steps = self._core.threads.steps()
            wanted = {id(f.f_code): f.f_code for step in steps for f in step.frames}
            if not steps and not self._stepped and not self._step_global:
                return
            self._acquire()
            if not steps:
                self._stop_returning(list(self._returning))
            for key in [k for k in self._stepped if k not in wanted]:
                sys.monitoring.set_local_events(self._step_tool, self._stepped.pop(key), 0)
            local = self._events.LINE | self._events.PY_RETURN | self._events.PY_YIELD
            if self._core.collects_returns:
                local |= self._events.CALL
            for key, code in wanted.items():
                if key not in self._stepped:
                    self._stepped[key] = code
                    self._returning.pop(key, None)
                    sys.monitoring.set_local_events(self._step_tool, code, local)
            events = self._events.PY_UNWIND if steps else 0
            if any(step.enters for step in steps):
                events |= self._events.PY_START | self._events.PY_RESUME
            self._set_step_global(events)

    def on_task_start(self) -> None:
        """Events are per interpreter: a new thread needs nothing."""

    def prepare_step(self, thread: ThreadState, frame: FrameType) -> None:
        """Events are per code object: the thread needs nothing."""

    def release(self) -> None:
        """Clears every event and gives both tool ids back."""
        if self._break_tool < 0:
            return
        for code in self._watched.values():
            sys.monitoring.set_local_events(self._break_tool, code, 0)
        for code in self._stepped.values():
            sys.monitoring.set_local_events(self._step_tool, code, 0)
        self._stop_returning(list(self._returning))
        self._watched.clear()
        self._stepped.clear()
        self._set_break_global(0)
        self._set_step_global(0)
        for tool, callbacks in (
            (self._break_tool, self._break_callbacks()),
            (self._step_tool, self._step_callbacks()),
        ):
            for event in callbacks:
                sys.monitoring.register_callback(tool, event, None)
            sys.monitoring.free_tool_id(tool)
        self._break_tool = self._step_tool = -1

    def _owns_line(self, code: CodeType) -> bool:
        binding = self._core.binder.find(code)
        return binding is not None and bool(binding.lines)

    def _acquire(self) -> None:
        if self._break_tool >= 0:
            return
        free = [i for i in _TOOL_IDS if sys.monitoring.get_tool(i) is None]
        if len(free) < 2:
            raise RequestError(
                "Two of the six tool ids of sys.monitoring must be free, but other tools hold them: "
                "end the other debugger, coverage or profiling tool in this process."
            )
        self._break_tool, self._step_tool = free[:2]
        sys.monitoring.use_tool_id(self._break_tool, "manta breakpoints")
        sys.monitoring.use_tool_id(self._step_tool, "manta stepping")
        for event, callback in self._break_callbacks().items():
            sys.monitoring.register_callback(self._break_tool, event, callback)
        for event, callback in self._step_callbacks().items():
            sys.monitoring.register_callback(self._step_tool, event, callback)

    def _break_callbacks(self) -> dict[int, Any]:
        e = self._events
        return {
            e.LINE: self._break_line,
            e.PY_START: self._break_start,
            e.PY_RESUME: self._break_start,
            e.RAISE: self._break_raise,
            e.PY_UNWIND: self._break_unwind,
        }

    def _step_callbacks(self) -> dict[int, Any]:
        e = self._events
        return {
            e.LINE: self._step_line,
            e.PY_START: self._step_start,
            e.PY_RESUME: self._step_start,
            e.PY_RETURN: self._step_return,
            e.PY_YIELD: self._step_yield,
            e.CALL: self._step_call,
            e.PY_UNWIND: self._step_unwind,
        }

    def _set_break_global(self, events: int) -> None:
        if events != self._break_global:
            self._break_global = events
            sys.monitoring.set_events(self._break_tool, events)

    def _set_step_global(self, events: int) -> None:
        if events != self._step_global:
            self._step_global = events
            sys.monitoring.set_events(self._step_tool, events)

    # The callbacks below run on the program's threads. A location is disabled only if no new table came into force while it
    # was looked at: between that last comparison and the return to the interpreter no other thread can run.

    def _break_start(self, code: CodeType, offset: int) -> Any:
        core = self._core
        table = core.binder.table
        if table.concerns(code):
            core.discover(code, sys._getframe(1).f_globals)
            # Without this event Python 3.13 makes none for a line that the prologue is on too.
            binding = core.binder.find(code)
            if binding is not None and binding.stops_at_start(code):
                return None
        return self._disable if table is core.binder.table else None

    def _break_line(self, code: CodeType, line: int) -> Any:
        core = self._core
        binder = core.binder
        binding = binder.find(code)
        if binding is not None and line in binding.lines:
            core.on_breakpoint_line(sys._getframe(1), binding, line)
            return None
        return self._disable if binder is core.binder else None

    def _break_raise(self, code: CodeType, offset: int, error: BaseException) -> None:
        self._core.on_raise(sys._getframe(1), error)

    def _break_unwind(self, code: CodeType, offset: int, error: BaseException) -> None:
        self._core.on_unwind(sys._getframe(1), error)

    def _step_line(self, code: CodeType, line: int) -> None:
        core = self._core
        thread = core.threads.current()
        step = thread.step
        if step is None or core.has_breakpoint(code, line):
            return
        frame = sys._getframe(1)
        if step.ends_at(frame) and not core.has_landed(thread, frame):
            core.on_step_end(thread, frame)

    def _step_start(self, code: CodeType, offset: int) -> None:
        thread = self._core.threads.current()
        if thread.step is None or thread.busy:
            return
        if thread.step.on_start(sys._getframe(1)) is Outcome.REARM:
            self.rearm()

    def _step_call(self, code: CodeType, offset: int, callee: object, argument: object) -> None:
        """A line that steps calls: what a function of the user's returns is of interest."""
        thread = self._core.threads.current()
        step = thread.step
        if step is None or thread.busy or not step.wants_line(sys._getframe(1)):
            return
        function = callee.__func__ if type(callee) is MethodType else callee
        if type(function) is not FunctionType or not step.collects_from(function.__code__):
            return
        called = function.__code__
        with self._core.lock:
            if id(called) not in self._stepped and len(self._returning) < limits.RETURNS_MAX:
                self._returning[id(called)] = called
                sys.monitoring.set_local_events(self._step_tool, called, self._events.PY_RETURN)

    def _step_return(self, code: CodeType, offset: int, value: object) -> None:
        thread = self._core.threads.current()
        step = thread.step
        if step is None:
            return
        frame = sys._getframe(1)
        if step.collects_from(code) and not step.on_return(frame, value):
            self._stop_returning([id(code)])
        self._core.on_step_exit(thread, frame, unwinding=False, yielding=yields(code, offset), value=value)

    def _step_yield(self, code: CodeType, offset: int, value: object) -> None:
        thread = self._core.threads.current()
        if thread.step is not None:
            self._core.on_step_exit(
                thread, sys._getframe(1), unwinding=False, yielding=yields(code, offset), value=value
            )

    def _stop_returning(self, keys: list[int]) -> None:
        with self._core.lock:
            for key in keys:
                code = self._returning.pop(key, None)
                if code is not None:
                    sys.monitoring.set_local_events(self._step_tool, code, 0)

    def _step_unwind(self, code: CodeType, offset: int, error: BaseException) -> None:
        thread = self._core.threads.current()
        if thread.step is not None:
            self._core.on_step_exit(thread, sys._getframe(1), unwinding=True, yielding=False, value=None)
