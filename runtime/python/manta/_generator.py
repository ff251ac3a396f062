"""The values of a generator that runs as a task: references to them, as soon as each is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from manta import _manta
from manta._ids import TaskID


class ObjectRefGenerator:
    """What a remote generator function answers with: an iterator, also with `async for`, over the refs of its values.

    A value that the task has made can be had while the task runs on. When the task fails, `get` of the last ref raises its error.
    """

    def __init__(self, stream: _manta.Stream) -> None:
        self._stream = stream
        self._pending: tuple[_manta.ObjectRef[Any], int] | None = None
        self._over = False
        self._lock = threading.Lock()

    def __iter__(self) -> ObjectRefGenerator:
        return self

    def __next__(self) -> _manta.ObjectRef[Any]:
        with self._lock:
            object_ref = self.expected()
            if object_ref is not None:
                _manta.wait([object_ref], 1, None, False)
                object_ref = self._take()
        if object_ref is None:
            raise StopIteration
        return object_ref

    def __aiter__(self) -> ObjectRefGenerator:
        return self

    async def __anext__(self) -> _manta.ObjectRef[Any]:
        object_ref = self.expected()
        if object_ref is not None:
            from manta import _awaiting  # It needs asyncio, which who comes here has.

            await _awaiting.readiness(object_ref)
            object_ref = self._take()
        if object_ref is None:
            raise StopAsyncIteration
        return object_ref

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._stream.task_id()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an ObjectRefGenerator cannot be sent to another process; pass on the refs that it gives, or run the generator there"
        )

    def _refused(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            "the refs of a generator can only be gone through: it has no send, throw and close"
        )

    send = throw = close = asend = athrow = aclose = _refused

    def completed(self) -> _manta.ObjectRef[Any]:
        """A ref that is ready when the task is over, and fails as the task does."""
        return self._stream.result()

    def is_finished(self) -> bool:
        """Whether all values were taken."""
        return self._over or (self._pending is None and self._ends_here())

    def next_ready(self) -> bool:
        """Whether `next` would answer, or end, at once."""
        object_ref = self.expected()
        return object_ref is None or _manta.wait([object_ref], 1, 0, False)[0]

    def task_id(self) -> TaskID:
        """The id of the task."""
        return TaskID.from_hex(self._stream.task_id())

    def expected(self) -> _manta.ObjectRef[Any] | None:
        """The ref that comes next, which may not be ready, or turn out to be one too many; None after the last."""
        if self._pending is None and not self._over:
            self._pending = self._stream.next()
            self._over = self._pending is None
        return None if self._pending is None else self._pending[0]

    def _take(self) -> _manta.ObjectRef[Any] | None:
        """The expected ref, which is ready; None when it was one too many."""
        if self._pending is None:
            return None
        (object_ref, index), self._pending = self._pending, None
        if self._stream.is_past(index):
            self._over = True
            return None
        return object_ref

    def _ends_here(self) -> bool:
        return self.next_ready() and (self._pending is None or self._stream.is_past(self._pending[1]))


class DynamicObjectRefGenerator:
    """The value of a task with `num_returns="dynamic"`: the refs of all values of its generator, for those who go through them."""

    def __init__(self, refs: list[_manta.ObjectRef[Any]]) -> None:
        self._refs = refs

    def __iter__(self) -> Iterator[_manta.ObjectRef[Any]]:
        while self._refs:
            yield self._refs.pop(0)

    def __len__(self) -> int:
        return len(self._refs)


# The argument under which a task or call with `num_returns="dynamic"` is told who owns its values.
OWNER = "__manta_owner_of_values__"


def own_address() -> tuple[str, str]:
    """This process and its node, as who owns the values of what it submits."""
    context = _manta.context()
    return str(context["worker_id"]), str(context["node_id"])


class Values:
    """What a generator yields with `num_returns="dynamic"`, and the process and node of who owns it."""

    def __init__(self, values: Any, owner: tuple[str, str]) -> None:
        self.values = values
        self.owner = owner

    def check(self, task: _manta.Task, method: str = "__next__") -> None:
        """Raises unless it is a generator."""
        if not hasattr(self.values, method):
            raise ValueError(
                f"the task '{task.name}' has num_returns=\"dynamic\", but returned a {type(self.values).__name__}; "
                "it must be a generator"
            )

    def refs(self, task: _manta.Task, count: int) -> DynamicObjectRefGenerator:
        """The task's result, when so many values were sent."""
        return DynamicObjectRefGenerator(task.item_refs(count, *self.owner))


class Dynamic:
    """A generator function as it runs with `num_returns="dynamic"`: its values go to the owner one by one, and their refs are its value."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.__module__ = function.__module__
        self.__name__ = getattr(function, "__name__", repr(function))
        self.__qualname__ = getattr(function, "__qualname__", self.__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Values:
        owner = kwargs.pop(OWNER)
        return Values(self._function(*args, **kwargs), owner)
