"""A program that goes to its client: a launched one to its adapter, a child to the program whose session it belongs to."""

from __future__ import annotations

import os
import signal
import sys

from .. import unpatched
from ..engine import Engine
from ..errors import text_of
from . import children, gate
from .family import Family
from .host import StandaloneHost
from .server import Server

# How long a child waits for the session that it joins, before it runs by itself.
_CHILD_SECONDS_MAX = 10.0


class JoiningServer(Server):
    """The connection to whoever waits at a place for this process."""

    def __init__(self, place: str, host: StandaloneHost, *, is_child: bool) -> None:
        super().__init__(host)
        self._place = place
        self._is_child = is_child
        if not is_child:
            host.family = Family()
        self._connection = gate.join(place)
        children.watch(self)
        unpatched.OwnThread("client", self._converse).start()

    @classmethod
    def at(cls, address: tuple[str, int], host: StandaloneHost) -> JoiningServer:
        """Goes to a client that waits at an address which a user has named. Raises `OSError` where none does."""
        name, port = address
        return cls(f"{name}:{port}:", host, is_child=False)

    def children_join(self) -> str | None:
        """Where this process has joined, for a child; at this process else."""
        if self.engine is None or not self.host.debugs_children:
            return None
        return self._place if self.host.family is None else self.host.family.place

    def client_lost(self, engine: Engine) -> None:
        """A program that was launched ends with its adapter; with all that it has started, if it leads a session of its own."""
        if not self.host.ends_program(None):
            return
        if self.host.family is not None:
            self.host.family.end(at_once=True)
        if os.getsid(0) == os.getpid():
            os.killpg(os.getpid(), signal.SIGTERM)
        self.host.end_program(engine, at_once=True)

    def _converse(self) -> None:
        try:
            with self._connection as connection:
                self.serve(connection)
        except Exception as error:
            print(f"manta_debug: the debug session was left: {text_of(error)}", file=sys.__stderr__)
        finally:
            self.host.ready.set()


def join_as_child(place: str, name: str) -> JoiningServer | None:
    """Joins the session that waits at the place, and returns when its breakpoints are in force here; nothing comes where nobody is."""
    host = StandaloneHost(name, is_child=True)
    try:
        server = JoiningServer(place, host, is_child=True)
    except OSError:
        return None  # The session has ended meanwhile, or the program that it is about.
    if not host.ready.wait(_CHILD_SECONDS_MAX):
        print(
            f"manta_debug: the session did not take the child process {os.getpid()}, which runs on",
            file=sys.__stderr__,
        )
    return server
