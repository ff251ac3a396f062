"""The errors that a request may answer with."""

from __future__ import annotations

from . import limits


class RequestError(Exception):
    """A refused request. Its text is a sentence for the person who debugs."""


def traceback_of(error: BaseException) -> str:
    """An error of the engine's own with its traceback, whose end is kept where it is long."""
    import traceback

    return "".join(traceback.format_exception(error))[-limits.TRACEBACK_CHARS_MAX :]


def text_of(error: BaseException) -> str:
    """An exception as one line, also when its own `__str__` fails."""
    name = type(error).__name__
    try:
        detail = str(error)
    except Exception:
        # Code of the program: what it raises would only stand in place of the error that is told.
        detail = "its text could not be made"
    return f"{name}: {detail}" if detail else name
