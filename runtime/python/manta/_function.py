"""What a worker has to know of a function beside its code."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Iterable
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

    @property
    def threads(self) -> int:
        """How many threads its libraries have."""
        return threads_of(self.resources)

    def __reduce__(self) -> tuple[Any, ...]:
        # The number of threads comes first: libraries that the function's code imports read it when they are loaded.
        threads = _Threads(self.threads)
        options = (self.retry_exceptions, self.max_calls, self.resources, self.captured)
        return _described, (threads, self.function, *options)


def _described(_threads: None, *fields: Any) -> Described:
    return Described(*fields)


class _Threads:
    """Sets the number of threads of libraries where it is unpickled."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __reduce__(self) -> tuple[Any, ...]:
        return limit_threads, (self._count,)


THREADS_VARIABLE = "OMP_NUM_THREADS"
# How many threads libraries such as numpy start in this worker; None where that is not ours to say.
_threads: int | None = None


def own_threads() -> None:
    """From now on this process is a worker, whose tasks have as many threads as CPUs. Who has set the variable keeps it."""
    global _threads
    if THREADS_VARIABLE not in os.environ:
        _threads = 0
        limit_threads(1)


def limit_threads(count: int) -> None:
    """Sets how many threads libraries start that are loaded from now on, and programs that the task starts."""
    global _threads
    if _threads is not None and _threads != count:
        _threads = count
        os.environ[THREADS_VARIABLE] = str(count)


def threads_of(resources: Iterable[tuple[str, float]]) -> int:
    """One for each whole CPU, and one at least."""
    cpus = (amount for name, amount in resources if name == "CPU" or name.startswith("CPU_group_"))
    return max(1, int(max(cpus, default=1)))


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
