"""A program that listens on a TCP port for its clients, one at a time."""

from __future__ import annotations

import contextlib
import functools
import socket
import sys

from .. import limits, unpatched
from ..errors import text_of
from ..framing import FramingError, read_message, write_message
from . import children
from .family import Family
from .host import StandaloneHost
from .server import Server

# How long a client waits for another that may be leaving, and for what it says first.
_TURN_SECONDS_MAX = 2.0


class ListeningServer(Server):
    """The listening socket, and the client at its other end."""

    def __init__(self, name: str, port: int, host: StandaloneHost) -> None:
        super().__init__(host)
        self._listener = unpatched.create_server(name, port)
        self._turn = unpatched.Lock()
        self._waiting = unpatched.Semaphore(limits.CLIENTS_WAITING_MAX)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        host.family = Family()
        children.watch(self)
        unpatched.OwnThread("server", self._accept).start()

    def children_join(self) -> str | None:
        """At this process, while it has a client that wants them."""
        return self.host.family.place if self.engine is not None and self.host.family is not None else None

    def abandon(self) -> None:
        """In a forked child: the port is its parent's too."""
        self._listener.close()
        super().abandon()

    def _accept(self) -> None:
        while True:
            try:
                connection = unpatched.accept(self._listener)
            except OSError as error:
                # One that is gone already, or too many files for a moment.
                print(f"manta_debug: a client could not be taken: {error}", file=sys.__stderr__)
                continue
            if not self._waiting.acquire(0):
                connection.close()
                continue
            try:
                unpatched.OwnThread("client", functools.partial(self._arrive, connection)).start()
            except RuntimeError:  # The interpreter is ending.
                connection.close()
                return

    def _arrive(self, connection: socket.socket) -> None:
        with connection:
            has_turn = self._turn.acquire(True, _TURN_SECONDS_MAX)
            self._waiting.release()
            try:
                if has_turn:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.serve(connection)
                else:
                    _turn_away(connection)
            except Exception as error:
                print(
                    f"manta_debug: the client's connection was closed: {text_of(error)}", file=sys.__stderr__
                )
            finally:
                if has_turn:
                    self._turn.release()


def _turn_away(connection: socket.socket) -> None:
    """Says to a client why it cannot be served: another one debugs this process."""
    connection.settimeout(_TURN_SECONDS_MAX)
    # One that leaves meanwhile, or is no client at all, needs no answer.
    with contextlib.suppress(OSError, FramingError), connection.makefile("rb") as stream:
        message = read_message(stream)
        if message is None:
            return
        text = "Another client debugs this process; only one can at a time. Try again when it has left."
        answer = {
            "seq": 1,
            "type": "response",
            "request_seq": message.get("seq", 0),
            "success": False,
            "command": str(message.get("command")),
            "message": text,
            "body": {"error": {"id": 2, "format": "{text}", "variables": {"text": text}, "showUser": True}},
        }
        connection.sendall(write_message(answer))
