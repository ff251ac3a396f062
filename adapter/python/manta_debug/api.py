"""The debugger from within a program: it lets a client come when it wants to, instead of being started under the engine.

import manta.debug
manta.debug.listen(5678)
manta.debug.wait_for_client()
"""

from __future__ import annotations

import atexit
import sys
from typing import TYPE_CHECKING

from . import unpatched

if TYPE_CHECKING:
    from collections.abc import Callable

    from .standalone.server import Server

_lock = unpatched.Lock()


def listen(address: int | tuple[str, int] = 5678) -> tuple[str, int]:
    """Listens for a client at a port of this machine, or at a host and a port; answers where. Port 0 takes a free one.

    Returns at once, and the program runs on. One client at a time debugs it, and others may come when it has left. Who can
    connect can run any code in this process: a host that others reach needs a network that keeps them out.

    A child process that has joined its parent's debug session needs no port of its own: there, this does nothing.

    Raises `RuntimeError` where the process is a debug target already, and `OSError` for an address that cannot be had.
    """
    from .standalone.host import StandaloneHost
    from .standalone.listening import ListeningServer

    server = _begin(lambda place: ListeningServer(*place, StandaloneHost(_name())), address)
    return server.address if isinstance(server, ListeningServer) else _place(address)


def connect(address: int | tuple[str, int] = 5678) -> None:
    """Goes to a client that waits for a program, by `attach` with `listen`; the address is as for `listen`.

    Raises `RuntimeError` as `listen` does, and `OSError` where nobody waits.
    """
    from .standalone.host import StandaloneHost
    from .standalone.joining import JoiningServer

    _begin(lambda place: JoiningServer.at(place, StandaloneHost(_name())), address)


def wait_for_client() -> None:
    """Waits until a client has come and has set its breakpoints. Raises `RuntimeError` if nobody can come."""
    from .standalone import children

    server = children.server()
    if server is None:
        raise RuntimeError("Nobody can connect to this process: call listen() or connect() first.")
    server.host.attended.wait()
    debug_this_thread()


def is_client_connected() -> bool:
    """Whether a client debugs this process now."""
    from .standalone import children

    server = children.server()
    return server is not None and server.engine is not None


def breakpoint() -> None:
    """Stops here while a client debugs this process, and passes otherwise. Python's own `breakpoint()` starts its console then."""
    from .standalone import children

    server = children.server()
    engine = server.engine if server is not None else None
    if engine is not None:
        engine.core.on_breakpoint_call(sys._getframe(1))


def post_mortem(error: BaseException | None = None, *, as_uncaught: bool = True) -> None:
    """Stops at an exception that the program has caught, with the frames that it went through, if a client is there.

    Without an `error` it is the one that is handled now; where there is none, nothing happens. It counts as one that nobody
    caught, unless `as_uncaught` is false: then it stops whatever exceptions the client has asked for.
    """
    from .standalone import children

    server = children.server()
    engine = server.engine if server is not None else None
    error = sys.exception() if error is None else error
    if engine is not None and error is not None:
        engine.core.on_post_mortem(sys._getframe(1), error, as_uncaught=as_uncaught)


def debug_this_thread() -> None:
    """Has breakpoints stop in the calling thread. Only Python 3.11 needs it, for threads that began before a client came."""
    from .standalone import children

    server = children.server()
    if server is not None and server.engine is not None:
        server.engine.on_task_start()


def _begin(start: Callable[[tuple[str, int]], Server], address: int | tuple[str, int]) -> Server:
    """This process's side of a debug session, which is started unless it has joined its parent's."""
    from .standalone import children

    with _lock:
        present = children.server()
        if present is not None and present.host.is_child:
            return present
        if present is not None:
            raise RuntimeError(
                "This process is a debug target already: listen() or connect() was called before, or it was started under the debugger."
            )
        server = start(_place(address))
    # What the program's end is called by, it alone knows.
    server.exit_code = None
    atexit.register(server.program_ended)
    return server


def _place(address: int | tuple[str, int]) -> tuple[str, int]:
    return ("127.0.0.1", address) if isinstance(address, int) else address


def _name() -> str:
    return sys.argv[0] if sys.argv and sys.argv[0] else "python"
