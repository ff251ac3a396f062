"""Messages that appear once a process, and not each time."""

from __future__ import annotations

import time

__all__ = ["disable_log_once_globally", "enable_periodic_logging", "log_once", "reset_log_once"]

KEYS_MAX = 100_000
PERIOD_SECONDS = 60.0


class _Said:
    """Which messages appeared."""

    def __init__(self) -> None:
        self.keys: dict[str, None] = {}
        self.disabled = False
        self.periodic = False
        self.last_at = 0.0


_said = _Said()


def log_once(key: str) -> bool:
    """Whether this is the first call for this key; where that is asked for, the first for a minute."""
    if _said.disabled:
        return False
    if key not in _said.keys:
        if len(_said.keys) >= KEYS_MAX:
            # The oldest may appear again.
            del _said.keys[next(iter(_said.keys))]
        _said.keys[key] = None
        _said.last_at = time.monotonic()
        return True
    if _said.periodic and time.monotonic() - _said.last_at > PERIOD_SECONDS:
        _said.keys.clear()
        _said.last_at = time.monotonic()
    return False


def disable_log_once_globally() -> None:
    """From now on `log_once` answers False."""
    _said.disabled = True


def enable_periodic_logging() -> None:
    """From now on `log_once` forgets its keys each minute."""
    _said.periodic = True


def reset_log_once(key: str | None = None) -> None:
    """Forgets one key, or all."""
    if key is None:
        _said.keys.clear()
    else:
        _said.keys.pop(key, None)
