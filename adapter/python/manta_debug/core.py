"""The heart of the engine: what runs on the program's threads when they meet a breakpoint, a step's end or an exception.

It knows neither requests nor transports. Nothing here may let an error of the engine reach the program.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any

from . import awaiting, headroom, limits, locate, tracing, unpatched
from .binder import Binder, Binding
from .breakpoint_hook import BreakpointHook
from .breakpoint_states import describe_breakpoint, describe_unwatched
from .codes import CO_COROUTINE
from .decide import judge
from .errors import RequestError, text_of, traceback_of
from .exceptions import is_reported_raise, passes_filter, unhandled_by
from .exits import ExitCodes
from .origins import Origins
from .sources import Sources
from .stack import add_awaiters, describe_frame, stack_of, stack_of_traceback
from .steps import Outcome, Step, name_of
from .stops import Resume, StackEntry, Stop
from .table import Table, build
from .threads import Threads, ThreadState

Body = dict[str, Any]
CurrentTask = Callable[[int], "Body | None"]
SendEvent = Callable[[str, Body], None]

STEPS = frozenset({"next", "stepIn", "stepOut"})
JUMPS = frozenset({"goto", "restart"})
# What the end of a step is called that is none of the client's steps.
_ENDS = {"pause": ("pause", "Paused"), "entry": ("entry", "Paused on entry")}


class Core:
    """The state of one debugged process."""

    def __init__(self, send_event: SendEvent, current_task: CurrentTask, *, cluster: bool) -> None:
        self.send_event = send_event
        #: Tells on the stopped thread what the client will ask of its stop.
        self.tell_look: Callable[[Stop, Body], None] | None = None
        #: Tells, still on the stopped thread, that its stop is over.
        self.tell_gone: Callable[[Stop], None] | None = None
        self.cluster = cluster
        self.lock = unpatched.RLock()
        self.threads = Threads()
        self.origins = Origins()
        self.sources = Sources(self.origins)
        self.binder = Binder(Table())
        self.stops: dict[int, Stop] = {}
        self.is_abandoned = False
        self.exits = ExitCodes()
        #: Whether a step shows what the functions returned that it stepped over.
        self.collects_returns = True
        self._current_task = current_task
        self._stop_numbers = itertools.count(1)
        self._attached = False
        self._breakpoint_hook = BreakpointHook(self.on_breakpoint_call)
        self.tracer = tracing.choose(self)
        _release_in_children(self)

    # ---------------------------------------------------------------- what the client's thread calls

    def configure(self, arguments: Body) -> list[Body]:
        """Puts a whole new table in force, and answers the state of each breakpoint."""
        with self.lock:
            table = build(arguments, self.binder.table, self.sources.maps)
            known = [b.reference() for b in self.binder.bindings.values()]
            binder = self.binder = Binder(table)
            bound: list[CodeType] = []
            for code in itertools.chain(known, locate.codes_to_look_at(table)):
                if code is not None and table.concerns(code):
                    bound += binder.consider(code)
            binder.take_changed()
            self.attach()
            self.tracer.apply()
            self.tracer.watch_codes(bound)
            note = self.tracer.note if table.has_breakpoints else ""
            answers = [describe_breakpoint(table, b, note, cluster=self.cluster) for b in table.breakpoints]
        return answers + [describe_unwatched(wanted) for wanted in arguments.get("dataBreakpoints") or ()]

    def pause(self, thread_id: int) -> None:
        """Stops a running thread at the next line that it runs."""
        with self.lock:
            thread = self.threads.find(thread_id)
            if thread is None:
                raise RequestError(f"There is no thread {thread_id}; it may have ended.")
            if thread.stop is not None:
                raise RequestError("The thread is stopped already.")
            frames: list[FrameType] = []
            frame = sys._current_frames().get(thread.ident)
            while frame is not None:
                if not self.origins.is_bootstrap(frame):
                    frames.append(frame)
                frame = frame.f_back
            if not frames:
                raise RequestError("The thread runs no code of the program now, so it cannot be paused.")
            thread.step = Step("pause", frames, self.origins, anywhere=True)
            self.tracer.rearm()

    def stop_on_entry(self) -> None:
        """Has the calling thread stop at the first line of the user's code that it runs."""
        thread = self.threads.current()
        with self.lock:
            anywhere = self.binder.table.step_into_libraries
            thread.step = Step("entry", [], self.origins, anywhere)
            self.tracer.prepare_step(thread, sys._getframe(1))
            self.tracer.rearm()

    def release(self, session_id: str) -> None:
        """Removes the session's breakpoints and resumes its threads; returns when they run. An empty id means everyone's."""
        with self.lock:
            mine = [s for s in self.stops.values() if session_id in ("", s.session_id)]
            is_owner = session_id in ("", self.binder.table.session_id)
            if is_owner:
                self.binder = Binder(Table())
                for thread in self.threads.known():
                    thread.step = None
                self._detach()
                self.tracer.release()
        for stop in mine:
            stop.interrupt()
            stop.inbox.put(Resume("continue"))
        deadline = time.monotonic() + limits.RELEASE_SECONDS_MAX
        late = [s for s in mine if not s.gone.wait(max(0.0, deadline - time.monotonic()))]
        if late:
            names = ", ".join(s.thread.name for s in late)
            raise RequestError(
                f"Still busy with an evaluation that cannot be interrupted, and resumes after it: {names}."
            )

    def is_running(self, thread_id: int) -> bool:
        """Whether there is such a thread, and it is not stopped or just goes on."""
        stop = self.stops.get(thread_id)
        return stop.is_resuming if stop is not None else self.threads.find(thread_id) is not None

    def stop_of_thread(self, thread_id: int) -> Stop:
        """The stop of a thread."""
        stop = self.stops.get(thread_id)
        if stop is None or stop.is_resuming:
            raise RequestError(f"Thread {thread_id} is not stopped.")
        return stop

    def stop_of_frame(self, frame_id: int) -> Stop:
        """The stop that a frame id belongs to."""
        for stop in list(self.stops.values()):
            if frame_id in stop.indices:
                return stop
        raise RequestError("This stack frame is no longer there: its thread has gone on since.")

    def stop_of_handle(self, handle: int) -> Stop:
        """The stop that a variables reference belongs to."""
        for stop in list(self.stops.values()):
            if handle in stop.nodes:
                return stop
        raise RequestError("This variable is no longer there: its thread has gone on since.")

    def task_of(self, thread: ThreadState) -> Body | None:
        """The task that a thread runs now."""
        try:
            return self._current_task(thread.ident)
        except Exception as error:
            self.report(error)
            return None

    def report(self, error: BaseException) -> None:
        """Says that the engine itself failed. The program runs on."""
        text = traceback_of(error)
        try:
            self.send_event(
                "output", {"category": "important", "output": f"The Python debug engine failed: {text}"}
            )
        except Exception as failure:
            # Who hears of the engine's errors cannot be told of one: this one may not reach the program all the same.
            if sys.__stderr__ is not None:
                sys.__stderr__.write(f"manta_debug: {text}manta_debug: {text_of(failure)}\n")

    # ---------------------------------------------------------------- what the program's threads call

    def discover(self, code: CodeType, names: dict[str, Any]) -> None:
        """Code that concerns the table runs for the first time, with these globals: binds it before its first line."""
        try:
            with self.lock:
                if bound := self.binder.consider(code, names):
                    self.tracer.watch_codes(bound)
                changed = self.binder.take_changed()
                table = self.binder.table
            for breakpoint in changed:
                state = describe_breakpoint(table, breakpoint, cluster=self.cluster)
                self.send_event("breakpoint", {"reason": "changed", "breakpoint": state})
        except Exception as error:
            self.report(error)

    def has_breakpoint(self, code: CodeType, line: int) -> bool:
        """Whether the line's events are judged by `on_breakpoint_line`."""
        binding = self.binder.find(code)
        return binding is not None and line in binding.lines

    def on_breakpoint_line(self, frame: FrameType, binding: Binding, line: int) -> None:
        """A line that owns a breakpoint is about to run."""
        thread = self.threads.current()
        if not self._may_stop(thread):
            return
        if thread.landed is not None and self.has_landed(thread, frame):
            return
        try:
            verdict = judge(self, frame, binding.at(frame.f_code, line, frame.f_lasti))
        except Exception as error:
            self.report(error)
            return
        step = thread.step
        if verdict.ids:
            reason = verdict.reason
            self._stop(
                thread,
                stack_of(frame, self.origins),
                reason,
                f"Paused on {reason}",
                verdict.text,
                verdict.ids,
                returned=step.returned if step is not None and step.wants_line(frame) else None,
            )
        elif step is not None and step.ends_at(frame):
            self.on_step_end(thread, frame)

    def on_step_end(self, thread: ThreadState, frame: FrameType, returned: Body | None = None) -> None:
        """The thread came to where its step, or a request to pause, wanted it."""
        if not self._may_stop(thread) or thread.step is None:
            return
        reason, text = _ENDS.get(thread.step.kind, ("step", "Paused after step"))
        returned = thread.step.returned if returned is None else returned
        self._stop(thread, stack_of(frame, self.origins), reason, text, returned=returned)

    def on_step_exit(
        self, thread: ThreadState, frame: FrameType, *, unwinding: bool, yielding: bool, value: object
    ) -> None:
        """A frame of a thread that steps is left."""
        step = thread.step
        if step is None:
            return
        awaiter = None if yielding or not step.follows(frame) else self._awaiter_of(frame)
        outcome = step.on_exit(frame, unwinding=unwinding, yielding=yielding, awaiter=awaiter)
        if outcome is Outcome.STOP_IN_CALLER and frame.f_back is not None:
            returned = {name_of(frame.f_code): value} if self.origins.is_user(frame) else None
            self.on_step_end(thread, frame.f_back, returned)
        elif outcome is Outcome.FINISHED:
            thread.step = None
            if step.left is not None:
                self.send_event("mantaContinued", {**step.left, "ended": True})
            self.tracer.rearm()
        elif outcome is Outcome.REARM:
            self.tracer.rearm()

    def _awaiter_of(self, frame: FrameType) -> FrameType | None:
        """The user's coroutine that goes on when the asyncio task ends whose outermost frame this is."""
        if not frame.f_code.co_flags & CO_COROUTINE:
            return None
        try:
            for task in awaiting.awaiters(frame):
                return next((f for f in awaiting.frames_of(task) if self.origins.is_user(f)), None)
        except Exception as error:
            self.report(error)
        return None

    def on_raise(self, frame: FrameType, error: BaseException) -> None:
        """An exception was raised in a frame, or came out of a call there."""
        thread = self.threads.current()
        table = self.binder.table
        if "raised" not in table.filters or not self._may_stop(thread):
            return
        if is_reported_raise(frame, error, self.origins, self.exits) and passes_filter(
            self, frame, error, table.filters["raised"]
        ):
            self._stop_on_exception(thread, stack_of(frame, self.origins), error, "always")

    def on_unwind(self, frame: FrameType, error: BaseException) -> None:
        """An exception leaves a frame."""
        thread = self.threads.current()
        table = self.binder.table
        if not self._may_stop(thread):
            return
        for found in unhandled_by(frame, error, self.origins, self.exits):
            if found in table.filters and passes_filter(self, frame, error, table.filters[found]):
                mode = "unhandled" if found == "uncaught" else "userUnhandled"
                self._stop_on_exception(thread, stack_of_traceback(frame, error, self.origins), error, mode)
                return

    def on_post_mortem(self, frame: FrameType, error: BaseException, *, as_uncaught: bool) -> None:
        """The program wants an exception to be looked at which it has caught, as one that nobody caught, or in any case."""
        thread = self.threads.current()
        filters = self.binder.table.filters
        is_wanted = not as_uncaught or (
            "uncaught" in filters and passes_filter(self, frame, error, filters["uncaught"])
        )
        if is_wanted and self._may_stop(thread):
            stack = stack_of_traceback(frame, error, self.origins)
            self._stop_on_exception(thread, stack, error, "unhandled")

    def on_breakpoint_call(self, frame: FrameType) -> None:
        """The program called `breakpoint()`."""
        thread = self.threads.current()
        if self._may_stop(thread):
            self._stop(thread, stack_of(frame, self.origins), "breakpoint", "Paused on breakpoint()")

    # ---------------------------------------------------------------- stopping

    def _may_stop(self, thread: ThreadState) -> bool:
        return self._attached and not thread.is_engine and not thread.busy

    def _stop_on_exception(
        self, thread: ThreadState, stack: list[StackEntry], error: BaseException, mode: str
    ) -> None:
        self._stop(
            thread, stack, "exception", "Paused on exception", text_of(error), exception=error, mode=mode
        )

    def _stop(
        self,
        thread: ThreadState,
        stack: list[StackEntry],
        reason: str,
        description: str,
        text: str | None = None,
        hit_ids: Iterable[int] = (),
        *,
        exception: BaseException | None = None,
        mode: str = "always",
        returned: Body | None = None,
    ) -> None:
        is_deep = headroom.enter(len(stack))
        top = stack[0].frame
        try:
            stop = Stop(
                number=next(self._stop_numbers),
                thread=thread,
                stack=stack,
                reason=reason,
                task=self.task_of(thread),
                session_id=self.binder.table.session_id,
                generation=self.binder.table.generation,
                exception=exception,
                exception_mode=mode,
                returned=returned or {},
            )
            resume = self._hold(stop, description, text, list(hit_ids))
        finally:
            if is_deep:
                headroom.leave()
        if resume is not None and resume.kind in JUMPS:
            self._stop(thread, stack_of(top, self.origins), resume.kind, f"Paused after {resume.kind}")

    def _hold(self, stop: Stop, description: str, text: str | None, hit_ids: list[int]) -> Resume | None:
        """Keeps the calling thread until it is resumed; answers how. Nothing when no client is there any more."""
        thread, stack = stop.thread, stop.stack
        try:
            add_awaiters(stack)
        except Exception as error:
            self.report(error)
        with self.lock:
            if not self._attached:
                return None
            thread.step = None
            thread.stop = self.stops[thread.thread_id] = stop
        thread.busy = True
        thread.landed = None
        look, thread.look = thread.look, None
        resume = Resume("continue")
        try:
            self._announce(stop, description, text, hit_ids, look)
            resume = stop.wait()
        finally:
            self._go_on(stop, resume)
        return resume

    def _land(self, thread: ThreadState, frame: FrameType) -> None:
        """The thread goes on at a line that it jumped to, where it has stopped already: the line's event is not another stop."""
        is_judged = self.has_breakpoint(frame.f_code, frame.f_lineno or 0)
        is_stepped = thread.step is not None and thread.step.wants_line(frame)
        if self.tracer.tells_jumps and (is_judged or is_stepped):
            thread.landed = (frame, frame.f_lasti)

    def has_landed(self, thread: ThreadState, frame: FrameType) -> bool:
        """Whether this line event is only that of a jump's end. Answers so once."""
        landed, thread.landed = thread.landed, None
        return landed is not None and landed[0] is frame and landed[1] == frame.f_lasti

    def _announce(
        self, stop: Stop, description: str, text: str | None, hit_ids: list[int], look: Body | None
    ) -> None:
        body: Body = {
            "reason": stop.reason,
            "description": description,
            "threadId": stop.thread.thread_id,
            "allThreadsStopped": False,
        }
        if text is not None:
            body["text"] = text[: limits.VALUE_CHARS_MAX]
        if hit_ids:
            body["hitBreakpointIds"] = hit_ids
        if self.cluster:
            body.update(generation=stop.generation, stop=stop.number, topFrame=describe_frame(self, stop, 0))
            if stop.task is not None:
                body["task"] = stop.task
            tell = self.tell_look
            if look is not None and tell is not None:
                body["look"] = True
                stop.inbox.put(lambda: tell(stop, look))
        self.send_event("mantaStopped" if self.cluster else "stopped", body)

    def _go_on(self, stop: Stop, resume: Resume) -> None:
        thread = stop.thread
        with self.lock:
            del self.stops[thread.thread_id]
            thread.stop = None
            frame = stop.stack[0].frame
            if resume.kind in STEPS and stop.exception_mode == "always" and self._attached:
                anywhere = self.binder.table.step_into_libraries
                thread.step = Step(resume.kind, [frame], self.origins, anywhere, resume.target)
                if self.cluster:
                    thread.step.left = self._continued(stop)
                thread.step.outlives_calls = not self.cluster
                self.tracer.prepare_step(thread, frame)
            if stop.reason in JUMPS and resume.kind not in JUMPS:
                self._land(thread, frame)
            self.tracer.rearm()
        stop.serve_rest()
        if self.tell_gone is not None:
            self.tell_gone(stop)
        self._announce_continued(stop)
        stop.nodes.clear()
        stop.stack.clear()
        stop.exception = None
        stop.returned.clear()
        thread.busy = False
        stop.gone.set()

    def _announce_continued(self, stop: Stop) -> None:
        try:
            if self.cluster:
                self.send_event("mantaContinued", self._continued(stop))
            elif not stop.is_resuming:
                self.send_event(
                    "continued", {"threadId": stop.thread.thread_id, "allThreadsContinued": False}
                )
        except Exception as error:
            self.report(error)

    def _continued(self, stop: Stop) -> Body:
        body: Body = {"threadId": stop.thread.thread_id, "stop": stop.number}
        if stop.task is not None:
            body["task"] = stop.task
        return body

    # ---------------------------------------------------------------- attaching

    def attach(self) -> None:
        """Stops are announced from now on, and `breakpoint()` stops."""
        if self._attached:
            return
        self._attached = True
        self._breakpoint_hook.install()

    def _detach(self) -> None:
        if not self._attached:
            return
        self._attached = False
        self._breakpoint_hook.remove()

    def abandon(self) -> None:
        """In a forked child nobody serves a stop: disarms everything, and says nothing more."""
        self.is_abandoned = True
        self.lock = unpatched.RLock()
        self._detach()
        self.binder = Binder(Table())
        self.stops.clear()
        for thread in self.threads.known():
            thread.step = None
        self.tracer.release()


def _release_in_children(core: Core) -> None:
    reference = weakref.ref(core)

    def after_fork() -> None:
        alive = reference()
        if alive is not None:
            alive.abandon()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after_fork)
