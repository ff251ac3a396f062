"""The values of a generator that runs as a task: references to them, as soon as each is made."""

from __future__ import annotations

import threading
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
