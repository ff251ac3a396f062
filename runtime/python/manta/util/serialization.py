"""Serializers of a program's own for classes that cannot be pickled."""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable
from typing import Any

__all__ = ["deregister_serializer", "register_serializer"]


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """From now on this process pickles instances of exactly this class as what `serializer` makes of them.

    The deserializer travels with them, so only who sends needs to register. A second call replaces the first.
    """
    if not isinstance(cls, type):
        raise TypeError(f"serializers are for classes, not for {cls!r}")
    if not callable(serializer) or not callable(deserializer):
        raise TypeError("'serializer' and 'deserializer' must be functions")
    copyreg.pickle(cls, functools.partial(_reduced, serializer, deserializer))


def deregister_serializer(cls: type) -> None:
    """Forgets the class's serializer, if `register_serializer` gave it one."""
    kept = copyreg.dispatch_table.get(cls)
    if isinstance(kept, functools.partial) and kept.func is _reduced:
        del copyreg.dispatch_table[cls]


def _reduced(
    serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any], value: Any
) -> tuple[Any, ...]:
    return _restored, (deserializer, serializer(value))


def _restored(deserializer: Callable[[Any], Any], data: Any) -> Any:
    return deserializer(data)
