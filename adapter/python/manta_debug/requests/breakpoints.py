"""`setBreakpoints`, `setFunctionBreakpoints`, `setExceptionBreakpoints`: a stand-alone client's sets, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import RequestError
from ..exceptions import FILTERS
from ..table import EXCEPTION_FILTERS
from .base import Arguments, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine


def _set_breakpoints(engine: Engine, arguments: Arguments) -> Reply:
    source = arguments["source"]
    path = source.get("path")
    if not path:
        raise RequestError("Breakpoints can be set only in a source with a path.")
    sets = engine.client_sets
    wanted = []
    for asked in arguments.get("breakpoints") or []:
        line = int(asked["line"]) + (0 if engine.lines_start_at_1 else 1)
        wanted.append({**asked, "line": line, "id": sets.id_of(path, line, asked.get("column"))})
    sets.sources[path] = {"source": source, "paths": engine.paths.here(path), "breakpoints": wanted}
    return _apply(engine, wanted, source)


def _set_function_breakpoints(engine: Engine, arguments: Arguments) -> Reply:
    sets = engine.client_sets
    sets.functions = [
        {**asked, "id": sets.id_of("function", asked["name"])} for asked in arguments["breakpoints"]
    ]
    return _apply(engine, sets.functions, None)


def _set_exception_breakpoints(engine: Engine, arguments: Arguments) -> Reply:
    filters = list(arguments.get("filters") or [])
    options = list(arguments.get("filterOptions") or [])
    for name in [*filters, *(o.get("filterId") for o in options)]:
        if name not in EXCEPTION_FILTERS and name != "userUnhandled":
            known = ", ".join(f["filter"] for f in FILTERS)
            raise RequestError(f"There is no exception filter '{name}'; there are {known}.")
    engine.client_sets.filters = filters
    engine.client_sets.options = options
    configure(engine)
    return Reply({"breakpoints": [{"verified": True} for _ in range(len(filters) + len(options))]})


def configure(engine: Engine) -> dict[int, dict[str, Any]]:
    """Puts the whole set in force, and answers the state of each breakpoint: the best that it has in any process of the session."""
    sets = engine.client_sets.arguments()
    states = {s["id"]: s for s in engine.core.configure(sets)}
    for other in engine.host.configured(sets):
        if other.get("verified") and not states.get(other["id"], other).get("verified"):
            states[other["id"]] = other
    return states


def _apply(engine: Engine, wanted: list[dict[str, Any]], source: dict[str, Any] | None) -> Reply:
    states = configure(engine)
    answers = []
    for asked in wanted:
        state = dict(states[asked["id"]])
        state.setdefault("line", asked.get("line"))
        if source is not None:
            state["source"] = source
        if not engine.lines_start_at_1 and state["line"] is not None:
            state["line"] -= 1
        answers.append({k: v for k, v in state.items() if v is not None})
    return Reply({"breakpoints": answers})


REQUESTS = {
    "setBreakpoints": OnClient(_set_breakpoints),
    "setFunctionBreakpoints": OnClient(_set_function_breakpoints),
    "setExceptionBreakpoints": OnClient(_set_exception_breakpoints),
}
