"""`breakpointLocations`: the lines of a file that can stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import limits, locate
from ..errors import RequestError
from .base import Arguments, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine


def _breakpoint_locations(engine: Engine, arguments: Arguments) -> Reply:
    source = arguments["source"]
    paths = arguments.get("paths") or engine.paths.here(str(source.get("path") or ""))
    paths = [str(p) for p in paths if p]
    if not paths:
        raise RequestError("The lines that can stop are known only for a source with a path.")
    shift = 0 if engine.lines_start_at_1 else 1
    first = int(arguments["line"]) + shift
    last = int(arguments.get("endLine") or arguments["line"]) + shift
    lines = sorted(n for n in locate.lines_of_file(paths) if first <= n <= last)
    return Reply({"breakpoints": [{"line": n - shift} for n in lines[: limits.LOCATIONS_MAX]]})


REQUESTS = {"breakpointLocations": OnClient(_breakpoint_locations)}
