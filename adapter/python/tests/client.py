"""A small DAP client for tests. It waits for what must come, with a deadline, and never sleeps."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).resolve().parent / "programs"
SECONDS_MAX = float(os.environ.get("MANTA_TEST_SECONDS", "20"))

sys.path.insert(0, str(ROOT))

from manta_debug.framing import read_message, write_message  # noqa: E402

Message = dict[str, Any]

_numbers = itertools.count(1)


def line_of(program: str, marker: str) -> int:
    """The line of a program that ends with `# marker`."""
    for number, text in enumerate((PROGRAMS / program).read_text().splitlines(), 1):
        if text.rstrip().endswith(f"# {marker}"):
            return number
    raise AssertionError(f"{program} has no line marked '{marker}'")


class Refused(Exception):
    """The engine answered `success: false`."""


class Client:
    """One conversation with an engine, however it is reached."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._sequence = 0
        self._number = next(_numbers)
        self._responses: dict[int, queue.SimpleQueue[Message]] = {}
        self._events: list[Message] = []
        self._asked: list[Message] = []
        self._arrived = threading.Condition()
        self.all: list[Message] = []

    def receive(self, message: Message) -> None:
        """To be called with each message of the engine."""
        self.all.append(message)
        self._log("out", message)
        if message["type"] == "response":
            self._responses[message["request_seq"]].put(message)
            return
        with self._arrived:
            (self._asked if message["type"] == "request" else self._events).append(message)
            self._arrived.notify_all()

    def number_from(self, first: int) -> None:
        """The next request has this number."""
        self._sequence = first - 1

    def start(self, command: str, arguments: Message | None = None) -> int:
        """Sends a request and does not wait."""
        self._sequence += 1
        self._responses[self._sequence] = queue.SimpleQueue()
        message: Message = {"seq": self._sequence, "type": "request", "command": command}
        if arguments is not None:
            message["arguments"] = arguments
        self._log("in", message)
        self._send(message)
        return self._sequence

    def _log(self, direction: str, message: Message) -> None:
        """Writes the conversation where `MANTA_DAP_LOG_DIR` says, one message a line."""
        directory = os.environ.get("MANTA_DAP_LOG_DIR")
        if directory:
            with open(Path(directory) / f"{os.getpid()}-{self._number}.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"dir": direction, "msg": message}) + "\n")

    def finish(self, sequence: int) -> Message:
        """The body of the response to a request that was started."""
        response = self._responses[sequence].get(timeout=SECONDS_MAX)
        if not response["success"]:
            raise Refused(response["message"])
        body: Message = response.get("body", {})
        return body

    def request(self, command: str, **arguments: Any) -> Message:
        """Sends a request and answers the body of its response."""
        return self.finish(self.start(command, arguments))

    def event(self, name: str, matches: Callable[[Message], bool] = lambda body: True) -> Message:
        """The body of the next such event, which is taken out of the list."""

        def found() -> bool:
            return any(e["event"] == name and matches(e.get("body", {})) for e in self._events)

        with self._arrived:
            if not self._arrived.wait_for(found, SECONDS_MAX):
                raise AssertionError(f"no event '{name}' came; there were {self._events}")
            for at, event in enumerate(self._events):
                if event["event"] == name and matches(event.get("body", {})):
                    body: Message = self._events.pop(at).get("body", {})
                    return body
        raise AssertionError("unreachable")

    def reverse_request(self, command: str) -> Message:
        """The engine's next request, which is taken out of the list."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: bool(self._asked), SECONDS_MAX):
                raise AssertionError(f"the engine did not ask for '{command}'")
            asked = self._asked.pop(0)
        assert asked["command"] == command, asked
        return asked

    def has_event(self, name: str) -> bool:
        """Whether such an event has come and was not taken."""
        with self._arrived:
            return any(e["event"] == name for e in self._events)

    def set_lines(self, path: str | Path, *lines: int, **more: Any) -> list[Message]:
        """Sets plain breakpoints in a file; `more` goes to each."""
        asked = [{"line": line, **more} for line in lines]
        answer = self.request("setBreakpoints", source={"path": str(path)}, breakpoints=asked)
        breakpoints: list[Message] = answer["breakpoints"]
        return breakpoints

    def stack(self, thread_id: int) -> list[Message]:
        """All frames of a stopped thread."""
        frames: list[Message] = self.request("stackTrace", threadId=thread_id)["stackFrames"]
        return frames

    def locals(self, thread_id: int, depth: int = 0) -> dict[str, Message]:
        """The locals of a frame, by name."""
        frame = self.stack(thread_id)[depth]
        scope = self.request("scopes", frameId=frame["id"])["scopes"][0]
        return self.children(scope["variablesReference"])

    def children(self, reference: int, **more: Any) -> dict[str, Message]:
        """The variables below a reference, by name."""
        return {
            v["name"]: v for v in self.request("variables", variablesReference=reference, **more)["variables"]
        }

    def evaluate(self, thread_id: int, expression: str, context: str = "repl", depth: int = 0) -> Message:
        """The value of an expression in a frame."""
        frame = self.stack(thread_id)[depth]
        return self.request("evaluate", expression=expression, context=context, frameId=frame["id"])

    def stopped(self) -> Message:
        """The next stop, with its top frame as `top`."""
        body = self.event("stopped")
        body["top"] = self.request("stackTrace", threadId=body["threadId"], levels=1)["stackFrames"][0]
        return body

    def next_stop(self) -> Message | None:
        """The next stop as `stopped` gives it, or nothing when the program ends before."""
        with self._arrived:
            if not self._arrived.wait_for(
                lambda: any(e["event"] in ("stopped", "exited") for e in self._events), SECONDS_MAX
            ):
                raise AssertionError(f"neither a stop nor an end came; there were {self._events}")
        return self.stopped() if self.has_event("stopped") else None


class Program(Client):
    """A program under the stand-alone adapter, in a process of its own."""

    def __init__(self, script: str, *arguments: str, attach: Message | None = None) -> None:
        self.path = PROGRAMS / script
        self.started = False
        #: While it is not set, the client does not read.
        self.hold: threading.Event | None = None
        command = [sys.executable, "-m", "manta_debug", "--listen", "127.0.0.1:0", str(self.path), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None and self.process.stdout is not None
        match = re.search(r"listening on (\S+):(\d+)", self.process.stderr.readline())
        assert match is not None
        self.address = match[1], int(match[2])
        super().__init__(self._write)
        try:
            self.connect(attach)
        except Refused:
            self.close()
            raise

    def _write(self, message: Message) -> None:
        self.socket.sendall(write_message(message))

    def connect(self, attach: Message | None = None) -> None:
        """Becomes the program's client."""
        self.socket = socket.create_connection(self.address, timeout=SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(None)
        threading.Thread(target=self._read, daemon=True).start()
        self.capabilities = self.request("initialize", adapterID="manta", linesStartAt1=True)
        self.event("initialized")
        self.request("attach", **(attach or {}))

    def hang_up(self) -> None:
        """Is its client no more, without a goodbye."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def go(self) -> None:
        """The breakpoints are set: the program starts."""
        self.request("configurationDone")
        self.started = True

    def resume(self, thread_id: int) -> None:
        """Continues one thread."""
        assert self.request("continue", threadId=thread_id) == {"allThreadsContinued": False}

    def ended(self) -> int:
        """Waits for the program's end; answers its exit code."""
        code: int = self.event("exited")["exitCode"]
        self.event("terminated")
        self.socket.shutdown(socket.SHUT_RDWR)
        return code

    def close(self) -> None:
        """Ends the conversation, then the program if it still runs."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        if not self.started:
            self.process.kill()  # It would wait for another client.
        try:
            self.process.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.communicate()

    def _read(self) -> None:
        stream = self.socket.makefile("rb")
        with contextlib.suppress(OSError, ValueError):
            while (message := read_message(stream)) is not None:
                self.receive(message)
                if self.hold is not None:
                    self.hold.wait(SECONDS_MAX)


@contextlib.contextmanager
def debugged(script: str, *arguments: str, attach: Message | None = None) -> Iterator[Program]:
    """A program that waits for its breakpoints and `go()`; `attach` are the client's options."""
    program = Program(script, *arguments, attach=attach)
    try:
        yield program
    finally:
        program.close()
