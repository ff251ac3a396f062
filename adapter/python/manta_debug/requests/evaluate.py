"""`evaluate`: expressions anywhere, statements in the debug console, nothing that runs code on hover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import careful, limits
from ..errors import RequestError, text_of
from ..evaluate import NOTHING, evaluate
from ..values import tree
from .base import Arguments, Body, OnStop, extra_names, of_frame

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def _stop(engine: Engine, arguments: Arguments) -> Stop:
    if arguments.get("frameId") is None:
        raise RequestError(
            "Nothing can be evaluated without a stack frame: stop a thread and choose a frame."
        )
    return of_frame(engine, arguments)


def _evaluate(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    text = str(arguments["expression"])
    context = arguments.get("context") or "repl"
    frame = stop.frame(int(arguments["frameId"]))
    extra = extra_names(stop)
    seconds = None if context == "repl" else limits.WATCH_SECONDS_MAX

    def run() -> Any:
        if context == "hover":
            return careful.look(frame, text, extra)
        return evaluate(frame, text, statements=context == "repl", extra=extra)

    try:
        value = stop.bounded(run, seconds)
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(text_of(error)) from None
    if value is NOTHING:
        return {"result": "", "variablesReference": 0}
    if context == "clipboard":
        return {"result": _whole_text(stop, value), "variablesReference": 0}
    described = tree.describe_value(stop, frame, value, _expression(text))
    return {"result": described.pop("value"), **described}


def _whole_text(stop: Stop, value: Any) -> str:
    try:
        text = stop.bounded(lambda: _written(value), limits.WATCH_SECONDS_MAX)
    except Exception as error:
        raise RequestError(text_of(error)) from None
    return str(text)[: limits.EVALUATE_CHARS_MAX]


def _written(value: Any) -> str:
    # Python refuses to write very large numbers in decimal.
    is_large = type(value) is int and value.bit_length() > limits.INTEGER_BITS_MAX
    return hex(value) if is_large else repr(value)


def _expression(text: str) -> str | None:
    """By what the value can be named again: not by statements, which would run twice."""
    try:
        compile(text.strip(), "<evaluation>", "eval")
    except (SyntaxError, ValueError):
        return None
    return f"({text.strip()})"


REQUESTS = {"evaluate": OnStop(_stop, _evaluate)}
