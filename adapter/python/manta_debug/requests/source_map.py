"""`setPydevdSourceMap`: which lines of a file run under other names. Clients of debugpy's know it; the protocol has no such request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RequestError
from ..source_maps import Piece
from .base import Arguments, OnClient, Reply
from .breakpoints import configure

if TYPE_CHECKING:
    from ..engine import Engine


def _set_source_map(engine: Engine, arguments: Arguments) -> Reply:
    path = arguments["source"].get("path")
    if not path:
        raise RequestError("Lines that run elsewhere can be named only for a source with a path.")
    shift = 0 if engine.lines_start_at_1 else 1
    pieces = []
    for entry in arguments.get("pydevdSourceMaps") or ():
        first, last, at = (int(entry[name]) + shift for name in ("line", "endLine", "runtimeLine"))
        pieces.append(Piece(str(path), first, last, str(entry["runtimeSource"]["path"]), at))
    engine.core.sources.maps.replace(str(path), pieces)
    # What is set already may lie there.
    configure(engine)
    return Reply()


REQUESTS = {"setPydevdSourceMap": OnClient(_set_source_map)}
