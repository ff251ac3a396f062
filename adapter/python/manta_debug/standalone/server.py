"""Serves one client at a time; how it comes, a subclass knows. The program waits for the first one's `configurationDone`."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any, BinaryIO

from .. import unpatched
from ..engine import Engine
from ..framing import FramingError, read_message, write_message
from . import output
from .host import StandaloneHost
from .outgoing import Outgoing

_PROGRAM_END_SECONDS_MAX = 1.0


class Server:
    """The process's side of a debug session, and its present client."""

    def __init__(self, host: StandaloneHost) -> None:
        self.host = host
        self.engine: Engine | None = None
        #: What the program ends with; nothing where that is not known.
        self.exit_code: int | None = 0
        self._outgoing: Outgoing | None = None
        #: Set while no client is served.
        self._done = unpatched.Event()
        self._done.set()
        self._process = os.getpid()

    def children_join(self) -> str | None:
        """Where the processes that this one starts join its session; nothing while they are to run by themselves."""
        raise NotImplementedError

    def abandon(self) -> None:
        """In a forked child: gives its share in everything up, which is the parent's."""
        if self._outgoing is not None:
            self._outgoing.abandon()
        if self.engine is not None:
            self.engine.core.abandon()
        if self.host.family is not None:
            self.host.family.abandon()
        output.in_child()
        self.engine = self._outgoing = None

    def program_starts(self) -> None:
        """To be called on the thread that is about to run the program."""
        engine = self.engine
        if engine is not None and self.host.stops_on_entry and not self.host.client_left:
            engine.core.stop_on_entry()

    def program_ended(self) -> None:
        """To be called at the very exit: tells the client, and gives it a moment to leave."""
        engine, outgoing = self.engine, self._outgoing
        if os.getpid() != self._process:
            return
        if engine is None or outgoing is None:
            # One that has just left may have to be let go of still.
            self._done.wait(_PROGRAM_END_SECONDS_MAX)
            return
        output.restore()
        if self.exit_code is not None:
            engine.send_event("exited", {"exitCode": self.exit_code})
        engine.send_event("terminated")
        outgoing.drain(_PROGRAM_END_SECONDS_MAX)
        self._done.wait(_PROGRAM_END_SECONDS_MAX)

    def serve(self, connection: socket.socket) -> None:
        """Serves a client until it leaves, or its connection ends."""

        def send(message: dict[str, Any]) -> None:
            may_be_left_out = message.get("event") == "output"
            outgoing.send(write_message(message), may_be_left_out=may_be_left_out)

        def tell_left_out(count: int) -> None:
            text = f"{count} outputs are not shown here, as the client did not read what came before them.\n"
            engine.send_event("output", {"category": "important", "output": text})

        outgoing = Outgoing(connection, tell_left_out)
        engine = Engine(send, cluster=False, host=self.host)
        self.engine, self._outgoing = engine, outgoing
        self._done.clear()
        self.host.client_left = False
        try:
            with connection.makefile("rb") as stream:
                self._read(stream, engine, outgoing)
            if not self.host.client_left:
                self.client_lost(engine)
        except (FramingError, OSError) as error:
            print(f"manta_debug: the client's connection was closed: {error}", file=sys.__stderr__)
            self.client_lost(engine)
        finally:
            self.engine = self._outgoing = None
            self.host.attended.clear()
            output.restore()
            try:
                if self.host.family is not None:
                    self.host.family.release()
                engine.close()
            finally:
                outgoing.drain(_PROGRAM_END_SECONDS_MAX)
                outgoing.close()
                self._done.set()

    def client_lost(self, engine: Engine) -> None:
        """The connection has ended without a word. The program runs on, unless a subclass knows better."""

    def _read(self, stream: BinaryIO, engine: Engine, outgoing: Outgoing) -> None:
        family = self.host.family
        while not self.host.client_left and (message := read_message(stream)) is not None:
            outgoing.wait_for_room()
            if family is None or not family.takes(engine, message):
                engine.handle(message)
