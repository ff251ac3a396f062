"""The processes that a debugged one starts: each joins the same session, whether it is forked or begins with an interpreter of its own."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from . import spawning

if TYPE_CHECKING:
    from .server import Server

# What is registered with the interpreter stays for good, so it is registered once, and looks here.
_server: Server | None = None
#: Where forked processes join, if this process has no server and only forks others.
_forked_join: str | None = None
_place: str | None = None
_is_registered = False


def watch(server: Server) -> None:
    """Has the processes that this one starts from now on join as the server says."""
    global _server
    _server = server
    _register()


def watch_forks_only(where: str) -> None:
    """This process serves others by forking, and is none of the program's: only what it forks joins."""
    global _forked_join
    _forked_join = where
    _register()


def server() -> Server | None:
    """This process's side of its debug session, if it has one."""
    return _server


def place() -> str | None:
    """Where a process that is started now is to join; nothing if it is to run by itself."""
    return _server.children_join() if _server is not None else None


def _register() -> None:
    global _is_registered
    if _is_registered:
        return
    _is_registered = True
    spawning.install(place)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_child=_in_forked_child)


def _before_fork() -> None:
    # Asked for on this side, as the new process has no client to ask for it.
    global _place
    _place = place() or _forked_join


def _in_forked_child() -> None:
    global _server, _forked_join
    parents, _server, _forked_join = _server, None, None
    if parents is not None:
        parents.abandon()
    if _place is None:
        return
    from .joining import join_as_child

    join_as_child(_place, sys.argv[0] if sys.argv else "python")
