"""`gotoTargets` and `goto`: the line at which a stopped thread goes on, without running what lies between."""

from __future__ import annotations

import itertools
from types import CodeType
from typing import TYPE_CHECKING

from .. import limits, templates
from ..codes import traceable_lines
from ..errors import RequestError
from ..jump import jump
from ..stops import Resume
from ..table import Breakpoint, Table
from .base import Arguments, GotoTarget, OnClient, OnStop, Reply, of_thread

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop

_ids = itertools.count(1)


def _goto_targets(engine: Engine, arguments: Arguments) -> Reply:
    source = arguments["source"]
    shift = 0 if engine.lines_start_at_1 else 1
    line = int(arguments["line"]) + shift
    wanted = Table()
    paths = arguments.get("paths") or engine.paths.here(str(source.get("path") or ""))
    wanted.add(Breakpoint.of_paths([str(p) for p in paths if p]))
    with engine.core.lock:
        tops = [stop.stack[0].frame.f_code for stop in engine.core.stops.values() if stop.stack]
    names = {c.co_filename for c in tops if wanted.in_file(c.co_filename) and _line_of_code(c, line)}
    targets = []
    for name in sorted(names):
        number = next(_ids)
        if len(engine.goto_targets) >= limits.GOTO_TARGETS_MAX:
            engine.goto_targets.clear()
        engine.goto_targets[number] = GotoTarget(name, line)
        targets.append({"id": number, "label": f"line {line}", "line": line - shift})
    if not targets and engine.host.can_go_to(arguments, engine.paths.here(str(source.get("path") or ""))):
        number = next(_ids)
        engine.goto_targets[number] = GotoTarget(engine.paths.here(str(source["path"]))[0], line)
        targets.append({"id": number, "label": f"line {line}", "line": line - shift})
    return Reply({"targets": targets})


def _goto(engine: Engine, stop: Stop, arguments: Arguments) -> Reply:
    target = engine.goto_targets.get(int(arguments["targetId"]))
    if target is None:
        raise RequestError("This line is no longer known as a target; ask for the targets again.")
    frame = stop.stack[0].frame
    line = _line_of_code(frame.f_code, target.line)
    if frame.f_code.co_filename != target.filename or line is None:
        raise RequestError(
            f"Line {target.line} is not in {frame.f_code.co_qualname}, where the thread stands."
        )
    jump(stop, frame, line)
    return Reply(then=lambda: stop.inbox.put(Resume("goto")))


def _line_of_code(code: CodeType, line: int) -> int | None:
    """The line to go on at in the code for a line that the client sees; nothing where there is none."""
    template = templates.lines_of(code)
    if template is not None:
        return min(template.places(line), default=None)
    return line if line in traceable_lines(code) else None


REQUESTS = {"gotoTargets": OnClient(_goto_targets), "goto": OnStop(of_thread, _goto)}
