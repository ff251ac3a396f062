"""What tasks print: caught line by line in the worker, written under the task's name by the driver."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any, TextIO

from manta import _actor_host, _manta

LINES_AT_ONCE_MAX = 1000
# How long the end of a program waits for a terminal or pipe that takes no more text.
JOIN_SECONDS_MAX = 10.0


class Printer(threading.Thread):
    """Writes what this job's tasks print to this process's stdout and stderr, in the order in which it came."""

    def __init__(self) -> None:
        super().__init__(name="manta-output", daemon=True)

    def run(self) -> None:
        """Runs until the connection has ended and everything was written."""
        while (lines := _manta.next_output(LINES_AT_ONCE_MAX)) is not None:
            for to_stderr in _runs(lines):
                _write(sys.stderr if to_stderr[0] else sys.stdout, to_stderr[1])

    def join(self, timeout: float | None = JOIN_SECONDS_MAX) -> None:
        """Waits until everything was written."""
        super().join(timeout)


def _runs(lines: list[tuple[bool, str, int, str]]) -> list[tuple[bool, str]]:
    """Joins neighbouring lines for the same stream into one text, each line with its task's name before it."""
    runs: list[tuple[bool, list[str]]] = []
    for to_stderr, name, pid, text in lines:
        if not runs or runs[-1][0] != to_stderr:
            runs.append((to_stderr, []))
        # What a node or the head says has no worker.
        of = [name] if name else []
        of += [f"pid={pid}"] if pid else []
        prefix = f"({' '.join(of)}) " if of else ""
        runs[-1][1].extend(f"{prefix}{line}\n" for line in text.removesuffix("\n").split("\n"))
    return [(to_stderr, "".join(parts)) for to_stderr, parts in runs]


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        # The program closed its stream, or nobody reads the pipe: there is no place left to say so.
        return
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


class TaskStream(io.TextIOBase):
    """A worker's stdout or stderr: lines printed while a task runs carry its name, and all others go to the worker's own pipe."""

    def __init__(self, pipe: TextIO, is_stderr: bool) -> None:
        super().__init__()
        self._pipe = pipe
        self._is_stderr = is_stderr
        self._lock = threading.RLock()
        self._partial = ""
        # Whether the line that is being printed was so long that its beginning has been sent.
        self._begun = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The pipe's encoding."""
        return self._pipe.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the pipe treats what its encoding lacks."""
        return self._pipe.errors

    @property
    def buffer(self) -> Any:
        """The pipe's binary layer: what is written there goes to the pipe, without a task's name."""
        return self._pipe.buffer

    def fileno(self) -> int:
        """The pipe's, so that child processes can write to it."""
        return self._pipe.fileno()

    def isatty(self) -> bool:
        """Never: it is a pipe."""
        return False

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Sends the whole lines, and keeps the rest until its line ends or its task does."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            if self._begun and text:
                self._begun = False
                if text[0] == "\n":
                    return 1 + self.write(text[1:])
            lines, newline, rest = (self._partial + text).rpartition("\n")
            if newline:
                self._send(lines)
            self._partial = rest
            if len(rest) > _manta.OUTPUT_LINE_BYTES_MAX:
                self.end_line()
                self._begun = True
        return len(text)

    def flush(self) -> None:
        """Flushes the pipe; a line that has not ended yet waits for its end."""
        self._pipe.flush()

    def end_line(self) -> None:
        """Sends what waits for its line's end; called when a task ends."""
        with self._lock:
            self._begun = False
            if self._partial:
                partial, self._partial = self._partial, ""
                self._send(partial)

    def _send(self, lines: str) -> None:
        call, name = _actor_host.running.get(), _actor_host.shown_name()
        if not _manta.send_output(self._is_stderr, lines, call, name):
            self._pipe.write(lines + "\n")
            self._pipe.flush()


def catch() -> tuple[TaskStream, TaskStream]:
    """Puts the two streams in the place of this worker's stdout and stderr."""
    streams = TaskStream(sys.stdout, is_stderr=False), TaskStream(sys.stderr, is_stderr=True)
    sys.stdout, sys.stderr = streams
    return streams
