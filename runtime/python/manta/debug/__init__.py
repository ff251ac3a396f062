"""The Python debug engine on its own: for one script by `python -m manta.debug`, and from within a program."""

from manta_debug.api import (
    breakpoint,
    connect,
    debug_this_thread,
    is_client_connected,
    listen,
    post_mortem,
    wait_for_client,
)

__all__ = [
    "breakpoint",
    "connect",
    "debug_this_thread",
    "is_client_connected",
    "listen",
    "post_mortem",
    "wait_for_client",
]
