"""Manta's debug engine for Python: makes the process that loads it a debug target.

Only the standard library is used, nothing of the task runtime is imported, and nothing of the program is touched until a
client asks for something to stop at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import Engine

__version__ = "0.1.0"

_engine: Engine | None = None


def on_task_start() -> None:
    """To be called by a worker's thread before each task: on Python 3.11 a thread must trace itself."""
    if _engine is not None:
        _engine.on_task_start()


def _register(engine: Engine) -> None:
    global _engine
    _engine = engine
