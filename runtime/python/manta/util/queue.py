"""A queue that any number of tasks and actors share: it lives in an actor."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import Any

from manta import _api, actor

__all__ = ["Empty", "Full", "Queue"]


class Empty(queue.Empty):
    """Nothing was there in time."""


class Full(queue.Full):
    """There was no room in time."""


class _Holder:
    """What the actor runs."""

    def __init__(self, maxsize: int) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)
        self._maxsize = maxsize

    async def size(self) -> int:
        return self._queue.qsize()

    async def put(self, item: Any, timeout: float | None) -> bool:
        try:
            await asyncio.wait_for(self._queue.put(item), timeout)
        except TimeoutError:
            return False
        return True

    async def get(self, timeout: float | None) -> tuple[bool, Any]:
        try:
            return True, await asyncio.wait_for(self._queue.get(), timeout)
        except TimeoutError:
            return False, None

    async def put_now(self, items: list[Any]) -> bool:
        if 0 < self._maxsize < self._queue.qsize() + len(items):
            return False
        for item in items:
            self._queue.put_nowait(item)
        return True

    async def get_now(self, count: int) -> list[Any] | None:
        if self._queue.qsize() < count:
            return None
        return [self._queue.get_nowait() for _ in range(count)]


class Queue:
    """First in, first out, like `queue.Queue`; handles of it may be passed to tasks and actors."""

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        self.actor: Any = actor.make_actor_class(_Holder, actor_options or {}).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items it has."""
        return int(_api.get(self.actor.size.remote()))

    def qsize(self) -> int:
        """As `size`."""
        return self.size()

    def empty(self) -> bool:
        """Whether it has no item."""
        return self.size() == 0

    def full(self) -> bool:
        """Whether it has as many items as it may."""
        return 0 < self.maxsize <= self.size()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Adds an item; waits for room if `block`, and raises `Full` when there is none in time."""
        if not block:
            return self.put_nowait(item)
        if not _api.get(self.actor.put.remote(item, _checked(timeout))):
            raise Full

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As `put`."""
        call = self.actor.put.remote(item, _checked(timeout)) if block else self.actor.put_now.remote([item])
        if not await call:
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Takes the oldest item; waits for one if `block`, and raises `Empty` when none comes in time."""
        if not block:
            return self.get_nowait()
        found, item = _api.get(self.actor.get.remote(_checked(timeout)))
        if not found:
            raise Empty
        return item

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """As `get`."""
        if block:
            found, item = await self.actor.get.remote(_checked(timeout))
        else:
            items = await self.actor.get_now.remote(1)
            found, item = items is not None, items and items[0]
        if not found:
            raise Empty
        return item

    def put_nowait(self, item: Any) -> None:
        """As `put` without waiting."""
        self.put_nowait_batch([item])

    def get_nowait(self) -> Any:
        """As `get` without waiting."""
        return self.get_nowait_batch(1)[0]

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Adds all of the items, or none and raises `Full`."""
        if not isinstance(items, Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        if not _api.get(self.actor.put_now.remote(list(items))):
            raise Full

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Takes so many items, or none and raises `Empty`."""
        if isinstance(num_items, bool) or not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        items = _api.get(self.actor.get_now.remote(num_items))
        if items is None:
            raise Empty
        return list(items)

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """Ends the queue's actor: after the calls that it has, or at once with `force`."""
        if self.actor is not None:
            if not force:
                ended = self.actor.__ray_terminate__.remote()
                _api.wait([ended], timeout=grace_period_s)
            actor.kill(self.actor)
        self.actor = None


def _checked(timeout: float | None) -> float | None:
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return timeout
