"""Forked children, as those of `multiprocessing`: each asks its parent's client for a session of its own, by `startDebugging`."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

from ..framing import write_message

if TYPE_CHECKING:
    from ..engine import Engine
    from .server import Server

_HOST = "127.0.0.1"
_DISMISSAL_SECONDS_MAX = 2.0


class Children:
    """What happens around each fork of a process that a server serves."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._forking = threading.local()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
            )

    def _before(self) -> None:
        """Makes the child's listener here, so that the client can be told of it."""
        engine = self._server.engine
        self._forking.listener = self._forking.engine = None
        if engine is not None and engine.starts_sessions and self._server.adapter.debugs_children:
            with contextlib.suppress(OSError):
                self._forking.listener = socket.create_server((_HOST, 0))
                self._forking.engine = engine

    def _in_parent(self) -> None:
        listener: socket.socket | None = self._forking.listener
        if listener is None:
            return
        port = listener.getsockname()[1]
        listener.close()
        engine: Engine = self._forking.engine
        configuration = {
            **self._server.adapter.attach_arguments,
            "name": f"{self._server.adapter.name}, a child of process {os.getpid()}",
            "connect": {"host": _HOST, "port": port},
        }
        arguments = {"request": "attach", "configuration": configuration}
        engine.ask("startDebugging", arguments, lambda response: _dismiss_refused(response, port))

    def _in_child(self) -> None:
        listener: socket.socket | None = self._forking.listener
        self._forking.listener = self._forking.engine = None
        self._server.in_child(listener)


def _dismiss_refused(response: dict[str, Any], port: int) -> None:
    """The client wants no session for this child, which waits for one: tells it to run on."""
    if response.get("success"):
        return
    with (
        contextlib.suppress(OSError),
        socket.create_connection((_HOST, port), _DISMISSAL_SECONDS_MAX) as child,
    ):
        child.sendall(write_message({"seq": 1, "type": "request", "command": "disconnect"}))
        child.recv(1)
