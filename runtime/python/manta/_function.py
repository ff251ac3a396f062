"""What a worker has to know of a function beside its code."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manta import _placement


@dataclasses.dataclass(frozen=True, slots=True)
class Described:
    """A function with those of its options that its worker sees to. It travels in the function's place when there are any."""

    function: Callable[..., Any]
    # The exceptions for which a task is tried again; None for all of them.
    retry_exceptions: tuple[type[BaseException], ...] | None = None
    # A worker ends after so many of its tasks; 0 for any number.
    max_calls: int = 0
    # What the task was given of its node, by name.
    resources: tuple[tuple[str, float], ...] = (("CPU", 1),)
    # The placement group that what it submits is in as well, unless that says otherwise.
    captured: _placement.InGroup | None = None


# What this worker's main thread runs.
running: Described | None = None
# The placement group that what this worker submits is in, unless it says otherwise.
captured: _placement.InGroup | None = None


def named(path: str) -> Described:
    """The function or class with the path `module:qualified.name`, which a caller of another language gave."""
    module_name, _, name = path.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AttributeError(f"the module '{module_name}' has no '{name}'") from None
    # What `@remote` has wrapped runs as what it wraps.
    return Described(getattr(found, "__manta_wrapped__", found))
