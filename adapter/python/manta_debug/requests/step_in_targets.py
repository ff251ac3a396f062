"""`stepInTargets`: the calls of the line where a thread stands, to step into one of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from ..targets import call_targets
from .base import Arguments, Body, OnStop, of_frame

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop

_ids = itertools.count(1)


def _step_in_targets(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    frame = stop.frame(int(arguments["frameId"]))
    if frame is not stop.stack[0].frame or stop.exception is not None:
        return {
            "targets": []
        }  # Only the innermost frame has calls before it, and one that an exception leaves has none.
    targets = []
    for target in call_targets(frame):
        number = next(_ids)
        stop.call_targets[number] = target
        shift = 0 if engine.lines_start_at_1 else 1
        column = 1 if engine.columns_start_at_1 else 0
        line, end_line, start, end = target.place
        targets.append(
            {
                "id": number,
                "label": target.label,
                "line": line - shift,
                "column": start + column,
                "endLine": end_line - shift,
                "endColumn": end + column,
            }
        )
    return {"targets": targets}


REQUESTS = {"stepInTargets": OnStop(of_frame, _step_in_targets)}
