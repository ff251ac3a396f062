"""Which exceptions stop, and what to tell about one."""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from . import limits
from .errors import text_of
from .exits import ExitCodes
from .kinds import ExceptionCondition
from .origins import Origins
from .values import static

if TYPE_CHECKING:
    from .core import Core
    from .stops import Stop

FILTERS: list[dict[str, Any]] = [
    {
        "filter": "raised",
        "label": "Raised Exceptions",
        "description": "Stop where an exception is raised, or first comes out of a library into your code.",
        "default": False,
        "supportsCondition": True,
        "conditionDescription": "Names of exception classes, separated by commas, or an expression about `exception`",
    },
    {
        "filter": "uncaught",
        "label": "Uncaught Exceptions",
        "description": "Stop when an exception leaves a task, a thread or the program.",
        "default": True,
        "supportsCondition": True,
        "conditionDescription": "Names of exception classes, separated by commas, or an expression about `exception`",
    },
    {
        "filter": "userUncaught",
        "label": "User Uncaught Exceptions",
        "description": "Stop when an exception leaves your code for a library that called it.",
        "default": False,
        "supportsCondition": True,
        "conditionDescription": "Names of exception classes, separated by commas, or an expression about `exception`",
    },
]

_CONTROL_FLOW = (StopIteration, StopAsyncIteration, GeneratorExit)


def is_reported_raise(frame: FrameType, error: BaseException, origins: Origins, exits: ExitCodes) -> bool:
    """Whether this is the first frame of the user's code that sees the exception."""
    if isinstance(error, _CONTROL_FLOW) or exits.is_orderly(error) or not origins.is_user(frame):
        return False
    link: TracebackType | None = error.__traceback__
    if link is not None and link.tb_frame is frame:
        link = link.tb_next
    while link is not None:
        if origins.is_user(link.tb_frame):
            return False
        link = link.tb_next
    return True


def unhandled_by(
    frame: FrameType, error: BaseException, origins: Origins, exits: ExitCodes
) -> tuple[str, ...]:
    """The filters that an exception which leaves this frame belongs to, best first; none while user code may still handle it."""
    if isinstance(error, _CONTROL_FLOW) or exits.is_orderly(error) or not origins.is_user(frame):
        return ()
    caller = frame.f_back
    # A coroutine of an async actor is called by the runtime, however that itself came to run on the event loop.
    if (
        caller is None
        or origins.is_runtime(caller)
        or all(origins.is_bootstrap(f) for f in _outwards(caller))
    ):
        return ("uncaught", "userUncaught")
    return () if origins.is_user(caller) else ("userUncaught",)


def passes_filter(
    core: Core, frame: FrameType, error: BaseException, condition: ExceptionCondition | None
) -> bool:
    """Whether the filter's condition holds."""
    if condition is None:
        return True
    try:
        return condition.holds(frame, error)
    except Exception as failure:
        core.send_event(
            "output",
            {
                "category": "console",
                "output": f"The condition of an exception filter could not be evaluated: {text_of(failure)}\n",
            },
        )
        return False


def describe_exception(stop: Stop, error: BaseException) -> dict[str, Any]:
    """The body of `exceptionInfo`."""
    kind = type(error)
    details = _details(error, "__exception__", 0)
    # Clients show the one behind the other.
    return {
        "exceptionId": kind.__qualname__ if kind.__module__ == "builtins" else details["fullTypeName"],
        "description": details["message"] or kind.__name__,
        "breakMode": stop.exception_mode,
        "details": details,
    }


def _details(error: BaseException, expression: str, depth: int) -> dict[str, Any]:
    import traceback

    kind = type(error)
    notes = static.fields(error).get("__notes__")
    texts = [text_of(error).partition(": ")[2], *(notes if type(notes) is list else ())]
    details: dict[str, Any] = {
        "message": "\n".join(str(t) for t in texts if type(t) is str and t)[: limits.STRING_CHARS_MAX],
        "typeName": kind.__name__,
        "fullTypeName": f"{kind.__module__}.{kind.__qualname__}",
        "evaluateName": expression,
        "stackTrace": "".join(traceback.format_tb(error.__traceback__, limit=100))[
            : limits.TRACEBACK_CHARS_MAX
        ],
    }
    inner = list(_inner(error, expression)) if depth < limits.CAUSES_MAX else []
    if inner:
        details["innerException"] = [_details(*each, depth + 1) for each in inner]
    return details


def _inner(error: BaseException, expression: str) -> Iterator[tuple[BaseException, str]]:
    """What caused the exception, and the members of a group; each with the expression that names it."""
    if error.__cause__ is not None:
        yield error.__cause__, f"{expression}.__cause__"
    elif error.__context__ is not None and not error.__suppress_context__:
        yield error.__context__, f"{expression}.__context__"
    if isinstance(error, BaseExceptionGroup):
        for at, member in enumerate(error.exceptions[: limits.GROUP_MEMBERS_MAX]):
            yield member, f"{expression}.exceptions[{at}]"


def _outwards(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames
