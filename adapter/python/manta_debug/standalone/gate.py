"""Where processes join a session: a port of the loopback interface that is open to whoever knows the token."""

from __future__ import annotations

import contextlib
import functools
import hmac
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from .. import unpatched
from ..framing import FramingError, read_message, write_message

#: The variable that tells a process of the place where it is to join.
VARIABLE = "MANTA_DEBUG_JOIN"

_HOST = "127.0.0.1"
_HELLO = "mantaJoin"
_HELLO_SECONDS_MAX = 5.0
_TOKEN_BYTES = 16

Joined = Callable[[socket.socket, BinaryIO, dict[str, Any]], None]


class Gate:
    """A listener. `joined` is called on a thread of its own for each process, with its connection and what it said of itself.

    At an `address` that a user has chosen it is open to whoever comes, as nothing could tell a program the token.
    """

    def __init__(self, joined: Joined, address: tuple[str, int] | None = None) -> None:
        self._joined = joined
        self._token = os.urandom(_TOKEN_BYTES).hex() if address is None else ""
        self._listener = unpatched.create_server(*(address or (_HOST, 0)))
        self._is_closed = False
        self.place = f"{_HOST}:{self._listener.getsockname()[1]}:{self._token}"
        unpatched.OwnThread("gate", self._accept).start()

    def close(self) -> None:
        """Nobody joins any more."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def abandon(self) -> None:
        """In a forked child: gives its share of the listener up."""
        self._listener.close()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection = unpatched.accept(self._listener)
                unpatched.OwnThread("joined", functools.partial(self._arrive, connection)).start()
            except OSError as error:
                if not self._is_closed:
                    print(f"manta_debug: a process could not join: {error}", file=sys.__stderr__)
            except RuntimeError:  # The interpreter is ending.
                return

    def _arrive(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            hello = self._hello(connection, stream)
            if hello is not None:
                self._joined(connection, stream, hello)

    def _hello(self, connection: socket.socket, stream: BinaryIO) -> dict[str, Any] | None:
        """What a process says of itself; nothing for one that is none of ours, of which nobody need be told."""
        try:
            connection.settimeout(_HELLO_SECONDS_MAX)
            message = read_message(stream) or {}
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, FramingError):
            return None
        body = message.get("body")
        if message.get("event") != _HELLO or not isinstance(body, dict):
            return None
        is_ours = hmac.compare_digest(str(body.get("token")).encode(), self._token.encode())
        return body if is_ours else None


def join(place: str) -> socket.socket:
    """Goes to a place, and says who comes. Raises `OSError` where nobody waits there."""
    host, port, token = place.rsplit(":", 2)
    connection: socket.socket = unpatched.create_connection(host, int(port), _HELLO_SECONDS_MAX)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    hello = {"seq": 1, "type": "event", "event": _HELLO, "body": {"token": token, "processId": os.getpid()}}
    connection.sendall(write_message(hello))
    return connection
