"""`get`, `put`, `wait`, and arrays that are read where they lie."""

from __future__ import annotations

import asyncio
import os
import pickle
import select
import signal
from pathlib import Path

import numpy
import pytest
from conftest import until

import manta
from manta import exceptions

LARGE = 4 * 1024 * 1024


def mapped_file(array: numpy.ndarray) -> str:
    """The file that the array's memory is mapped from; empty when it is ordinary memory."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.split(maxsplit=5)[5] if len(line.split(maxsplit=5)) == 6 else ""
    return ""


def test_large_arrays_are_read_in_shared_memory_without_a_copy(ray):
    stored = ray.put(numpy.arange(LARGE, dtype=numpy.uint8))
    first, second = ray.get([stored, stored])
    assert "manta" in mapped_file(first)
    assert first.__array_interface__["data"][0] % 64 == 0
    assert not first.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
    assert (first == second).all() and first[255] == 255


def test_a_task_reads_the_same_memory_and_returns_large_results(ray):
    @ray.remote
    def plus_one(array):
        return mapped_file_of(array), array + 1

    # By value: a worker cannot import this module.
    mapped_file_of = lambda array: mapped_file(array)  # noqa: E731
    file, result = ray.get(plus_one.remote(ray.put(numpy.zeros(LARGE, dtype=numpy.uint8))))
    assert "manta" in file
    assert result.sum() == LARGE and "manta" in mapped_file(result)


def test_an_array_stays_valid_after_its_ref_is_gone(ray):
    array = ray.get(ray.put(numpy.full(LARGE, 7, dtype=numpy.uint8)))
    for fill in range(3):
        ray.put(numpy.full(LARGE, fill, dtype=numpy.uint8))
    assert (array == 7).all()


def test_arrays_in_containers_and_unusual_layouts(ray):
    matrix = numpy.arange(12.0).reshape(3, 4)
    value = {
        "c": matrix,
        "f": numpy.asfortranarray(matrix),
        "cut": matrix[:, ::2],
        "empty": numpy.empty(0),
        "object": numpy.array([None, "x"]),
    }
    arrived = ray.get(ray.put(value))
    for key, array in value.items():
        assert numpy.array_equal(arrived[key], array), key
        assert arrived[key].dtype == array.dtype


def test_a_large_argument_travels_once_per_call(ray):
    @ray.remote
    def total(array, *, also):
        return int(array.sum()) + int(also.sum())

    ones = numpy.ones(LARGE, dtype=numpy.uint8)
    assert ray.get(total.remote(ones, also=ones)) == 2 * LARGE


def test_get_takes_refs_and_lists_only(ray):
    assert ray.get([]) == []
    for wrong in (1, "ref", None, {"a": 1}):
        with pytest.raises(ValueError, match="ObjectRef"):
            ray.get(wrong)
    with pytest.raises(TypeError, match="item 1 is of type int"):
        ray.get([ray.put(1), 2])


def test_get_times_out_and_works_afterwards(ray, gate):
    @ray.remote
    def blocked(gate):
        gate.wait()
        return "open"

    ref = blocked.remote(gate)
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.2)
    with pytest.raises(TimeoutError):
        ray.get(ref, timeout=0)
    gate.open()
    assert ray.get(ref, timeout=30) == "open"


def test_wait_splits_in_the_order_given(ray, gate):
    @ray.remote
    def blocked(gate):
        gate.wait()

    slow = blocked.remote(gate)
    quick = [ray.put(i) for i in range(3)]
    refs = [quick[0], slow, quick[1], quick[2]]
    assert ray.wait(refs) == ([quick[0]], [slow, quick[1], quick[2]])
    assert ray.wait(refs, num_returns=3) == (quick, [slow])
    assert ray.wait(refs, num_returns=4, timeout=0.1) == (quick, [slow])
    assert ray.wait([slow], timeout=0) == ([], [slow])
    gate.open()
    assert ray.wait(refs, num_returns=4, timeout=30) == (refs, [])


def test_wait_counts_failed_tasks_as_ready(ray):
    failed = ray.remote(lambda: 1 / 0).remote()
    assert ray.wait([failed], timeout=30) == ([failed], [])


def test_wait_refuses_what_makes_no_sense(ray):
    ref = ray.put(1)
    with pytest.raises(TypeError, match="in a list"):
        ray.wait(ref)
    with pytest.raises(ValueError, match="twice"):
        ray.wait([ref, ref])
    with pytest.raises(ValueError, match="1 or more"):
        ray.wait([ref], num_returns=0)
    with pytest.raises(ValueError, match="only 1"):
        ray.wait([ref], num_returns=2)
    with pytest.raises(TypeError, match="ObjectRef"):
        ray.put(ref)


def test_refs_compare_hash_print_and_pickle_by_their_object(ray):
    ref, other = ray.put("a"), ray.put("b")
    copy = pickle.loads(pickle.dumps(ref))
    assert copy == ref and hash(copy) == hash(ref) and ref != other and ref != "a"
    assert ray.get(copy) == "a"
    assert (
        repr(ref) == f"ObjectRef({ref.hex()})"
        and len(ref.hex()) == 40
        and bytes.fromhex(ref.hex()) == ref.binary()
    )
    assert manta.ObjectRef[int] is manta.ObjectRef


def test_refs_can_be_awaited(ray):
    @ray.remote
    def same(x):
        return x

    async def gather():
        values = await asyncio.gather(*(same.remote(i) for i in range(20)))
        with pytest.raises(ZeroDivisionError):
            await ray.remote(lambda: 1 / 0).remote()
        return values

    assert asyncio.run(gather()) == list(range(20))
    assert same.remote(5).future().result(timeout=30) == 5


def test_refs_in_a_list_given_to_put_stay_alive(ray):
    outer = ray.put([ray.put("inner")])
    (inner,) = ray.get(outer)
    del outer
    assert ray.get(inner) == "inner"


def stored_files() -> set[str]:
    """The objects in the store of the private cluster."""
    folder = Path(manta._manta.context()["object_store_address"])
    return {file.name for file in folder.iterdir() if not file.name.startswith(".")}


def test_objects_whose_refs_travelled_are_freed_with_their_last_ref(ray):
    @ray.remote
    def total(refs):
        return int(sum(manta.get(ref).sum() for ref in refs))

    ref = ray.put(numpy.ones(LARGE, dtype=numpy.uint8))
    name = ref.hex()
    assert ray.get(total.remote([ref, ref])) == 2 * LARGE
    assert name in stored_files()
    del ref
    until(lambda: name not in stored_files())


def test_an_actor_keeps_what_it_was_given_until_it_lets_go(ray):
    @ray.remote
    class Keeper:
        def keep(self, refs):
            self.refs = refs

        def total(self):
            return int(manta.get(self.refs[0]).sum())

        def hand_out(self):
            return self.refs

        def let_go(self):
            self.refs = None

    keeper, third = Keeper.remote(), Keeper.remote()
    ref = ray.put(numpy.ones(LARGE, dtype=numpy.uint8))
    name = ref.hex()
    ray.get(keeper.keep.remote([ref]))
    del ref
    assert ray.get(keeper.total.remote()) == LARGE
    # The ref comes back, and goes on to a third process without anybody else keeping it.
    ray.get(third.keep.remote(ray.get(keeper.hand_out.remote())))
    ray.get(keeper.let_go.remote())
    assert ray.get(third.total.remote()) == LARGE
    assert name in stored_files()
    ray.get(third.let_go.remote())
    until(lambda: name not in stored_files())


def test_a_ref_that_a_task_returns_lives_as_long_as_somebody_has_it(ray):
    @ray.remote
    class Owner:
        def make(self):
            return [manta.put(numpy.ones(LARGE, dtype=numpy.uint8))]

    owner = Owner.remote()
    (inner,) = ray.get(owner.make.remote())
    name = inner.hex()
    assert ray.get(inner).sum() == LARGE
    assert name in stored_files()
    del inner
    until(lambda: name not in stored_files())


def test_a_borrower_that_dies_is_subtracted(ray):
    @ray.remote
    class Keeper:
        def keep(self, refs):
            self.refs = refs

    keeper = Keeper.remote()
    ref = ray.put(numpy.ones(LARGE, dtype=numpy.uint8))
    name = ref.hex()
    ray.get(keeper.keep.remote([ref]))
    del ref
    ray.kill(keeper)
    until(lambda: name not in stored_files())


def test_a_ref_that_was_pickled_by_hand_stays_valid(ray):
    pickled = pickle.dumps(ray.put(numpy.ones(LARGE, dtype=numpy.uint8)))
    assert ray.get(ray.put(1)) == 1
    assert ray.get(pickle.loads(pickled)).sum() == LARGE


def test_the_objects_of_a_dead_owner_are_lost_and_the_error_says_so(ray):
    @ray.remote
    class Owner:
        def make(self):
            return os.getpid(), manta.put(numpy.ones(LARGE, dtype=numpy.uint8))

    owner = Owner.remote()
    pid, inner = ray.get(owner.make.remote())
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([ended], [], [], 30)
    os.close(ended)
    with pytest.raises(exceptions.OwnerDiedError, match="the process that owned it ended"):
        ray.get(inner, timeout=30)
