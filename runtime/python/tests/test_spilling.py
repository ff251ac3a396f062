"""Objects that do not fit into shared memory: spilled to disk, read back, and lost when the disk loses them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from conftest import until

import manta
from manta import exceptions

MIB = 1024 * 1024
STORE_BYTES = 64 * MIB
ARRAY_BYTES = 12 * MIB


@pytest.fixture(scope="module")
def ray() -> Iterator[object]:
    """A private cluster with a small store."""
    manta.init(num_cpus=2, object_store_memory=STORE_BYTES)
    yield manta
    manta.shutdown()


def store_dir() -> Path:
    return Path(manta._manta.context()["object_store_address"])


def spill_dir() -> Path:
    return Path(manta._manta.context()["object_spilling_directory"])


def in_memory() -> int:
    """Bytes of all files in the store."""
    total = 0
    for file in store_dir().iterdir():
        try:
            total += file.stat().st_blocks * 512
        except FileNotFoundError:
            continue  # It was freed meanwhile.
    return total


def spilled() -> set[str]:
    """The objects there. For a moment each has a second, hidden name."""
    files = spill_dir().iterdir() if spill_dir().is_dir() else ()
    return {file.name for file in files if not file.name.startswith(".")}


def array(fill: int) -> numpy.ndarray:
    return numpy.full(ARRAY_BYTES, fill, dtype=numpy.uint8)


def all_gone() -> bool:
    gc.collect()
    return not spilled() and not [file for file in store_dir().iterdir() if not file.name.startswith(".")]


def test_more_than_fits_is_spilled_and_read_back(ray):
    refs = [ray.put(array(fill)) for fill in range(20)]
    assert spilled()
    assert in_memory() <= STORE_BYTES + MIB
    for _ in range(2):
        for fill, ref in enumerate(refs):
            read = ray.get(ref)
            assert read[0] == fill and (read == fill).all()
            del read
    assert in_memory() <= STORE_BYTES + MIB
    del refs, ref
    until(all_gone)


def test_tasks_take_and_return_more_than_fits(ray):
    @ray.remote
    def make(fill):
        return numpy.full(ARRAY_BYTES, fill, dtype=numpy.uint8)

    @ray.remote
    def first_of(*arrays):
        return [int(one[0]) for one in arrays]

    refs = [make.remote(fill) for fill in range(16)]
    ready, _ = ray.wait(refs, num_returns=16, timeout=60)
    assert len(ready) == 16 and spilled()
    starts = [first_of.remote(refs[index], refs[15 - index]) for index in range(16)]
    assert ray.get(starts, timeout=60) == [[index, 15 - index] for index in range(16)]
    del refs, ready, starts
    until(all_gone)


def test_what_is_being_read_stays_and_the_rest_goes_to_disk(ray):
    refs = [ray.put(array(fill)) for fill in range(5)]
    # Nearly all of the store is mapped: what comes now has no place in it, and is written to disk at once.
    read = ray.get(refs)
    more = [ray.put(array(100 + fill)) for fill in range(2)]
    assert len(spilled()) == 2
    assert in_memory() <= STORE_BYTES + MIB
    assert [int(one[0]) for one in ray.get(more)] == [100, 101]
    assert all((one == fill).all() for fill, one in enumerate(read))
    del read, refs, more
    until(all_gone)


def test_what_can_never_fit_is_refused_with_a_sentence(ray):
    with pytest.raises(exceptions.ObjectStoreFullError, match="can never fit"):
        ray.put(numpy.zeros(2 * STORE_BYTES, dtype=numpy.uint8))

    @ray.remote
    def too_much():
        return numpy.zeros(2 * STORE_BYTES, dtype=numpy.uint8)

    with pytest.raises(exceptions.ObjectStoreFullError, match="can never fit"):
        ray.get(too_much.remote(), timeout=60)


def damage_all() -> None:
    for file in map(spill_dir().joinpath, spilled()):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


def test_a_damaged_file_is_made_again_by_its_task(ray):
    @ray.remote
    def make(fill):
        return numpy.full(ARRAY_BYTES, fill, dtype=numpy.uint8)

    @ray.remote
    def double(one):
        return one * 2

    refs = [make.remote(fill) for fill in range(10)]
    doubles = [double.remote(ref) for ref in refs]
    ray.wait(doubles, num_returns=10, timeout=60, fetch_local=False)
    assert spilled()
    damage_all()
    for fill, (ref, twice) in enumerate(zip(refs, doubles, strict=True)):
        assert (ray.get(ref, timeout=60) == fill).all()
        assert (ray.get(twice, timeout=60) == 2 * fill).all()
    del refs, doubles, ref, twice
    until(all_gone)


def test_a_deleted_file_of_a_value_that_was_put_is_an_error_that_says_so(ray):
    refs = [ray.put(array(fill)) for fill in range(10)]
    lost = spilled()
    for name in lost:
        (spill_dir() / name).unlink()
    errors = 0
    for fill, ref in enumerate(refs):
        if ref.hex() in lost:
            with pytest.raises(exceptions.ObjectReconstructionFailedError, match=r"made by put\(\)"):
                ray.get(ref, timeout=60)
            errors += 1
        else:
            assert ray.get(ref, timeout=60)[0] == fill
    assert errors == len(lost) > 0

    @ray.remote
    def takes(one):
        return int(one[0])

    doomed = next(ref for ref in refs if ref.hex() in lost)
    with pytest.raises(exceptions.ObjectLostError):
        ray.get(takes.remote(doomed), timeout=60)


def test_the_limit_is_checked():
    for wrong, error in (("big", TypeError), (True, TypeError), (1000, ValueError)):
        with pytest.raises(error, match="object_store_memory"):
            manta.init(object_store_memory=wrong)
