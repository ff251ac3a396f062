"""Progress of loops in tasks and in the program, with the interface of Ray's `tqdm_ray`.

Each bar is a line now and then, as all that tasks print: `(load pid=4711) rows:  40% 400/1000 [3.2 s, 125 row/s]`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["safe_print", "tqdm"]


def safe_print(*args: Any, **kwargs: Any) -> None:
    """Prints. Bars are lines here, so that nothing has to be moved out of the way."""
    print(*args, **kwargs)


class tqdm:  # Its name is tqdm's.
    """Counts the steps of a loop and says now and then how many there were.

    Args:
        iterable: What to go through.
        desc: What to say before the count.
        total: How many steps there will be; `len(iterable)` when left out.
        unit: What a step is.
        position: Has no effect.
        flush_interval_s: Seconds between two lines at least.
    """

    DEFAULT_FLUSH_INTERVAL_SECONDS = 1.0

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: int | None = None,
        unit: str | None = None,
        position: int | None = None,
        flush_interval_s: float | None = None,
    ) -> None:
        del position
        if total is None and hasattr(iterable, "__len__"):
            total = len(iterable)  # type: ignore[arg-type]  # It has a length.
        self.n, self.total = 0, total
        self._iterable, self._desc, self._unit = iterable, desc or "", unit or "it"
        self._interval = self.DEFAULT_FLUSH_INTERVAL_SECONDS if flush_interval_s is None else flush_interval_s
        self._started = time.monotonic()
        self._said_at = self._started - self._interval
        self._said = ""
        self._closed = False

    def set_description(self, desc: str) -> None:
        """Says something else before the count from now on."""
        self._desc = desc
        self.refresh()

    def update(self, n: int = 1) -> None:
        """Counts `n` more steps."""
        self.n += n
        self.refresh()

    def refresh(self) -> None:
        """Says how many steps there were, unless that was said a moment ago."""
        now = time.monotonic()
        if now - self._said_at >= self._interval:
            self._said_at = now
            self._say(now - self._started)

    def close(self) -> None:
        """Says how many steps there were in the end."""
        if not self._closed:
            self._closed = True
            self._say(time.monotonic() - self._started)

    def _say(self, seconds: float) -> None:
        count = f"{self.n}" if self.total is None else f"{self.n}/{self.total}"
        if count == self._said and not self._closed:
            return
        self._said = count
        share = f"{self.n / self.total:4.0%} " if self.total else ""
        rate = f", {self.n / seconds:.3g} {self._unit}/s" if seconds > 0 else ""
        print(
            f"{self._desc + ': ' if self._desc else ''}{share}{count} [{seconds:.1f} s{rate}]",
            file=sys.stderr,
        )

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError("No iterable provided")
        for value in self._iterable:
            self.update(1)
            yield value
        self.close()

    def __enter__(self) -> tqdm:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
