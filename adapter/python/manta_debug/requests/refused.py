"""Requests of the protocol that no Python can serve, each with the reason; clients send some without asking for the capability."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RequestError
from .base import Arguments, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine

_MACHINE = "Python has no machine code of the program to show or to stop at: {}."
_WATCH = "A variable of Python cannot be watched, as CPython has no event for a write: set a breakpoint with a condition instead."
_BACK = "A Python program cannot run backwards: set the next statement, or restart the frame, instead."

_REASONS = {
    "disassemble": _MACHINE.format("evaluate `dis.dis(function)` in the debug console for its bytecode"),
    "readMemory": _MACHINE.format("values have no memory references"),
    "writeMemory": _MACHINE.format("values have no memory references"),
    "setInstructionBreakpoints": _MACHINE.format("set a breakpoint on a line"),
    "stepBack": _BACK,
    "reverseContinue": _BACK,
    "terminateThreads": "A thread of Python cannot be ended from outside.",
    "restart": "A process cannot begin again in its place: end it, and start it anew.",
}


def _refused(reason: str) -> OnClient:
    def run(engine: Engine, arguments: Arguments) -> Reply:
        raise RequestError(reason)

    return OnClient(run)


def _data_breakpoint_info(engine: Engine, arguments: Arguments) -> Reply:
    return Reply({"dataId": None, "description": _WATCH})


def _set_data_breakpoints(engine: Engine, arguments: Arguments) -> Reply:
    # Not an error: clients send their empty set at the start.
    wanted = arguments.get("breakpoints") or ()
    return Reply(
        {"breakpoints": [{"verified": False, "reason": "failed", "message": _WATCH} for _ in wanted]}
    )


REQUESTS = {
    **{command: _refused(reason) for command, reason in _REASONS.items()},
    "dataBreakpointInfo": OnClient(_data_breakpoint_info),
    "setDataBreakpoints": OnClient(_set_data_breakpoints),
}
