"""One client and the program that it debugs: launches or finds the program, then passes on what the two say to each other."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from ..errors import RequestError, text_of
from ..framing import FramingError, read_message, write_message
from ..requests.lifecycle import CAPABILITIES
from ..standalone.gate import VARIABLE, Gate
from .configuration import Launch, connection, listening, process_id
from .process import Process

Message = dict[str, Any]

_JOIN_SECONDS_MAX = 30.0
_CONNECT_SECONDS_MAX = 5.0
_ANYWHERE = ("127.0.0.1", 0)
# How long a program may take to end when it is told to, before it is ended with all that it has started.
_END_SECONDS_MAX = 5.0
_NOTHING_YET = "No program is debugged yet: send `launch` or `attach` first."
_NO_ENGINE = "The program is not debugged: it runs without the engine, or has ended."


class Adapter:
    """The conversation with a client, from its first message to its last."""

    def __init__(self, reader: BinaryIO, write: Callable[[bytes], None]) -> None:
        self.is_over = False
        self._reader = reader
        self._write = write
        self._lock = threading.RLock()
        self._sequence = itertools.count(1)
        self._initialize: Message = {"type": "request", "command": "initialize", "seq": 0, "arguments": {}}
        #: The `launch` or `attach` as the engine gets it, which answers it.
        self._begun: Message | None = None
        self._engine: socket.socket | None = None
        self._process: Process | None = None
        self._gate: Gate | None = None
        self._is_launched = False
        self._is_left = False
        self._is_ending = False
        self._exit_code: int | None = None
        #: Set when the engine has come, or can come no more.
        self._is_decided = threading.Event()
        self._has_joined = False
        self._is_taken = False
        self._has_ended = threading.Event()
        #: What waits for an answer of the client's, by the number that it was asked with.
        self._asked: dict[int, Callable[[Message], None]] = {}
        #: Requests whose answers by the engine are not the client's to see.
        self._own: set[int] = set()

    def run(self) -> None:
        """Serves the client until it leaves."""
        try:
            while not self.is_over and (message := read_message(self._reader)) is not None:
                self._take(message)
        except (FramingError, OSError) as error:
            print(f"manta_debug: the client's connection was closed: {error}", file=sys.stderr)
        finally:
            self.close()

    def close(self) -> None:
        """The client is gone: a program that was launched for it ends, unless the client has left it to itself."""
        self.is_over = True
        process, engine = self._process, self._engine
        if engine is not None:
            with contextlib.suppress(OSError):
                engine.shutdown(socket.SHUT_RDWR)
        if self._gate is not None:
            self._gate.close()
        if process is None:
            return
        if self._is_left:
            process.wait()  # Who else would read what it prints?
        else:
            process.end()

    # ---------------------------------------------------------------- from the client

    def _take(self, message: Message) -> None:
        if message.get("type") == "response":
            then = self._asked.pop(int(message.get("request_seq") or 0), None)
            if then is not None:
                then(message)
            return
        if message.get("type") != "request":
            return
        arguments = message.get("arguments") or {}
        own = _REQUESTS.get(str(message.get("command")))
        try:
            if not isinstance(arguments, dict):
                raise RequestError("The request's arguments are not an object.")
            if own is not None:
                own(self, message, arguments)
            else:
                self._pass_on(message)
        except RequestError as error:
            self._refuse(message, str(error))
        except Exception as error:
            self._refuse(
                message, f"The request '{message.get('command')}' failed in the adapter: {text_of(error)}."
            )

    def _on_initialize(self, message: Message, arguments: Message) -> None:
        self._initialize = message
        self._answer(message, CAPABILITIES)

    def _on_launch(self, message: Message, arguments: Message) -> None:
        launch = Launch.of(arguments)
        self._begin({**message, "arguments": launch.engine_arguments(arguments)})
        self._is_launched = True
        environment = dict(launch.environment)
        if launch.is_debugged:
            self._gate = Gate(self._join)
            environment[VARIABLE] = self._gate.place
        try:
            if launch.shows_output:
                self._start(launch, environment)
            else:
                self._start_in_terminal(launch, environment)
        except RequestError:
            self._begun = None
            raise
        if launch.is_debugged:
            threading.Thread(target=self._await_joining, daemon=True).start()
            return
        self._answer(message)
        self._tell("process", {"name": launch.name, "isLocalProcess": True, "startMethod": "launch"})

    def _on_attach(self, message: Message, arguments: Message) -> None:
        process = process_id(arguments)
        if process is not None:
            from .. import injecting

            if self._begun is None:
                # A port that nobody else knows of, which stays for the next session.
                arguments = {
                    **arguments,
                    "connect": dict(zip(("host", "port"), injecting.listen(process, _ANYWHERE), strict=True)),
                }
        place = listening(arguments)
        if place is not None:
            self._await_program(message, place)
            return
        name, port = connection(arguments)
        self._begin(message)
        try:
            engine = socket.create_connection((name, port), _CONNECT_SECONDS_MAX)
        except OSError as error:
            self._begun = None
            raise RequestError(
                f"Nothing could be reached at {name}:{port} ({error.strerror or error}). Start the program with "
                f"`python -m manta.debug --listen {port} script.py`."
            ) from None
        engine.settimeout(None)
        engine.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._converse, args=(engine, engine.makefile("rb")), daemon=True).start()

    def _await_program(self, message: Message, place: tuple[str, int]) -> None:
        """Waits for a program that comes by itself, for as long as the client does."""
        self._begin(message)
        try:
            self._gate = Gate(self._join, place)
        except OSError as error:
            self._begun = None
            raise RequestError(
                f"No program can be awaited at {place[0]}:{place[1]} ({error.strerror or error}); choose another address."
            ) from None
        text = f"Waiting for a program: python -m manta.debug --connect {place[0]}:{place[1]} script.py\n"
        self._tell("output", {"category": "console", "output": text})

    def _on_configuration_done(self, message: Message, arguments: Message) -> None:
        if self._engine is None and self._begun is not None:
            self._answer(message)
        else:
            self._pass_on(message)

    def _on_threads(self, message: Message, arguments: Message) -> None:
        if self._engine is None and self._begun is not None:
            self._answer(message, {"threads": []})
        else:
            self._pass_on(message)

    def _on_terminate(self, message: Message, arguments: Message) -> None:
        self._is_ending = True
        if self._engine is not None:
            self._pass_on(message)
            return
        self._answer(message)
        if self._process is not None:
            threading.Thread(target=self._process.end, daemon=True).start()

    def _on_disconnect(self, message: Message, arguments: Message) -> None:
        terminate = arguments.get("terminateDebuggee")
        self._is_ending = self._is_launched if terminate is None else bool(terminate)
        self._is_left = not self._is_ending
        if self._engine is not None:
            self._own.add(int(message.get("seq") or 0))
            self._pass_on({**message, "arguments": {**arguments, "terminateDebuggee": self._is_ending}})
            # What the program does at its end may take a moment.
            self._has_ended.wait(_END_SECONDS_MAX)
        if self._process is not None and self._is_ending:
            self._process.end()
            self._has_ended.wait(_END_SECONDS_MAX)
        self._answer(message)
        self.is_over = True

    def _begin(self, message: Message) -> None:
        if self._begun is not None:
            raise RequestError("A program is debugged here already; open another session for another one.")
        self._begun = message

    def _pass_on(self, message: Message) -> None:
        engine = self._engine
        if engine is None:
            raise RequestError(_NOTHING_YET if self._begun is None else _NO_ENGINE)
        # The reader of the engine's messages notices when it is gone.
        with contextlib.suppress(OSError):
            engine.sendall(write_message(message))

    # ---------------------------------------------------------------- the program

    def _start(self, launch: Launch, environment: dict[str, str | None]) -> None:
        whole = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
        process = Process(
            launch.command(),
            launch.folder,
            whole,
            lambda category, text: self._tell("output", {"category": category, "output": text}),
        )
        self._process = process
        threading.Thread(target=self._await_end, args=(process,), daemon=True).start()

    def _start_in_terminal(self, launch: Launch, environment: dict[str, str | None]) -> None:
        if not self._initialize["arguments"].get("supportsRunInTerminalRequest"):
            raise RequestError(
                f"This client cannot run a program in a terminal, as `console` asks with '{launch.console}': "
                "use 'internalConsole'."
            )
        arguments = {
            "kind": launch.console.removesuffix("Terminal"),
            "title": launch.title,
            "cwd": launch.folder or os.getcwd(),
            "args": launch.command(),
            "env": environment,
        }
        self._ask("runInTerminal", arguments, self._take_terminal)

    def _take_terminal(self, answer: Message) -> None:
        if not answer.get("success") and self._begun is not None:
            reason = answer.get("message") or "no reason was given"
            self._refuse(self._begun, f"The client could not run the program in a terminal: {reason}.")
            self._is_decided.set()

    def _join(self, connection: socket.socket, stream: BinaryIO, hello: Message) -> None:
        with self._lock:
            is_first, self._is_taken = not self._is_taken, True
        if is_first and not self._is_decided.is_set():
            self._converse(connection, stream)

    def _await_joining(self) -> None:
        """Answers a launch whose program never comes to its debugger."""
        decided = self._is_decided.wait(_JOIN_SECONDS_MAX)
        if self._has_joined or self._begun is None or self.is_over:
            return
        if not decided:
            self._refuse(
                self._begun, f"The program did not come to the debugger within {_JOIN_SECONDS_MAX:.0f} s."
            )
            if self._process is not None:
                self._process.end()
        elif self._exit_code is not None:
            text = f"The program ended with exit code {self._exit_code} before it could be debugged; its output says why."
            self._refuse(self._begun, text)

    def _await_end(self, process: Process) -> None:
        self._exit_code = process.wait()
        if self._is_ending:
            process.end()  # With what it has started.
        self._is_decided.set()
        self._end()

    def _end(self) -> None:
        """The program has ended, or the client has left it."""
        with self._lock:
            if self._has_ended.is_set():
                return
            if not self._is_left:
                if self._exit_code is not None:
                    self._tell("exited", {"exitCode": self._exit_code})
                self._tell("terminated")
            self._has_ended.set()

    # ---------------------------------------------------------------- from the engine

    def _converse(self, engine: socket.socket, stream: BinaryIO) -> None:
        begun = self._begun
        if begun is None:
            return
        self._has_joined = True
        self._own.add(int(self._initialize.get("seq") or 0))
        # A broken connection is that of a program which has ended: who waits for its end says so.
        with engine, stream, contextlib.suppress(OSError):
            engine.sendall(write_message(self._initialize) + write_message(begun))
            self._engine = engine
            self._is_decided.set()
            try:
                while (message := read_message(stream)) is not None:
                    self._take_from_engine(message)
            except FramingError as error:
                text = f"The debug engine of the program cannot be understood: {error}\n"
                self._tell("output", {"category": "important", "output": text})
        self._engine = None
        if self._process is None or self._is_left:
            self._end()

    def _take_from_engine(self, message: Message) -> None:
        kind, asked = message.get("type"), message.get("request_seq")
        if kind == "response" and asked in self._own:
            if (
                not message.get("success")
                and message.get("command") == "initialize"
                and self._begun is not None
            ):
                self._refuse(self._begun, str(message.get("message")))
            return
        if kind == "request":
            self._ask(
                str(message.get("command")),
                message.get("arguments") or {},
                lambda answer: self._pass_on({**answer, "request_seq": message.get("seq")}),
            )
        elif kind == "event" and message.get("event") == "exited":
            # Told when all that the program has printed is, and when it is gone.
            if self._process is None:
                self._exit_code = int(message["body"]["exitCode"])
        elif kind != "event" or message.get("event") != "terminated":
            self._send(message)

    # ---------------------------------------------------------------- to the client

    def _ask(self, command: str, arguments: Message, then: Callable[[Message], None]) -> None:
        with self._lock:
            self._asked[self._send({"type": "request", "command": command, "arguments": arguments})] = then

    def _tell(self, event: str, body: Message | None = None) -> None:
        self._send({"type": "event", "event": event, **({} if body is None else {"body": body})})

    def _answer(self, request: Message, body: Message | None = None) -> None:
        self._respond(request, True, {} if body is None else {"body": body})

    def _refuse(self, request: Message, text: str) -> None:
        error = {"id": 3, "format": "{text}", "variables": {"text": text}, "showUser": True}
        self._respond(request, False, {"message": text, "body": {"error": error}})

    def _respond(self, request: Message, success: bool, more: Message) -> None:
        command, asked = str(request.get("command")), request.get("seq", 0)
        self._send({"type": "response", "request_seq": asked, "success": success, "command": command, **more})

    def _send(self, message: Message) -> int:
        """Sends a message under the adapter's own numbers, which it answers."""
        with self._lock:
            number = next(self._sequence)
            data = write_message({**message, "seq": number})
            # A client that is gone is noticed where its messages are read. `ValueError` is what a closed stream raises.
            with contextlib.suppress(OSError, ValueError):
                self._write(data)
        return number


_REQUESTS: dict[str, Callable[[Adapter, Message, Message], None]] = {
    "initialize": Adapter._on_initialize,
    "launch": Adapter._on_launch,
    "attach": Adapter._on_attach,
    "configurationDone": Adapter._on_configuration_done,
    "threads": Adapter._on_threads,
    "terminate": Adapter._on_terminate,
    "disconnect": Adapter._on_disconnect,
}
