"""Where the adapter's clients are: at the standard streams, or at a port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from types import FrameType
from typing import NoReturn

from .adapter import Adapter


def on_standard_streams() -> int:
    """Serves the client at stdin and stdout. Nothing else may read or write there."""
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    signal.signal(signal.SIGTERM, _leave)

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[writer.write(view) or 0 :]

    Adapter(reader, write).run()
    return 0


def listen(name: str, port: int) -> socket.socket:
    """The port where clients come."""
    return socket.create_server((name, port), family=socket.AF_INET6 if ":" in name else socket.AF_INET)


def on(listener: socket.socket) -> int:
    """Serves each client that comes, until the adapter is interrupted."""
    signal.signal(signal.SIGTERM, _leave)
    adapters: list[Adapter] = []
    try:
        while True:
            connection, _ = listener.accept()
            adapters[:] = [adapter for adapter in adapters if not adapter.is_over]
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            adapter = Adapter(connection.makefile("rb"), connection.sendall)
            adapters.append(adapter)
            threading.Thread(target=_serve, args=(connection, adapter), daemon=True).start()
    except KeyboardInterrupt:
        return 130
    finally:
        for adapter in adapters:
            adapter.close()


def _serve(connection: socket.socket, adapter: Adapter) -> None:
    with connection:
        adapter.run()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    # Through the frames that end what was started.
    sys.exit(128 + number)
