"""Where the threads of this process are. Nothing is stopped: the frames are looked at while their threads wait for the interpreter."""

from __future__ import annotations

import json
import sys
import threading
import traceback
from typing import Any

from manta import _actor_host, _manta

FRAMES_MAX = 200
THREADS_MAX = 1000


def dump() -> str:
    """All threads but the caller's, as JSON: the innermost frame first."""
    own = threading.get_ident()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    found = []
    for ident, frame in list(sys._current_frames().items())[:THREADS_MAX]:
        if ident != own:
            found.append(
                {
                    "id": ident,
                    "name": names.get(ident, ""),
                    "task": _task(ident, ident == main),
                    "frames": [_frame(*place) for place in _walk(frame)],
                }
            )
    return json.dumps(found)


def _walk(frame: Any) -> list[tuple[Any, int | None]]:
    places: list[tuple[Any, int | None]] = []
    for place in traceback.walk_stack(frame):
        places.append(place)
        if len(places) == FRAMES_MAX:
            break
    return places


def _frame(frame: Any, line: int | None) -> dict[str, Any]:
    code = frame.f_code
    return {"function": code.co_qualname, "file": code.co_filename, "line": line}


def _task(ident: int, is_main: bool) -> str | None:
    if (call := _actor_host.task_of_thread(ident)) is not None:
        return call.name
    current = _manta.current_task() if is_main else None
    return current[2] if current is not None else None
