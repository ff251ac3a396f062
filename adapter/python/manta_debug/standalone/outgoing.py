"""What goes to a client: written at once while it reads, kept for it within a limit while it does not. No thread of the program waits."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from .. import limits, unpatched


class Outgoing:
    """The sending half of a connection."""

    def __init__(self, connection: socket.socket, tell_left_out: Callable[[int], None]) -> None:
        self._connection = connection
        self._tell_left_out = tell_left_out
        self._changed = unpatched.Condition()
        self._unsent = bytearray()
        self._left_out = 0
        self._is_closed = False
        self._flusher: unpatched.OwnThread | None = None

    def send(self, data: bytes, *, may_be_left_out: bool) -> None:
        """Sends a message. One that may be left out is, when the client is far behind; how many were, it is told later."""
        with self._changed:
            if self._is_closed:
                return
            if may_be_left_out and len(self._unsent) > limits.UNSENT_BYTES_MAX:
                self._left_out += 1
                return
            # Put in its place before it is written: a signal's handler that prints comes here again, on this very thread.
            is_first = not self._unsent
            self._unsent += data
            if is_first:
                del self._unsent[: self._write(bytes(self._unsent))]
            if self._unsent and not self._is_closed:
                if self._flusher is None:
                    self._flusher = unpatched.OwnThread("flusher", self._flush)
                    self._flusher.start()
                self._changed.notify_all()

    def wait_for_room(self) -> None:
        """Waits until the client has read most of what it was sent: one that asks without reading is not answered."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._unsent) <= limits.UNSENT_BYTES_MAX)

    def drain(self, seconds: float) -> None:
        """Waits so long at most until all is sent."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._unsent, seconds)

    def abandon(self) -> None:
        """In a forked child: gives its share of the connection up, which stays open in its parent."""
        self._connection.close()

    def close(self) -> None:
        """Nothing more is sent."""
        with self._changed:
            self._is_closed = True
            self._unsent.clear()
            self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _write(self, data: bytes) -> int:
        try:
            return self._connection.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            self._is_closed = True  # The client is gone: the reader notices, and resumes everything.
            return 0

    def _flush(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or bool(self._unsent))
                if self._is_closed:
                    return
                piece = bytes(self._unsent[: limits.SEND_BYTES_MAX])
            try:
                sent = self._connection.send(piece)
            except OSError:
                self.close()
                return
            with self._changed:
                del self._unsent[:sent]
                left_out = self._left_out if not self._unsent else 0
                self._left_out -= left_out
                self._changed.notify_all()
            if left_out:
                self._tell_left_out(left_out)
