"""Ids as types, under Ray's names. Where the API answers with an id, it is text in hexadecimal digits; these wrap it."""

from __future__ import annotations

import builtins
import os
from typing import Any, Self


class BaseID:
    """An id: some bytes."""

    BYTES = 16

    __slots__ = ("_binary",)

    def __init__(self, binary: bytes) -> None:
        if not isinstance(binary, bytes):
            raise TypeError(f"Expected bytes, got {type(binary).__name__}")
        if len(binary) != self.BYTES:
            raise ValueError(f"an id of this kind has {self.BYTES} bytes, and {binary!r} has {len(binary)}")
        self._binary = binary

    @classmethod
    def from_hex(cls, digits: str | bytes) -> Self:
        """From hexadecimal digits."""
        return cls(bytes.fromhex(digits if isinstance(digits, str) else digits.decode()))

    @classmethod
    def from_binary(cls, binary: bytes) -> Self:
        """From bytes."""
        return cls(binary)

    @classmethod
    def from_random(cls) -> Self:
        """A new one."""
        return cls(os.urandom(cls.BYTES))

    @classmethod
    def nil(cls) -> Self:
        """The one that stands for none."""
        return cls(b"\xff" * cls.BYTES)

    @classmethod
    def size(cls) -> int:
        """How many bytes it has."""
        return cls.BYTES

    def binary(self) -> bytes:
        """The bytes."""
        return self._binary

    def hex(self) -> str:
        """Hexadecimal digits."""
        return self._binary.hex()

    def is_nil(self) -> bool:
        """Whether it stands for none."""
        return self == self.nil()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, BaseID) and self._binary == other._binary

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._binary))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __bytes__(self) -> bytes:
        return self._binary

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._binary,)


class UniqueID(BaseID):
    """An id of no special kind."""

    __slots__ = ()


class JobID(BaseID):
    """Of a job."""

    __slots__ = ()

    @classmethod
    def from_int(cls, number: builtins.int) -> JobID:
        """The one of this number. The cluster's own jobs have random ids."""
        return cls(number.to_bytes(cls.BYTES, "big"))

    def int(self) -> builtins.int:
        """The id as a number."""
        return builtins.int.from_bytes(self._binary, "big")


class NodeID(BaseID):
    """Of a node."""

    __slots__ = ()


class TaskID(BaseID):
    """Of a task."""

    __slots__ = ()


class WorkerID(BaseID):
    """Of a worker or driver."""

    __slots__ = ()


class ActorID(BaseID):
    """Of an actor."""

    __slots__ = ()


class FunctionID(BaseID):
    """Of a function's code."""

    __slots__ = ()


class ActorClassID(BaseID):
    """Of an actor class's code."""

    __slots__ = ()


class ClusterID(BaseID):
    """Of a cluster."""

    __slots__ = ()


class PlacementGroupID(BaseID):
    """Of a placement group."""

    __slots__ = ()
