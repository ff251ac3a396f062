"""`setExpression`: a new value for anything that can be assigned to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import limits
from ..errors import RequestError, text_of
from ..evaluate import evaluate, execute
from ..values import tree
from .base import Arguments, Body, OnStop, extra_names, of_frame

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def _set_expression(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    target, text = str(arguments["expression"]).strip(), str(arguments["value"])
    frame = stop.scope(int(arguments["frameId"]))
    extra = extra_names(stop)

    def run() -> Any:
        code = compile(f"{target} = ({text})", "<evaluation>", "exec", dont_inherit=True)
        execute(frame, code, extra)
        return evaluate(frame, target, statements=False, extra=extra)

    try:
        value = stop.bounded(run, limits.WATCH_SECONDS_MAX)
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(f"{target} was not set: {text_of(error)}") from None
    return tree.describe_value(stop, frame, value, target)


REQUESTS = {"setExpression": OnStop(of_frame, _set_expression)}
