"""The engine inside a worker: messages come and go as bytes, one JSON object each, over the worker's own connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import _register
from .engine import Engine

RESUMING = frozenset(("continue", "next", "stepIn", "stepOut"))
# A node's own requests have numbers from here on.
NODE_SEQ_MIN = 1 << 30

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(message: dict[str, Any]) -> bytes:
    """One message as JSON. Text that is no valid Unicode is replaced, for the other end would refuse it."""
    return _encode(message).encode("utf-8", "replace")


def is_soon_followed(message: dict[str, Any]) -> bool:
    """Whether the message only says that a thread runs on, so that it may wait a moment for the thread's next stop."""
    if message.get("event") == "mantaContinued":
        return "ended" not in message["body"]
    return message.get("success") is True and message.get("command") in RESUMING


def is_for_node(message: dict[str, Any]) -> bool:
    """Whether the message answers a request of the node, which waits for it."""
    answered = message.get("request_seq")
    return isinstance(answered, int) and answered >= NODE_SEQ_MIN


def serve(
    receive: Callable[[], bytes | None],
    send: Callable[[bytes, bool, bool], None],
    current_task: Callable[[int], dict[str, Any] | None],
) -> None:
    """Serves until `receive` gives nothing more; then every paused thread runs on.

    `send` is told of each message whether it may wait a moment, in its place, for the next one to be sent, and whether it is for the node.
    """
    engine = Engine(
        lambda message: send(encode(message), is_soon_followed(message), is_for_node(message)), current_task
    )
    _register(engine)
    try:
        while (data := receive()) is not None:
            try:
                message = json.loads(data)
            except ValueError as error:
                engine.send_event(
                    "output", {"category": "important", "output": f"A debug message was no JSON: {error}\n"}
                )
                continue
            engine.handle(message)
    finally:
        engine.close()
