"""What a client can ask, one request a file. A request runs on the client's thread, or on the stopped thread that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import RequestError
from .base import ClientSets, GotoTarget, Host, OnClient, OnStop, Reply

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop

__all__ = ["ClientSets", "GotoTarget", "Host", "OnClient", "OnStop", "Reply", "find", "look_at"]

_TABLE: dict[str, OnClient | OnStop] = {}


def let_pass() -> None:
    """Leaves the processor to those that carry a stop to the client."""
    from . import look

    look.let_pass()


def stack_at(engine: Engine, stop: Stop, wanted: dict[str, Any]) -> dict[str, Any]:
    """The stack that the client will ask of a stop."""
    from . import look

    return look.stack_at(engine, stop, wanted)


def variables_at(engine: Engine, stop: Stop) -> dict[str, Any]:
    """The variables that the client will ask of a stop, whose stack is told."""
    from . import look

    return look.variables_at(engine, stop)


def find(command: Any) -> OnClient | OnStop:
    """The request of this name; an unknown one is refused."""
    if not _TABLE:
        _fill()
    request = _TABLE.get(command)
    if request is None:
        raise RequestError(f"The Python engine does not know the request '{command}'.")
    return request


def _fill() -> None:
    from . import (
        breakpoint_locations,
        breakpoints,
        cancel,
        completions,
        configure,
        evaluate,
        exception_info,
        goto,
        lifecycle,
        loaded_sources,
        modules,
        pause,
        refused,
        restart_frame,
        resume,
        scopes,
        set_expression,
        set_variable,
        source,
        source_map,
        stack_trace,
        step_in_targets,
        threads,
        variables,
    )

    known = (
        breakpoint_locations,
        breakpoints,
        cancel,
        completions,
        configure,
        evaluate,
        exception_info,
        goto,
        lifecycle,
        loaded_sources,
        modules,
        pause,
        refused,
        restart_frame,
        resume,
        scopes,
        set_expression,
        set_variable,
        source,
        source_map,
        stack_trace,
        step_in_targets,
        threads,
        variables,
    )
    for module in known:
        _TABLE.update(module.REQUESTS)
