"""Values on their way to another language and back, and what is refused before it leaves. Calls are in the end-to-end tests."""

from __future__ import annotations

from typing import Any

import pytest

import manta
from manta import _manta


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1,
        2**63 - 1,
        2**64 - 1,
        -(2**63),
        0.5,
        float("inf"),
        "",
        "é" * 300,
        b"",
        b"x" * 70_000,
        [],
        [1, [2, [3]]],
        {"a": {"b": [None]}, 1: 2, "c": b"d"},
        list(range(70_000)),
        {str(number): number for number in range(70_000)},
    ],
)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert _manta.msgpack_loads(_manta.msgpack_dumps(value)) == value


def test_tuples_come_back_as_lists_and_as_keys_as_tuples() -> None:
    assert _manta.msgpack_loads(_manta.msgpack_dumps((1, (2,)))) == [1, [2]]
    assert _manta.msgpack_loads(_manta.msgpack_dumps({(1, 2): 3})) == {(1, 2): 3}


@pytest.mark.parametrize(
    ("value", "place", "kind"),
    [
        ({"a": [1, {2}]}, "at ['a'][1],", "set"),
        ([object()], "at [0],", "object"),
        (2**64, "the value is", "beyond 64 bits"),
        ([len], "at [0],", "builtin_function_or_method"),
    ],
)
def test_what_cannot_go_is_refused_with_its_place(value: Any, place: str, kind: str) -> None:
    with pytest.raises(TypeError) as raised:
        _manta.msgpack_dumps(value)
    assert place in str(raised.value) and kind in str(raised.value)


def test_a_value_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="levels deep"):
        _manta.msgpack_dumps(endless)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x93\x01", b"\xa5ab", b"\x01\x02", b"\xc7\x01\x63x", b"\x91" * 1000]
)
def test_damaged_values_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        _manta.msgpack_loads(data)


def test_refs_and_handles_come_back(ray: Any) -> None:
    class Counter:
        def add(self, by: int) -> int:
            return by + 1

    actor = ray.remote(Counter).remote()
    put = ray.put("x")
    ref, handle = _manta.msgpack_loads(_manta.msgpack_dumps([put, actor]))
    assert ref == put and ray.get(ref) == "x"
    assert ray.get(handle.add.remote(1)) == 2
    assert handle == actor


def test_an_arrow_table_goes_as_a_stream() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": [1, 2, 3], "b": ["x", "y", None]})
    stream = _manta.msgpack_loads(_manta.msgpack_dumps(table))
    assert pyarrow.ipc.open_stream(stream).read_all().equals(table)


def test_what_is_given_is_checked_at_once() -> None:
    with pytest.raises(ValueError, match="no Rust path"):
        manta.rust_function("resize")
    with pytest.raises(TypeError, match="a Rust path is text"):
        manta.rust_function(1)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="build it"):
        manta.rust_actor_class("images::Counter", binary="/nowhere/images")
    with pytest.raises(ValueError, match="'colour' is not an option"):
        manta.rust_function("images::resize").options(colour=1)
    with pytest.raises(TypeError, match="call .remote"):
        manta.rust_function("images::resize")()
