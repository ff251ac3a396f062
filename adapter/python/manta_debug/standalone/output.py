"""Passes what the program prints on to the client as well."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, TextIO

from .. import limits, unpatched

Tell = Callable[[str, str], None]

_PIECES_MAX = 1_000


class Tee:
    """A text stream that also tells a client what is written to it, while there is one."""

    def __init__(self, stream: TextIO, category: str) -> None:
        self._stream = stream
        self._category = category
        self._lock = unpatched.RLock()
        self._unsent: list[str] = []
        self._process = os.getpid()
        self.tell_client: Tell | None = None
        buffer = getattr(stream, "buffer", None)
        if buffer is not None:
            self.buffer = _TeeBuffer(buffer, self)

    def write(self, text: str) -> int:
        """Writes to the stream, and tells the client at the end of a line."""
        written = self._stream.write(text)
        self.note(text)
        return written

    def note(self, text: str) -> None:
        """The text was written."""
        # At the interpreter's very end a thread of the engine's may be gone that held the lock.
        if self.tell_client is not None and not sys.is_finalizing():
            with self._lock:
                self._unsent.append(text)
                if "\n" in text or len(self._unsent) >= _PIECES_MAX:
                    self._send()

    def flush(self) -> None:
        """Flushes the stream, and tells the client what has no line end yet."""
        self._stream.flush()
        self.tell_rest()

    def tell_rest(self) -> None:
        """Tells the client what has no line end yet. The stream itself is left to the program: at the interpreter's end it would be an
        error if a thread of the engine's had been about to flush it."""
        if self.tell_client is not None and not sys.is_finalizing():
            with self._lock:
                self._send()

    def forget_client(self) -> None:
        """In a forked child: the client is the parent's, and the lock may be held by a thread that is not here."""
        if self._process == os.getpid():
            return  # It is done, and the child may have a client of its own since.
        self._process = os.getpid()
        self._lock = unpatched.RLock()
        self._unsent.clear()
        self.tell_client = None

    def _send(self) -> None:
        text = "".join(self._unsent)
        self._unsent.clear()
        tell = self.tell_client
        if tell is not None:
            for at in range(0, len(text), limits.OUTPUT_CHARS_MAX):
                tell(self._category, text[at : at + limits.OUTPUT_CHARS_MAX])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _TeeBuffer:
    """The bytes below a text stream, with the same ear."""

    def __init__(self, stream: BinaryIO, tee: Tee) -> None:
        self._stream = stream
        self._tee = tee

    def write(self, data: Any) -> int:
        """Writes to the stream."""
        written = self._stream.write(data)
        if self._tee.tell_client is not None:
            self._tee.note(bytes(data).decode(self._tee.encoding or "utf-8", "replace"))
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


# A tee stays for good once it is in place: `print` uses `sys.stdout` without owning it, so that taking the object away from
# under another thread's print would crash the interpreter.
_tees: list[Tee] = []


def redirect(tell: Tell) -> None:
    """Tells the client what the program writes to its two output streams from now on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Tee):
            stream = Tee(stream, name)
            _tees.append(stream)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=stream.forget_client)
            setattr(sys, name, stream)
        stream.tell_client = tell


def flush_at_line_ends() -> None:
    """Has what the program prints arrive line by line where somebody else reads it: a pipe would hold it back."""
    for name in ("stdout", "stderr"):
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)


def in_child() -> None:
    """This is a forked child, without its parent's client."""
    for tee in _tees:
        tee.forget_client()


def restore() -> None:
    """The client is gone."""
    for tee in _tees:
        tee.tell_rest()
        tee.tell_client = None
