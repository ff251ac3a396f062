"""Which codes of `sys.exit()` are no failure, so that no exception filter stops for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import RequestError

# What Django's and Flask's servers end with to be started again.
_RELOAD_CODE = 3


class ExitCodes:
    """The codes that stop. `breakOnSystemExit` lists them; without it, all but 0 and none do."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = options or {}
        self._ranges: list[tuple[int, int]] | None = None
        listed = options.get("breakOnSystemExit")
        if listed is not None:
            self._ranges = [_range(entry) for entry in (listed if isinstance(listed, list) else [listed])]
        self._orderly: set[object] = set() if options.get("breakOnSystemExitZero") else {None, 0}
        if (options.get("django") or options.get("flask")) and self._orderly:
            self._orderly.add(_RELOAD_CODE)

    def is_orderly(self, error: BaseException) -> bool:
        """Whether the exception is an end of the program that nobody wants to look at."""
        if not isinstance(error, SystemExit):
            return False
        code = error.code
        if self._ranges is None:
            return (code is None or isinstance(code, int)) and code in self._orderly
        number = 0 if code is None else code if isinstance(code, int) else 1
        return not any(low <= number <= high for low, high in self._ranges)


def _range(entry: object) -> tuple[int, int]:
    if isinstance(entry, int):
        return entry, entry
    if isinstance(entry, dict):
        low, high = entry.get("from"), entry.get("to")
        if isinstance(low, int) and isinstance(high, int):
            return low, high
    raise RequestError('`breakOnSystemExit` is a list of exit codes, or of ranges as {"from": 1, "to": 255}.')
