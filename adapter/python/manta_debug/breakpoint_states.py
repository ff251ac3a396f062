"""What a client is told of a breakpoint: where it is in force, or why it is not."""

from __future__ import annotations

import os
from typing import Any

from . import hashes, locate
from .table import Breakpoint, Table

Body = dict[str, Any]


def describe_breakpoint(table: Table, breakpoint: Breakpoint, note: str = "", *, cluster: bool) -> Body:
    """The answer for one breakpoint, with a sentence where it is not in force. `note` goes to one that is."""
    message, failed = "", False
    if breakpoint.error is None and breakpoint.bound_line is None:
        line = None if cluster else _line_to_come(table, breakpoint)
        if line is not None:
            return {"id": breakpoint.id, "verified": True, "line": line}
        message, failed = _why_unbound(table, breakpoint, cluster=cluster)
    answer = _state(breakpoint, message, failed)
    notes = [n for n in (_changed_source(breakpoint), note) if n]
    if notes and answer["verified"]:
        answer["message"] = " ".join(notes)
    other = breakpoint.name_here() if cluster and answer["verified"] else None
    if other is not None:
        answer["source"] = {"name": os.path.basename(other), "path": other}
    return answer


def describe_unwatched(wanted: Body) -> Body:
    """The answer for a data breakpoint, which belongs to some other process."""
    message = "A variable of Python cannot be watched: set a breakpoint with a condition instead."
    return {"id": int(wanted["id"]), "verified": False, "reason": "pending", "message": message}


def _state(breakpoint: Breakpoint, pending_message: str, failed: bool) -> Body:
    """A breakpoint's state as the target profile words it."""
    answer: Body = {"id": breakpoint.id, "verified": False}
    if breakpoint.error is not None:
        answer.update(reason="failed", message=breakpoint.error)
    elif breakpoint.bound_line is not None:
        answer.update(verified=True, line=breakpoint.bound_line)
    else:
        answer.update(reason="failed" if failed else "pending", message=pending_message)
    return answer


def _line_to_come(table: Table, breakpoint: Breakpoint) -> int | None:
    """Where a breakpoint will stop in a file that this process has not loaded, but can read."""
    if breakpoint.function is not None or locate.is_loaded(table, breakpoint):
        return None
    try:
        return locate.line_in_text(breakpoint)
    except ValueError:
        return None  # No text of the file can be read here, which is said below.


def _why_unbound(table: Table, breakpoint: Breakpoint, *, cluster: bool) -> tuple[str, bool]:
    if breakpoint.function is not None:
        return f"No function {breakpoint.function} is loaded yet.", False
    is_loaded = locate.is_loaded(table, breakpoint)
    try:
        line = locate.line_in_text(breakpoint) if is_loaded or not cluster else 0
    except ValueError:
        line = 0
    if line is None:
        return f"There is no code at or after line {breakpoint.requested_line} in this file.", True
    if not is_loaded:
        return "This file is not loaded yet; the breakpoint takes effect when it is.", False
    if line == 0:
        return "No code that is loaded has this line yet.", False
    return (
        f"Line {line} is not in any function that is loaded; it stops when that code is run again.",
        False,
    )


def _changed_source(breakpoint: Breakpoint) -> str:
    """What to say when this process has another text of the file than the client."""
    if breakpoint.sha256 is None or breakpoint.bound_file is None:
        return ""
    digest = hashes.of_file(breakpoint.bound_file)
    if digest is None or digest == breakpoint.sha256:
        return ""
    return (
        "This process has another version of the file than the editor, so the line may hold other code here."
    )
