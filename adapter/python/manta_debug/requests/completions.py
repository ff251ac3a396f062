"""`completions`: names that fit what is typed in the debug console, found without running code of the program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import limits
from ..complete import Completion, complete
from ..evaluate import MainScope, Scope
from .base import Arguments, Body, OnStop, Reply, extra_names, of_frame

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def _completions(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    return _complete(engine, stop.scope(int(arguments["frameId"])), extra_names(stop), arguments)


def _completions_in_main(engine: Engine, arguments: Arguments) -> Reply:
    scope = MainScope.find() if not engine.core.cluster else None
    return Reply(_complete(engine, scope or MainScope({}), None, arguments))


def _complete(engine: Engine, scope: Scope, extra: Body | None, arguments: Arguments) -> Body:
    base = 1 if engine.columns_start_at_1 else 0
    lines = str(arguments["text"]).split("\n")
    line = lines[min(max(int(arguments.get("line") or base) - base, 0), len(lines) - 1)]
    # Columns count UTF-16 code units.
    units = line.encode("utf-16-le", "surrogatepass")[: max(0, int(arguments["column"]) - base) * 2]
    typed = units.decode("utf-16-le", "ignore")
    prefix, found = complete(scope, typed, extra or {})
    start = _units(typed) - _units(prefix) + base
    targets = [_item(each, start, _units(prefix)) for each in found[: limits.COMPLETIONS_MAX]]
    return {"targets": targets}


def _item(found: Completion, start: int, length: int) -> Body:
    item: Body = {
        "label": found.name,
        "type": found.kind,
        "start": start,
        "length": length,
        "sortText": found.order,
    }
    if found.detail:
        item["detail"] = found.detail
    return item


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


REQUESTS = {"completions": OnStop(of_frame, _completions, _completions_in_main)}
