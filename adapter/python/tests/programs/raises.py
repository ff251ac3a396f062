"""Exceptions that are caught, that come out of a library, and that nobody catches."""

import json
import sys


def caught():
    try:
        raise KeyError("inner")  # raised and caught
    except KeyError:
        return 1


def from_library():
    try:
        json.loads("{")  # library raises
    except ValueError:
        return 2


def deep(level):
    if level == 0:
        try:
            int("x")  # cause
        except ValueError as cause:
            raise RuntimeError("at the bottom") from cause  # bottom
    return deep(level - 1)  # deeper


caught()
from_library()
for value in iter([1, 2]):
    pass
try:
    sys.exit(0)  # exit
except SystemExit:
    pass
deep(2)  # call deep
