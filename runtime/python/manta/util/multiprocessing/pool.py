"""A pool of actors with the interface of `multiprocessing.Pool`."""

from __future__ import annotations

import collections
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import TimeoutError
from typing import Any

from manta import _api, _session, actor

__all__ = ["AsyncResult", "IMapIterator", "Pool", "TimeoutError"]

# Chunks of a map for each process, so that one that is slow does not keep the others waiting at the end.
CHUNKS_PER_PROCESS = 4
# Chunks of an imap that are under way for each process: the input may be endless.
AHEAD_PER_PROCESS = 4

_Call = tuple[tuple[Any, ...], dict[str, Any]]


class _PoolActor:
    """One process of a pool."""

    def __init__(self, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]) -> None:
        if initializer is not None:
            initializer(*initargs)

    def ping(self) -> None:
        """Returns when the process is ready."""

    def run_chunk(self, function: Callable[..., Any], chunk: list[_Call]) -> list[tuple[bool, Any]]:
        """Calls the function with each of the arguments; an exception is the result of its own call only."""
        results: list[tuple[bool, Any]] = []
        for args, kwargs in chunk:
            try:
                results.append((True, function(*args, **kwargs)))
            except Exception as error:
                results.append((False, error))
        return results


class AsyncResult:
    """The result of a call that was not waited for."""

    def __init__(
        self,
        refs: list[Any],
        single: bool,
        callback: Callable[[Any], Any] | None,
        error_callback: Callable[[BaseException], Any] | None,
    ) -> None:
        self._refs = refs
        self._single = single
        self._ended = threading.Event()
        self._values: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._collect, args=(callback, error_callback), name="manta-pool-result", daemon=True
        )
        self._thread.start()

    def _collect(
        self, callback: Callable[[Any], Any] | None, error_callback: Callable[[BaseException], Any] | None
    ) -> None:
        try:
            results = list(itertools.chain.from_iterable(_api.get(self._refs)))
            failed = next((value for succeeded, value in results if not succeeded), None)
            if failed is not None:
                raise failed
            values = [value for _, value in results]
            self._values = values[0] if self._single else values
        except BaseException as error:
            self._error = error
        self._refs = []
        self._ended.set()
        if self._error is None:
            if callback is not None:
                callback(self._values)
        elif error_callback is not None:
            error_callback(self._error)

    def wait(self, timeout: float | None = None) -> None:
        """Waits for the result."""
        self._ended.wait(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """The result, or the exception that was raised."""
        if not self._ended.wait(timeout):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._values

    def ready(self) -> bool:
        """Whether the result is there."""
        return self._ended.is_set()

    def successful(self) -> bool:
        """Whether there was no exception; ValueError while that is not known."""
        if not self._ended.is_set():
            raise ValueError(f"{self!r} not ready")
        return self._error is None


class IMapIterator:
    """Results one by one, while more of the input is being worked on."""

    def __init__(
        self, pool: Pool, function: Callable[..., Any], iterable: Iterable[Any], chunksize: int, ordered: bool
    ) -> None:
        self._pool = pool
        self._function = function
        self._chunks = _chunks(((item,), {}) for item in iterable)(chunksize)
        self._ordered = ordered
        self._under_way: collections.deque[Any] = collections.deque()
        self._ready: collections.deque[tuple[bool, Any]] = collections.deque()
        self._lock = threading.Lock()
        self._fill()

    def _fill(self) -> None:
        while len(self._under_way) < AHEAD_PER_PROCESS * len(self._pool._actors):
            chunk = next(self._chunks, None)
            if chunk is None:
                return
            self._under_way.append(self._pool._submit(self._function, chunk))

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result; `TimeoutError` when it takes too long."""
        with self._lock:
            if not self._ready:
                if not self._under_way:
                    raise StopIteration
                candidates = [self._under_way[0]] if self._ordered else list(self._under_way)
                ready, _ = _api.wait(candidates, num_returns=1, timeout=timeout)
                if not ready:
                    raise TimeoutError
                self._under_way.remove(ready[0])
                self._ready.extend(_api.get(ready[0]))
                self._fill()
            succeeded, value = self._ready.popleft()
        if not succeeded:
            raise value
        return value


def _chunks(calls: Iterable[_Call]) -> Callable[[int], Iterator[list[Any]]]:
    def cut(size: int) -> Iterator[list[Any]]:
        iterator = iter(calls)
        while chunk := list(itertools.islice(iterator, size)):
            yield chunk

    return cut


class Pool:
    """A pool of processes on the cluster.

    Args:
        processes: How many; as many as the cluster has CPUs when left out.
        initializer: Called in each process when it starts.
        initargs: Its arguments.
        maxtasksperchild: A process is replaced after so many chunks of work.
        context: Taken for the sake of the interface, without effect.
        ray_address: The cluster to connect to, unless this program is connected.
        ray_remote_args: Options of the actors, such as num_cpus.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        del context
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be callable")
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild < 1):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if not _session.is_initialized():
            _session.init(address=ray_address or os.environ.get("RAY_ADDRESS"))
        self._initializer, self._initargs = initializer, tuple(initargs or ())
        self._most_calls = maxtasksperchild
        self._remote_args = dict(ray_remote_args or {})
        count = self._checked_count(processes)
        self._closed = self._terminated = False
        self._lock = threading.Lock()
        self._actors = [self._new_actor() for _ in range(count)]
        self._calls = [0] * count
        self._turn = 0
        self._pending: list[Any] = []
        _api.get([handle.ping.remote() for handle in self._actors])

    @staticmethod
    def _checked_count(processes: int | None) -> int:
        cpus = int(_api.cluster_resources().get("CPU", 0))
        if processes is None:
            return max(cpus, 1)
        if isinstance(processes, bool) or not isinstance(processes, int):
            raise TypeError(f"'processes' must be a whole number, not {type(processes).__name__}")
        if processes <= 0:
            raise ValueError("Processes in the pool must be >0.")
        if cpus < processes:
            raise ValueError(
                f"Tried to start a pool with {processes} processes on an existing ray cluster, "
                f"but there are only {cpus} CPUs in the ray cluster."
            )
        return processes

    def _new_actor(self) -> Any:
        options = {"num_cpus": 1, **self._remote_args}
        return actor.make_actor_class(_PoolActor, options).remote(self._initializer, self._initargs)

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")

    def _submit(self, function: Callable[..., Any], chunk: list[Any]) -> Any:
        with self._lock:
            index = self._turn
            self._turn = (self._turn + 1) % len(self._actors)
            if self._most_calls is not None and self._calls[index] >= self._most_calls:
                # It ends when its calls have ended and nobody holds it any more.
                self._actors[index], self._calls[index] = self._new_actor(), 0
            self._calls[index] += 1
            ref = self._actors[index].run_chunk.remote(function, chunk)
            self._pending.append(ref)
            if len(self._pending) > 1000:
                self._pending = _api.wait(self._pending, num_returns=len(self._pending), timeout=0)[1]
        return ref

    def _start(
        self,
        function: Callable[..., Any],
        calls: list[_Call],
        chunksize: int | None,
        single: bool = False,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> AsyncResult:
        self._check_running()
        size = self._chunksize(chunksize, len(calls))
        refs = [self._submit(function, chunk) for chunk in _chunks(calls)(size)]
        return AsyncResult(refs, single, callback, error_callback)

    def _chunksize(self, chunksize: int | None, count: int) -> int:
        if chunksize is not None:
            if isinstance(chunksize, bool) or not isinstance(chunksize, int) or chunksize < 1:
                raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
            return chunksize
        return max(1, -(-count // (len(self._actors) * CHUNKS_PER_PROCESS)))

    def apply(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Calls the function in one of the processes."""
        return self.apply_async(func, args, kwargs).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> AsyncResult:
        """The same without waiting."""
        return self._start(func, [(tuple(args or ()), dict(kwargs or {}))], 1, True, callback, error_callback)

    def map(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Calls the function with each item; the results in their order."""
        result: list[Any] = self.map_async(func, iterable, chunksize).get()
        return result

    def map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> AsyncResult:
        """The same without waiting."""
        calls: list[_Call] = [((item,), {}) for item in iterable]
        return self._start(func, calls, chunksize, False, callback, error_callback)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """Calls the function with each item as its arguments."""
        result: list[Any] = self.starmap_async(func, iterable, chunksize).get()
        return result

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> AsyncResult:
        """The same without waiting."""
        calls: list[_Call] = [(tuple(item), {}) for item in iterable]
        return self._start(func, calls, chunksize, False, callback, error_callback)

    def imap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> IMapIterator:
        """The results one by one, in the order of the items."""
        self._check_running()
        return IMapIterator(self, func, iterable, self._chunksize(chunksize or 1, 0), ordered=True)

    def imap_unordered(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> IMapIterator:
        """The results one by one, as they come."""
        self._check_running()
        return IMapIterator(self, func, iterable, self._chunksize(chunksize or 1, 0), ordered=False)

    def close(self) -> None:
        """Takes no more work; what was given is done."""
        self._closed = True

    def terminate(self) -> None:
        """Ends the processes at once."""
        self._closed = self._terminated = True
        for handle in self._actors:
            actor.kill(handle)

    def join(self) -> None:
        """Waits until all work is done, after `close` or `terminate`."""
        if not self._closed:
            raise ValueError("Pool is still running")
        if not self._terminated:
            with self._lock:
                pending = list(self._pending)
            if pending:
                _api.wait(pending, num_returns=len(pending))

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *error: object) -> None:
        self.terminate()

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")
