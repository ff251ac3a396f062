"""Finds out what keeps an object from being sent to another process."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, TextIO

from manta import _serialization


class FailureTuple(NamedTuple):
    """Something that cannot be pickled: the thing, where it was found, and in what."""

    obj: Any
    name: str
    parent: Any


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Says whether the object can be sent to another process, and else prints and returns what it is that cannot.

    `depth` is how many levels below the object are looked at; `print_file` is where the words go, stdout when left out.
    """
    out = print_file or sys.stdout
    label = name or getattr(base_obj, "__qualname__", None) or type(base_obj).__qualname__
    found = _serialization.blame(base_obj, depth)
    if found is None:
        print(f"'{label}' can be sent to other processes.", file=out)
        return True, set()
    path, culprit, parent, cause = found
    place = path.lstrip(".") or label
    print(
        f"'{label}' cannot be sent to other processes: '{place}', a {type(culprit).__qualname__}, cannot be pickled ({cause}).",
        file=out,
    )
    try:
        hash(culprit), hash(parent)
    except TypeError:
        # A set cannot hold it: its text stands for it.
        return False, {FailureTuple(repr(culprit), place, repr(parent))}
    return False, {FailureTuple(culprit, place, parent)}
