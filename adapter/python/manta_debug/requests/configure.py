"""`mantaConfigure` and `mantaRelease`: the whole set of breakpoints, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Arguments, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine


def _configure(engine: Engine, arguments: Arguments) -> Reply:
    breakpoints = engine.core.configure(arguments)
    return Reply({"generation": int(arguments.get("generation", 0)), "breakpoints": breakpoints})


def _release(engine: Engine, arguments: Arguments) -> Reply:
    engine.core.release(str(arguments.get("sessionId", "")))
    return Reply()


REQUESTS = {"mantaConfigure": OnClient(_configure), "mantaRelease": OnClient(_release)}
