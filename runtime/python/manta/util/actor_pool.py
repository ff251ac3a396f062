"""Spreads work over a fixed set of actors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from manta import _api, _manta

Work = Callable[[Any, Any], "_manta.ObjectRef[Any]"]


class ActorPool:
    """Gives each piece of work to an actor that has none: `pool.map(lambda actor, value: actor.double.remote(value), values)`."""

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: deque[Any] = deque(actors)
        # What runs: the ref of the result, with its place in the order and its actor.
        self._running: dict[_manta.ObjectRef[Any], tuple[int, Any]] = {}
        self._by_place: dict[int, _manta.ObjectRef[Any]] = {}
        self._waiting: deque[tuple[Work, Any]] = deque()
        self._submitted = 0
        self._returned = 0

    def map(self, fn: Work, values: Iterable[Any]) -> Iterator[Any]:
        """The results of the values, in their order. Results of work that was submitted before are dropped."""
        self._begin(fn, values)
        return self._results(self.get_next)

    def map_unordered(self, fn: Work, values: Iterable[Any]) -> Iterator[Any]:
        """The same, in the order in which they are ready."""
        self._begin(fn, values)
        return self._results(self.get_next_unordered)

    def submit(self, fn: Work, value: Any) -> None:
        """Has an idle actor do one piece of work, or the next that is idle."""
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.popleft()
        ref = fn(actor, value)
        self._running[ref] = (self._submitted, actor)
        self._by_place[self._submitted] = ref
        self._submitted += 1

    def has_next(self) -> bool:
        """Whether a result is to come."""
        return bool(self._running)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in the order of submission; `TimeoutError` when it takes longer than `timeout` seconds."""
        if not self.has_next():
            raise StopIteration("No more results to get")
        if self._returned not in self._by_place:
            raise ValueError("get_next() cannot follow get_next_unordered() while work is under way")
        ref = self._by_place[self._returned]
        if not self._is_ready([ref], timeout):
            if not ignore_if_timedout:
                raise TimeoutError("Timed out waiting for result")
            self._take(ref)
            return None
        self._take(ref)
        return _api.get(ref)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Whichever result is ready first; `TimeoutError` when none is within `timeout` seconds."""
        if not self.has_next():
            raise StopIteration("No more results to get")
        ready = self._is_ready(list(self._running), timeout)
        if not ready:
            if ignore_if_timedout:
                return None
            raise TimeoutError("Timed out waiting for result")
        self._take(ready[0])
        return _api.get(ready[0])

    def has_free(self) -> bool:
        """Whether an actor is idle, and no work waits."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any:
        """Takes an idle actor out of the pool; None when there is none."""
        return self._idle.popleft() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Adds an actor."""
        if actor in self._idle or any(actor == busy for _, busy in self._running.values()):
            raise ValueError("Actor already belongs to current ActorPool")
        self._free(actor)

    def _begin(self, fn: Work, values: Iterable[Any]) -> None:
        while self.has_next():
            try:
                self.get_next_unordered(timeout=0)
            except TimeoutError:
                break
        for value in values:
            self.submit(fn, value)

    def _results(self, get_next: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield get_next()

    def _is_ready(
        self, refs: list[_manta.ObjectRef[Any]], timeout: float | None
    ) -> list[_manta.ObjectRef[Any]]:
        return _api.wait(refs, num_returns=1, timeout=timeout)[0]

    def _take(self, ref: _manta.ObjectRef[Any]) -> None:
        place, actor = self._running.pop(ref)
        del self._by_place[place]
        self._returned = max(self._returned, place + 1)
        self._free(actor)

    def _free(self, actor: Any) -> None:
        self._idle.append(actor)
        if self._waiting:
            self.submit(*self._waiting.popleft())
