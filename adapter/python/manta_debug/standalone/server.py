"""Listens on a TCP port for a DAP client, one at a time. The program waits for the first one's `configurationDone`."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import sys
import threading
from typing import Any

from .. import guard, limits
from ..engine import Engine
from ..errors import text_of
from ..framing import FramingError, read_message, write_message
from ..paths import PathMap
from ..requests import Host
from . import output
from .children import Children
from .outgoing import Outgoing

_PROGRAM_END_SECONDS_MAX = 1.0
# How long a client waits for another that may be leaving, and for what it says first.
_TURN_SECONDS_MAX = 2.0
_TERMINATION_SECONDS_MAX = 3.0
# How long a forked child waits for its client.
_CHILD_SECONDS_MAX = 10.0


class StandaloneHost(Host):
    """Starts the program when the client is ready, and ends it if the client asks for that."""

    def __init__(self, target: str, redirects_output: bool) -> None:
        self.ready = threading.Event()
        self.client_left = False
        self.stops_on_entry = False
        self.name = target
        self.debugs_children = False
        self.attach_arguments: dict[str, Any] = {}
        self._redirects_output = redirects_output
        self._launched = False

    def initialized(self, engine: Engine) -> None:
        """Asks the client for its breakpoints."""
        engine.send_event("initialized")

    def begin(self, engine: Engine, arguments: dict[str, Any], *, launched: bool) -> None:
        """Takes the client's wishes about libraries, paths and output."""
        self._launched = launched
        self.debugs_children = arguments.get("subProcess", True) is not False
        self.attach_arguments = arguments
        engine.paths = PathMap(arguments.get("pathMappings"))
        engine.core.sources.map_paths(engine.paths)
        engine.client_sets.step_into_libraries = not arguments.get("justMyCode", True)
        self.stops_on_entry = bool(arguments.get("stopOnEntry"))
        if arguments.get("redirectOutput", self._redirects_output):
            output.redirect(
                lambda category, text: engine.send_event("output", {"category": category, "output": text})
            )
        engine.core.attach()
        engine.send_event(
            "process",
            {
                "name": self.name,
                "systemProcessId": os.getpid(),
                "isLocalProcess": True,
                "startMethod": "launch" if launched else "attach",
            },
        )

    def for_child(self) -> StandaloneHost:
        """The same, for a forked child that awaits a client of its own."""
        return StandaloneHost(self.name, self._redirects_output)

    def configuration_done(self, engine: Engine) -> None:
        """The breakpoints are in force: the program may start."""
        self.ready.set()

    def disconnect(self, engine: Engine) -> None:
        """The client leaves, and the program runs on."""
        output.restore()
        self.client_left = True
        self.ready.set()

    def ends_program(self, terminate: bool | None) -> bool:
        """A program ends with the client that launched it, or that asks for it."""
        return self._launched if terminate is None else terminate

    def end_program(self, engine: Engine, *, at_once: bool) -> None:
        """Sends SIGTERM, which the program may handle; where it must end at once, SIGKILL follows."""
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            engine.send_event("terminated")
        if at_once:
            self.client_left = True
            killer = threading.Timer(_TERMINATION_SECONDS_MAX, os.kill, (os.getpid(), signal.SIGKILL))
            killer.daemon = True
            killer.start()
        os.kill(os.getpid(), signal.SIGTERM)
        self.ready.set()


