"""The two ways in which CPython tells the engine where it is: `sys.monitoring` (3.12 and later), and `sys.settrace`."""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..core import Core
    from ..threads import ThreadState


class Tracer(Protocol):
    """What the core needs of a tracing mechanism."""

    note: str
    """What to add to a bound breakpoint's message; empty when it is in force everywhere."""

    tells_jumps: bool
    """Whether a frame that jumped makes an event for the line where it lands."""

    def apply(self) -> None:
        """Puts a new table in force, on running frames too. Called with the core's lock held."""

    def watch_codes(self, codes: list[CodeType]) -> None:
        """These code objects were bound just now. Called with the core's lock held."""

    def rearm(self) -> None:
        """The steps of some thread changed."""

    def on_task_start(self) -> None:
        """The calling thread is about to run a task."""

    def prepare_step(self, thread: ThreadState, frame: FrameType) -> None:
        """The calling thread, stopped in `frame`, is about to resume with a step."""

    def release(self) -> None:
        """Leaves nothing behind."""


def choose(core: Core) -> Tracer:
    """The best mechanism that this interpreter has."""
    if sys.version_info >= (3, 12):
        from .monitoring import MonitoringTracer

        return MonitoringTracer(core)
    from .settrace import SettraceTracer

    return SettraceTracer(core)
