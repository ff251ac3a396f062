"""The worker's side of a debug session: loads the Python engine with the first message for it, and says which thread runs the task."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from manta import _manta

_engine: Any = None


def install() -> None:
    """Lets `breakpoint()` pass in a worker, which has no terminal; the engine takes its place while a session is there."""
    sys.breakpointhook = _pass_breakpoint


def _pass_breakpoint(*_args: object, **_kwargs: object) -> None:
    caller = sys._getframe(1)
    place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
    print(f"breakpoint() at {place} was passed: no debug session is attached", file=sys.stderr)


def serve() -> None:
    """Serves the engine on this thread until the process ends."""
    global _engine
    try:
        import manta_debug
        import manta_debug.cluster
    except Exception as error:
        _refuse(
            f"the Python debug engine 'manta_debug' cannot be loaded in this worker: {type(error).__name__}: {error}"
        )
        return
    _engine = manta_debug
    manta_debug.cluster.serve(_manta.debug_receive, _manta.debug_send, _current_task)


def on_task_start() -> None:
    """Called before each task: on Python 3.11 tracing begins on a thread only from within it."""
    if _engine is not None and sys.version_info < (3, 12):
        _engine.on_task_start()


def _current_task(thread_ident: int) -> dict[str, Any] | None:
    """The task that a thread runs: a Python worker runs them on its main thread, an actor its calls on several or on its event loop."""
    from manta import _actor_host

    call = _actor_host.task_of_thread(thread_ident)
    if call is None and thread_ident != threading.main_thread().ident:
        return None
    task = call.identity if call is not None else _manta.current_task()
    if task is None:
        return None
    task_id, attempt, name, job_id = task
    return {"taskId": task_id, "attempt": attempt, "name": name, "jobId": job_id}


def _refuse(sentence: str) -> None:
    """Answers every request with the reason why there is no engine, so that nobody waits for one."""
    seq = 0
    while (message := _manta.debug_receive()) is not None:
        request = json.loads(message)
        if request.get("type") == "request":
            seq += 1
            answer = {
                "seq": seq,
                "type": "response",
                "request_seq": request["seq"],
                "command": request["command"],
                "success": False,
                "message": sentence,
                "body": {"error": {"id": 1, "format": sentence}},
            }
            _manta.debug_send(json.dumps(answer).encode(), False, True)
