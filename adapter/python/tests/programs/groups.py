"""An exception group, and an exception that reaches a library which handles it."""

import functools
import json


def groups():
    try:
        raise ExceptionGroup("several", [KeyError("a"), OSError("b")])  # raises a group
    except* (KeyError, OSError):
        handled = True
    return handled


def refuses(value):
    raise TypeError(f"not {value}")  # leaves to a library


groups()
try:
    json.dumps(functools, default=refuses)
except TypeError:
    print("refused")