class Server:
    """The listening socket and the client at its other end."""

    def __init__(self, host: str, port: int, adapter: StandaloneHost) -> None:
        self.adapter = adapter
        self._listener = socket.create_server((host, port), family=_family(host))
        self.engine: Engine | None = None
        self._outgoing: Outgoing | None = None
        self._turn = threading.Lock()
        self._waiting = threading.BoundedSemaphore(limits.CLIENTS_WAITING_MAX)
        self._done = threading.Event()
        self._process = os.getpid()
        self._children = Children(self)
        self.exit_code = 0
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._start()

    def in_child(self, listener: socket.socket | None) -> None:
        """In a forked child: serves at its own listener, and waits a while for its client; without one it runs on by itself."""
        self._listener.close()
        if self._outgoing is not None:
            self._outgoing.abandon()
        if self.engine is not None:
            self.engine.core.abandon()
        output.in_child()
        self.engine = self._outgoing = None
        if listener is None:
            return
        self._listener, self._process = listener, os.getpid()
        self._turn, self._done = threading.Lock(), threading.Event()
        self._waiting = threading.BoundedSemaphore(limits.CLIENTS_WAITING_MAX)
        self.adapter = self.adapter.for_child()
        self._start()
        if not self.adapter.ready.wait(_CHILD_SECONDS_MAX):
            print(
                f"manta_debug: no client came for the child process {self._process}, which runs on",
                file=sys.__stderr__,
            )

    def _start(self) -> None:
        guard.OwnThread("server", self._accept).start()

    def program_starts(self) -> None:
        """To be called on the thread that is about to run the program."""
        engine = self.engine
        if engine is not None and self.adapter.stops_on_entry and not self.adapter.client_left:
            engine.core.stop_on_entry()

    def program_ended(self) -> None:
        """To be called at the very exit: tells the client, and gives it a moment to leave."""
        engine, outgoing = self.engine, self._outgoing
        if engine is None or outgoing is None or os.getpid() != self._process:
            return
        output.restore()
        engine.send_event("exited", {"exitCode": self.exit_code})
        engine.send_event("terminated")
        outgoing.drain(_PROGRAM_END_SECONDS_MAX)
        self._done.wait(_PROGRAM_END_SECONDS_MAX)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                # One that is gone already, or too many files for a moment.
                print(f"manta_debug: a client could not be taken: {error}", file=sys.__stderr__)
                continue
            if not self._waiting.acquire(blocking=False):
                connection.close()
                continue
            try:
                guard.OwnThread("client", functools.partial(self._arrive, connection)).start()
            except RuntimeError:  # The interpreter is ending.
                connection.close()
                return

    def _arrive(self, connection: socket.socket) -> None:
        with connection:
            has_turn = self._turn.acquire(timeout=_TURN_SECONDS_MAX)
            self._waiting.release()
            try:
                if has_turn:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._serve(connection)
                else:
                    _turn_away(connection)
            except Exception as error:
                print(
                    f"manta_debug: the client's connection was closed: {text_of(error)}", file=sys.__stderr__
                )
            finally:
                if has_turn:
                    self._turn.release()

    def _serve(self, connection: socket.socket) -> None:
        def send(message: dict[str, Any]) -> None:
            may_be_left_out = message.get("event") == "output"
            outgoing.send(write_message(message), may_be_left_out=may_be_left_out)

        def tell_left_out(count: int) -> None:
            text = f"{count} outputs are not shown here, as the client did not read what came before them.\n"
            engine.send_event("output", {"category": "important", "output": text})

        outgoing = Outgoing(connection, tell_left_out)
        engine = Engine(send, cluster=False, host=self.adapter)
        self.engine, self._outgoing = engine, outgoing
        self._done.clear()
        self.adapter.client_left = False
        try:
            with connection.makefile("rb") as stream:
                while not self.adapter.client_left and (message := read_message(stream)) is not None:
                    outgoing.wait_for_room()
                    engine.handle(message)
        except (FramingError, OSError) as error:
            print(f"manta_debug: the client's connection was closed: {error}", file=sys.__stderr__)
        finally:
            self.engine = self._outgoing = None
            output.restore()
            try:
                engine.close()
            finally:
                outgoing.drain(_PROGRAM_END_SECONDS_MAX)
                outgoing.close()
                self._done.set()


def _turn_away(connection: socket.socket) -> None:
    """Says to a client why it cannot be served: another one debugs this process."""
    connection.settimeout(_TURN_SECONDS_MAX)
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


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
