"""What shows a dictionary in another way: its views, and read-only proxies of it. None of its classes' code is run."""

from __future__ import annotations

import gc
from types import MappingProxyType
from typing import Any

from . import static

#: The views of a dictionary.
KEYS: Any = type({}.keys())
VALUES: Any = type({}.values())
ITEMS: Any = type({}.items())
_VIEWS = (KEYS, VALUES, ITEMS)


def dict_of(value: Any) -> dict[Any, Any] | None:
    """The dictionary behind a proxy or a view; nothing for all else, and for a proxy of a mapping that is none."""
    kind = type(value)
    if static.is_one_of(kind, _VIEWS):
        return dict_of(kind.mapping.__get__(value))
    if kind is not MappingProxyType:
        return None
    # It refers to what it stands for, and to nothing else. Every other way asks the mapping's own class.
    behind = gc.get_referents(value)
    return behind[0] if len(behind) == 1 and static.is_a(behind[0], dict) else None


def entries(value: Any, behind: dict[Any, Any]) -> Any:
    """What a view iterates over; for a proxy, the entries."""
    kind = type(value)
    if kind is KEYS:
        return dict.keys(behind)
    return dict.values(behind) if kind is VALUES else dict.items(behind)
