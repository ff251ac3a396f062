"""Moves a stopped thread to another line of the function in which it stands."""

from __future__ import annotations

import warnings
from types import FrameType

from .errors import RequestError
from .stops import Stop


def jump(stop: Stop, frame: FrameType, line: int) -> None:
    """Has the frame go on at this line. To be called on the stopped thread; refuses where CPython cannot."""
    if frame is not stop.stack[0].frame:
        raise RequestError(
            "Only the innermost frame can be moved to another line: CPython cannot leave the frames inside it."
        )
    if stop.exception is not None:
        raise RequestError("A frame that an exception leaves cannot be moved to another line.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # Locals that are not bound there become None.
            frame.f_lineno = line  # type: ignore[misc]
    except ValueError as error:
        raise RequestError(f"Python cannot go on at line {line} from here: {_reason(str(error))}.") from None


def _reason(text: str) -> str:
    if "trace" in text:
        return "the thread stands in the middle of a line; step once, then try again"
    return text
