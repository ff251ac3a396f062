"""A process that a debugged program has started with an interpreter of its own, before its program runs."""

from __future__ import annotations

import atexit
import sys

from . import children
from .joining import join_as_child

_TRACKER = "multiprocessing.resource_tracker"
_FORK_SERVER = "multiprocessing.forkserver"


def begin(place: str) -> None:
    """Joins the session, unless the process only serves the program's others."""
    words = sys.orig_argv
    command = words[words.index("-c") + 1] if "-c" in words[:-1] else ""
    if _TRACKER in command:
        return
    if _FORK_SERVER in command:
        children.watch_forks_only(place)
        return
    server = join_as_child(place, _name(words))
    if server is not None:
        atexit.register(server.program_ended)


def _name(words: list[str]) -> str:
    return next((word for word in words[1:] if not word.startswith("-")), words[0] if words else "python")
