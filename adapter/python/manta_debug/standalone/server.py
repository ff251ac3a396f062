"""Listens on a TCP port for a DAP client, one at a time. The program waits for the first one's `configurationDone`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from typing import Any

from ..engine import Engine
from ..framing import FramingError, read_message, write_message
from ..requests import Host
from . import output

_PROGRAM_END_SECONDS_MAX = 1.0


class StandaloneHost(Host):
    """Starts the program when the client is ready, and ends it if the client asks for that."""

    def __init__(self, target: str, redirects_output: bool) -> None:
        self.ready = threading.Event()
        self._target = target
        self._redirects_output = redirects_output
        self._launched = False
        self.client_left = False

    def initialized(self, engine: Engine) -> None:
        """Asks the client for its breakpoints."""
        engine.send_event("initialized")

    def begin(self, engine: Engine, arguments: dict[str, Any], *, launched: bool) -> None:
        """Takes the client's wishes about libraries and output."""
        self._launched = launched
        engine.client_sets.step_into_libraries = not arguments.get("justMyCode", True)
        if arguments.get("redirectOutput", self._redirects_output):
            output.redirect(
                lambda category, text: engine.send_event("output", {"category": category, "output": text})
            )
        engine.core.attach()
        engine.send_event(
            "process",
            {
                "name": self._target,
                "systemProcessId": os.getpid(),
                "isLocalProcess": True,
                "startMethod": "launch" if launched else "attach",
            },
        )

    def configuration_done(self, engine: Engine) -> None:
        """The breakpoints are in force: the program may start."""
        self.ready.set()

    def disconnect(self, engine: Engine, *, terminate: bool | None) -> None:
        """Ends the program if the client launched it or asks for it; otherwise it runs on."""
        output.restore()
        self.client_left = True
        self.ready.set()
        if terminate is None:
            terminate = self._launched
        if terminate:
            os.kill(os.getpid(), signal.SIGTERM)


class Server:
    """The listening socket and the client at its other end."""

    def __init__(self, host: str, port: int, adapter: StandaloneHost) -> None:
        self._adapter = adapter
        self._listener = socket.create_server((host, port), family=_family(host))
        self._engine: Engine | None = None
        self._connection: socket.socket | None = None
        self._done = threading.Event()
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        threading.Thread(target=self._accept, name="manta-debug-server", daemon=True).start()

    def program_ended(self, exit_code: int) -> None:
        """Waits for the program's other threads, tells the client, and gives it a moment to leave."""
        for thread in threading.enumerate():
            if thread is not threading.main_thread() and not thread.daemon:
                thread.join()
        engine, connection = self._engine, self._connection
        if engine is None or connection is None:
            return
        output.restore()
        engine.send_event("exited", {"exitCode": exit_code})
        engine.send_event("terminated")
        self._done.wait(_PROGRAM_END_SECONDS_MAX)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        def send(message: dict[str, Any]) -> None:
            with contextlib.suppress(
                OSError
            ):  # The client is gone: the reader below notices, and resumes everything.
                connection.sendall(write_message(message))

        engine = Engine(send, cluster=False, host=self._adapter)
        self._engine, self._connection = engine, connection
        self._done.clear()
        self._adapter.client_left = False
        try:
            with connection, connection.makefile("rb") as stream:
                while not self._adapter.client_left and (message := read_message(stream)) is not None:
                    engine.handle(message)
        except (FramingError, OSError) as error:
            print(f"manta_debug: the client's connection was closed: {error}", file=sys.__stderr__)
        finally:
            self._engine = self._connection = None
            output.restore()
            engine.close()
            self._done.set()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
