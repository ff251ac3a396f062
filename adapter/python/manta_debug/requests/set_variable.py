"""`setVariable`: a new value for a local, a global, an element, an entry or a field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import limits
from ..errors import RequestError, text_of
from ..evaluate import evaluate
from ..values import tree
from ..values.assign import assign
from .base import Arguments, Body, OnStop, extra_names, of_handle

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def _set_variable(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    node: tree.Node = stop.nodes[int(arguments["variablesReference"])]
    name, text = str(arguments["name"]), str(arguments["value"])
    extra = extra_names(stop)
    try:
        value = stop.bounded(
            lambda: evaluate(node.frame, text, statements=False, extra=extra), limits.WATCH_SECONDS_MAX
        )
        stop.bounded(lambda: assign(node, name, value), limits.WATCH_SECONDS_MAX)
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(f"{name} was not set: {text_of(error)}") from None
    return tree.describe_value(stop, node.frame, value, None)


REQUESTS = {"setVariable": OnStop(of_handle, _set_variable)}
