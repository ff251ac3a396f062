"""DAP's framing: a `Content-Length` header, a blank line, and so many bytes of JSON."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from . import limits


class FramingError(Exception):
    """The bytes are no DAP. The connection cannot go on, because the next message cannot be found."""


def read_message(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message; nothing at the stream's end."""
    length = _read_header(stream)
    if length is None:
        return None
    data = stream.read(length)
    if len(data) < length:
        return None
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FramingError(f"A message of {length} bytes is not valid JSON: {error}.") from None
    if not isinstance(message, dict):
        raise FramingError("A message is JSON, but not an object.")
    return message


def write_message(message: dict[str, Any]) -> bytes:
    """A message with its header. Text that is no valid Unicode is replaced."""
    data = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return b"Content-Length: %d\r\n\r\n" % len(data) + data


def _read_header(stream: BinaryIO) -> int | None:
    length: int | None = None
    left = limits.HEADER_BYTES_MAX
    while True:
        line = stream.readline(left + 1)
        left -= len(line)
        if left < 0:
            raise FramingError(f"A header is longer than {limits.HEADER_BYTES_MAX} bytes.")
        if not line.endswith(b"\n"):
            return None
        text = line.strip()
        if not text:
            break
        name, colon, value = text.partition(b":")
        if not colon or b" " in name:
            raise FramingError("This is not the Debug Adapter Protocol: a header line has no name and value.")
        if name.lower() == b"origin":
            raise FramingError(
                "A web page opened this connection (it sent an Origin header); that is refused."
            )
        if name.lower() == b"content-length":
            length = _length(value)
    if length is None:
        raise FramingError("A message has no Content-Length header.")
    return length


def _length(value: bytes) -> int:
    text = value.strip()
    if not text.isdigit() or len(text) > 12:
        raise FramingError("A Content-Length is not a number.")
    length = int(text)
    if length > limits.MESSAGE_BYTES_MAX:
        raise FramingError(f"A message of {length} bytes is over the limit of {limits.MESSAGE_BYTES_MAX}.")
    return length
