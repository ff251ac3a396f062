"""Passes what the program prints on to the client as well."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from .. import limits


class Tee:
    """A text stream that also tells a client what is written to it."""

    def __init__(self, stream: TextIO, category: str, tell: Callable[[str, str], None]) -> None:
        self._stream = stream
        self._category = category
        self._tell = tell

    def write(self, text: str) -> int:
        """Writes to the stream, then tells the client, in pieces below the limit."""
        written = self._stream.write(text)
        for at in range(0, len(text), limits.OUTPUT_CHARS_MAX):
            self._tell(self._category, text[at : at + limits.OUTPUT_CHARS_MAX])
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def redirect(tell: Callable[[str, str], None]) -> None:
    """Puts a `Tee` around the program's two output streams."""
    sys.stdout = Tee(sys.stdout, "stdout", tell)  # type: ignore[assignment]
    sys.stderr = Tee(sys.stderr, "stderr", tell)  # type: ignore[assignment]


def restore() -> None:
    """Takes the streams back, if they are still ours."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, Tee):
            setattr(sys, name, stream._stream)
