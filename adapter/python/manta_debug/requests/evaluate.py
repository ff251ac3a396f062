"""`evaluate`: expressions anywhere, statements in the debug console, nothing that runs code on hover."""

from __future__ import annotations

import ast
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from .. import careful, guard, limits
from ..drive import drive
from ..errors import RequestError, text_of
from ..evaluate import NOTHING, MainScope, evaluate
from ..values import tree
from ..values.render import integers_as, limited_time, render
from .base import Arguments, Body, OnStop, Reply, extra_names, of_frame

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def _evaluate(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    text = str(arguments["expression"])
    context = arguments.get("context") or "repl"
    frame = stop.scope(int(arguments["frameId"]))
    extra = extra_names(stop)
    seconds = None if context == "repl" else limits.WATCH_SECONDS_MAX

    def run() -> Any:
        if context == "hover":
            return careful.look(frame, text, extra)
        if context != "repl":
            return evaluate(frame, text, statements=False, extra=extra)
        return evaluate(frame, text, statements=True, extra=extra, drive=driven)

    def driven(coroutine: Coroutine[Any, Any, Any]) -> Any:
        assert stop.running is not None
        return drive(coroutine, stop.running)

    try:
        value = stop.bounded(run, seconds)
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(text_of(error)) from None
    if value is NOTHING or (value is None and context == "repl" and _calls(text)):
        return {"result": "", "variablesReference": 0}
    if context == "clipboard":
        return {"result": _whole_text(value), "variablesReference": 0}
    described = tree.describe_value(stop, frame, value, _expression(text))
    return {"result": described.pop("value"), **described}


def _evaluate_in_main(engine: Engine, arguments: Arguments) -> Reply:
    """Without a frame: in the program's main module, on a thread of the engine's, while the program runs."""
    scope = MainScope.find() if not engine.core.cluster else None
    if scope is None:
        raise RequestError(
            "Nothing can be evaluated without a stack frame: stop a thread and choose a frame."
        )
    text, context = str(arguments["expression"]), arguments.get("context") or "repl"

    def run() -> str:
        is_hover, is_repl = context == "hover", context == "repl"
        value = careful.look(scope, text, None) if is_hover else evaluate(scope, text, statements=is_repl)
        if value is NOTHING:
            return ""
        return _written(value)[: limits.EVALUATE_CHARS_MAX] if context == "clipboard" else render(value)

    try:
        with integers_as(arguments.get("format")), limited_time():
            return Reply({"result": guard.run_aside(run, limits.WATCH_SECONDS_MAX), "variablesReference": 0})
    except TimeoutError:
        raise RequestError("The expression did not end in time and was interrupted.") from None
    except RequestError:
        raise
    except BaseException as error:
        raise RequestError(text_of(error)) from None


def _whole_text(value: Any) -> str:
    try:
        # Aside, as a `__repr__` that waits in C could not be ended here.
        text = guard.run_aside(lambda: _written(value), limits.WATCH_SECONDS_MAX)
    except TimeoutError:
        raise RequestError("The value's text was not made in time.") from None
    except Exception as error:
        raise RequestError(text_of(error)) from None
    return str(text)[: limits.EVALUATE_CHARS_MAX]


def _written(value: Any) -> str:
    # Python refuses to write very large numbers in decimal.
    is_large = type(value) is int and value.bit_length() > limits.INTEGER_BITS_MAX
    return hex(value) if is_large else repr(value)


def _calls(text: str) -> bool:
    """Whether what was typed ends with a call, whose `None` nobody wants to see behind what it has printed."""
    last = ast.parse(text.strip()).body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, (ast.Call, ast.Await))


def _expression(text: str) -> str | None:
    """By what the value can be named again: not by statements, which would run twice."""
    try:
        compile(text.strip(), "<evaluation>", "eval")
    except (SyntaxError, ValueError):
        return None
    return f"({text.strip()})"


REQUESTS = {"evaluate": OnStop(of_frame, _evaluate, _evaluate_in_main)}
