"""A debug session of a cluster, for tests: `manta dap` and a small client, which waits for what must come and never sleeps."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import textwrap
import threading
from pathlib import Path
from typing import Any

from conftest import REPOSITORY, LocalCluster

_CLIENT = REPOSITORY / "adapter" / "python" / "tests" / "client.py"
_spec = importlib.util.spec_from_file_location("manta_test_dap_client", _CLIENT)
assert _spec is not None and _spec.loader is not None
dap_client: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dap_client)

Body = dict[str, Any]


class Source:
    """A program's text, each of its marked lines, and the file that it lies in."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        path.write_text(textwrap.dedent(text))

    def line(self, mark: str) -> int:
        """The line that ends with the comment `mark`."""
        for number, text in enumerate(self.path.read_text().splitlines(), 1):
            if text.rstrip().endswith(f"# {mark}"):
                return number
        raise AssertionError(f"no line is marked '{mark}'")


class Session(dap_client.Client):  # type: ignore[misc]
    """An adapter and the client attached through it."""

    def __init__(self, cluster: LocalCluster) -> None:
        command = [os.environ["MANTA_BIN"], "dap", "--listen", "127.0.0.1:0"]
        self._adapter = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._adapter.stdout is not None
        match = None
        while match is None:
            line = self._adapter.stdout.readline()
            assert line, "manta dap did not say where it listens"
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
        self._socket = socket.create_connection(("127.0.0.1", int(match[1])))
        super().__init__(lambda message: self._socket.sendall(dap_client.write_message(message)))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.request("initialize", adapterID="test", linesStartAt1=True, columnsStartAt1=True)
        self._attach = self.start("attach", {"address": cluster.address, "token": cluster.token})
        self.event("initialized")

    def break_at(self, source: Source, *marks: str, **more: Any) -> list[Body]:
        """Sets breakpoints at marked lines; each is verified."""
        states: list[Body] = self.set_lines(source.path, *(source.line(mark) for mark in marks), **more)
        assert all(state["verified"] for state in states), states
        return states

    def go(self) -> None:
        """The breakpoints are set."""
        self.request("configurationDone")
        self.finish(self._attach)

    def paused(self, count: int) -> list[Body]:
        """Waits until so many tasks are paused; their threads."""
        while True:
            threads: list[Body] = self.request("threads")["threads"]
            if len(threads) >= count:
                assert len(threads) == count, threads
                return threads
            self.event("stopped")

    def top(self, thread: Body) -> Body:
        """The innermost frame of a paused task."""
        frame: Body = self.stack(thread["id"])[0]
        return frame

    def step(self, command: str, thread: Body) -> Body:
        """Steps, and gives the frame where the task stops then."""
        self.request(command, threadId=thread["id"])
        self.event("stopped", lambda body: body["threadId"] == thread["id"] and body["reason"] == "step")
        return self.top(thread)

    def value(self, thread: Body, name: str, depth: int = 0) -> str:
        """A local variable, as it is shown."""
        text: str = self.locals(thread["id"], depth)[name]["value"]
        return text

    def resume(self, thread: Body) -> None:
        """Continues one task."""
        assert self.request("continue", threadId=thread["id"]) == {"allThreadsContinued": False}

    def close(self) -> None:
        """Leaves, and ends the adapter."""
        self.request("disconnect")
        self._socket.close()
        self._adapter.kill()
        self._adapter.communicate()

    def _read(self) -> None:
        stream = self._socket.makefile("rb")
        try:
            while (message := dap_client.read_message(stream)) is not None:
                self.receive(message)
        except (OSError, ValueError):
            return  # The test is over.
