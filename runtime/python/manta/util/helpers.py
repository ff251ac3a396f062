"""Values of many tasks as they come, in place of a loop around `wait`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from manta import _api, _manta

if TYPE_CHECKING:
    from manta.remote_function import RemoteFunction

__all__ = ["as_completed", "map_unordered"]

_CHUNK_SIZE = 10
_PENDING = 100


def as_completed(
    refs: Sequence[_manta.ObjectRef[Any]],
    *,
    chunk_size: int = _CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """The values of the refs, `chunk_size` at a time, those first that are there first.

    With `yield_obj_refs`, the refs in place of their values. Further arguments are those of `wait`; when its `timeout` is over, what
    has come is given, and the next round waits as long.
    """
    _check("chunk_size", chunk_size, kwargs)
    left = list(refs)
    while left:
        ready, left = _api.wait(left, num_returns=min(chunk_size, len(left)), **kwargs)
        yield from ready if yield_obj_refs else _api.get(ready)


def map_unordered(
    fn: RemoteFunction,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = _PENDING,
    chunk_size: int = _CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """The values of a remote function for each item, as they come.

    At most `backpressure_size` tasks are under way at once; None is for no limit. The other arguments are those of `as_completed`.
    """
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError(f"'backpressure_size' must be 1 or more, or None, not {backpressure_size}")
    _check("chunk_size", chunk_size, kwargs)
    pending: list[_manta.ObjectRef[Any]] = []
    for item in items:
        pending.append(fn.remote(item))
        if backpressure_size is not None and len(pending) >= backpressure_size:
            ready, pending = _api.wait(pending, num_returns=min(chunk_size, len(pending)), **kwargs)
            yield from ready if yield_obj_refs else _api.get(ready)
    yield from as_completed(pending, chunk_size=chunk_size, yield_obj_refs=yield_obj_refs, **kwargs)


def _check(name: str, size: int, kwargs: dict[str, Any]) -> None:
    if size < 1:
        raise ValueError(f"'{name}' must be 1 or more, not {size}")
    if "num_returns" in kwargs:
        raise ValueError(f"'num_returns' is set by '{name}'; give that")
