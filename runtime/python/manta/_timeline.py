"""What ran where and when, as a trace for https://ui.perfetto.dev."""

from __future__ import annotations

import json
import os
from typing import Any

from manta import _manta, _session


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """The trace: written to a file, or as a list of events without one."""
    _session.check_initialized()
    events: list[dict[str, Any]] = []
    rows, page = _manta.current_head(), ""
    while True:
        found, _, page, _ = rows.list_state("tasks", [], 0, page)
        events.extend(event for row in found if (event := _event(json.loads(row))) is not None)
        if not page:
            break
    if filename is None:
        return events
    with open(os.fspath(filename), "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None


def _event(row: dict[str, Any]) -> dict[str, Any] | None:
    if not row["started_unix_us"] or not row["ended_unix_us"]:
        return None
    return {
        "cat": f"task::{row['name']}",
        "name": row["name"],
        "ph": "X",
        "pid": row["node_name"],
        "tid": f"worker:{row['worker_pid']}",
        "ts": row["started_unix_us"],
        "dur": max(row["ended_unix_us"] - row["started_unix_us"], 0),
        "args": {
            "task_id": row["task_id"],
            "attempt": row["attempt"],
            "state": row["state"],
            "error": row["error"],
        },
    }
