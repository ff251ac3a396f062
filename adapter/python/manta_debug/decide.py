"""Whether a breakpoint that was reached stops: its condition, its hit count, its log message."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING

from . import limits, templates
from .errors import text_of
from .evaluate import Scope, evaluate_code
from .stack import place_of
from .table import Breakpoint
from .values.render import render_for_log

if TYPE_CHECKING:
    from .core import Core


@dataclass(slots=True)
class Verdict:
    """The breakpoints that stop here, and what to say about it."""

    ids: list[int] = field(default_factory=list)
    reason: str = "breakpoint"
    text: str | None = None


def judge(core: Core, frame: FrameType, breakpoints: list[Breakpoint]) -> Verdict:
    """Asks each breakpoint. One whose condition fails to evaluate stops, and says so."""
    verdict = Verdict()
    scope: Scope | None = None
    for breakpoint in breakpoints:
        if breakpoint.function is not None and not _is_in_module(frame, breakpoint.function):
            continue
        try:
            if breakpoint.condition is not None:
                scope = templates.scope_of(frame) if scope is None else scope
                if not evaluate_code(scope, breakpoint.condition):
                    continue
        except (Exception, SystemExit) as error:
            # Whatever the condition's own code raises, `exit()` included: none of it is the program's.
            verdict.text = f"The condition could not be evaluated: {text_of(error)}"
            verdict.ids.append(breakpoint.id)
            continue
        with core.lock:
            breakpoint.hits += 1
            hits = breakpoint.hits
        if breakpoint.hit_test is not None and not breakpoint.hit_test(hits):
            continue
        if breakpoint.log is not None:
            _log(core, frame, breakpoint)
            continue
        verdict.ids.append(breakpoint.id)
        if breakpoint.function is not None:
            verdict.reason = "function breakpoint"
    return verdict


def _is_in_module(frame: FrameType, wanted: str) -> bool:
    name = frame.f_code.co_qualname.replace(".<locals>", "")
    if not wanted.endswith("." + name):
        return True
    return wanted.removesuffix("." + name) == frame.f_globals.get("__name__")


def _log(core: Core, frame: FrameType, breakpoint: Breakpoint) -> None:
    if breakpoint.log is None:
        return
    thread = core.threads.current()
    data = {"threadId": thread.thread_id, "breakpointId": breakpoint.id}
    task = core.task_of(thread)
    scope = templates.scope_of(frame)
    text = breakpoint.log.render(lambda code: evaluate_code(scope, code), render_for_log, text_of)[
        : limits.OUTPUT_CHARS_MAX
    ]
    source, line = place_of(core, frame, frame.f_lineno or 0)
    core.send_event(
        "output",
        {
            "category": "console",
            "output": text + "\n",
            "source": source,
            "line": line,
            "data": data if task is None else {**data, "task": task},
        },
    )
