"""A program that the adapter has started: what it prints, how it ends, and that nothing of it stays behind."""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import BinaryIO

from .. import limits
from ..errors import RequestError

_OUTPUT_SECONDS_MAX = 2.0
_TERMINATION_SECONDS_MAX = 3.0


class Process:
    """The leader of a session of its own, so that it and what it starts can be ended together."""

    def __init__(
        self,
        command: list[str],
        folder: str | None,
        environment: Mapping[str, str],
        tell: Callable[[str, str], None],
    ) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise RequestError(f"The program could not be started by '{command[0]}': {error}.") from None
        self._tell = tell
        self._readers = []
        for stream, category in ((self._process.stdout, "stdout"), (self._process.stderr, "stderr")):
            assert stream is not None
            reader = threading.Thread(target=self._read, args=(stream, category), daemon=True)
            reader.start()
            self._readers.append(reader)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def wait(self) -> int:
        """Waits for its end; answers its exit code, as a shell counts it. What it printed has been told then."""
        code = self._process.wait()
        for reader in self._readers:
            # Something that it started may hold the pipe open for long.
            reader.join(_OUTPUT_SECONDS_MAX)
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Ends it and all that it has started, which may take a moment to do so in order."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_TERMINATION_SECONDS_MAX)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        # Its group keeps its number as long as a process of it lives; an empty one is no error.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self, stream: BinaryIO, category: str) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with stream:
            while data := os.read(stream.fileno(), limits.OUTPUT_CHARS_MAX):
                text = decoder.decode(data)
                if text:
                    self._tell(category, text)
        rest = decoder.decode(b"", True)
        if rest:
            self._tell(category, rest)
