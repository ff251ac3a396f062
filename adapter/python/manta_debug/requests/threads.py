"""`threads`: the Python threads of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Arguments, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine


def _threads(engine: Engine, arguments: Arguments) -> Reply:
    listed = []
    for thread in engine.core.threads.alive():
        entry: dict[str, Any] = {"id": thread.thread_id, "name": engine.host.thread_name(thread.name)}
        if engine.core.cluster:
            task = engine.core.task_of(thread)
            if task is not None:
                entry["task"] = task
        listed.append(entry)
    return Reply({"threads": listed + engine.host.more_threads()})


REQUESTS = {"threads": OnClient(_threads)}
