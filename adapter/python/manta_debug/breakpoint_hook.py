"""Python's own `breakpoint()`, which stops while a client is there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


class BreakpointHook:
    """Takes the place of what `breakpoint()` calls, and gives it back. `stop` is called with the frame that made the call."""

    def __init__(self, stop: Callable[[FrameType], None]) -> None:
        self._stop = stop
        self._before: Any = None

    def install(self) -> None:
        """From now on `breakpoint()` stops."""
        self._before = sys.breakpointhook
        sys.breakpointhook = self._called

    def remove(self) -> None:
        """What was there before is there again, unless the program has set something else since."""
        if sys.breakpointhook == self._called:
            sys.breakpointhook = self._before

    def _called(self, *arguments: Any, **keywords: Any) -> Any:
        if os.environ.get("PYTHONBREAKPOINT") == "0":
            return self._before(*arguments, **keywords)
        self._stop(sys._getframe(1))
        return None
