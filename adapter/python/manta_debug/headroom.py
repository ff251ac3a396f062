"""Room above a thread that stopped close to the recursion limit: its requests are served on its own stack."""

from __future__ import annotations

import sys
from typing import Final

from . import unpatched

_FRAMES: Final = 1_000
# What a stop itself may need before there is more.
_NEAR: Final = 500

_lock = unpatched.Lock()
_count = 0
_before = 0
_ours = 0


def enter(depth: int) -> bool:
    """Raises the limit for a stack of so many frames, if it is close to it. `leave` must follow when this is true."""
    global _count, _before, _ours
    with _lock:
        limit = sys.getrecursionlimit()
        if depth + _NEAR < limit:
            return False
        if _count == 0:
            _before = limit
        _count += 1
        _ours = max(limit, depth + _NEAR + _FRAMES)
        sys.setrecursionlimit(_ours)
        return True


def leave() -> None:
    """The thread goes on. The program's own limit is back when no other such thread is stopped, unless it has set another."""
    global _count
    with _lock:
        _count -= 1
        if _count == 0 and sys.getrecursionlimit() == _ours:
            sys.setrecursionlimit(_before)
