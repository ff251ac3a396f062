"""`exceptionInfo`: the exception that a thread stopped on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RequestError
from ..exceptions import describe_exception
from .base import Arguments, Body, OnStop, of_thread

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def _exception_info(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    if stop.exception is None:
        raise RequestError("The thread did not stop on an exception.")
    return describe_exception(stop, stop.exception)


REQUESTS = {"exceptionInfo": OnStop(of_thread, _exception_info)}
