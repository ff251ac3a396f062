"""Objects that do not fit into shared memory: spilled to disk, read back, and lost when the disk loses them."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
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


FULL_DISK = """
import json, os, pathlib, subprocess, sys
import numpy, manta
from manta.exceptions import OutOfDiskError
from manta.util.scheduling_strategies import NodeAffinitySchedulingStrategy as At

MIB, RUNS = 1024 * 1024, sys.argv[1]
command = [os.environ["MANTA_BIN"], "local", "--nodes", "2", "--num-cpus", "2", "--object-store-memory", str(32 * MIB)]
cluster = subprocess.Popen([*command, "--lifeline-stdin", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
started = json.loads(cluster.stdout.readline())
os.environ["MANTA_TOKEN"] = started["token"]
manta.init(started["address"])
me = manta.get_runtime_context().get_node_id()
(other,) = [node["NodeID"] for node in manta.nodes() if node["NodeID"] != me]
folder = pathlib.Path(manta._manta.context()["object_spilling_directory"])
folder.mkdir(parents=True, exist_ok=True)
# The nodes see it too: they were started in this mount namespace.
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], check=True)


def array(fill):
    return numpy.full(10 * MIB, fill, dtype=numpy.uint8)


@manta.remote
def make(fill):
    with open(RUNS, "a") as runs:
        runs.write(f"{fill} ")
    return array(fill)


@manta.remote
def pieces(count):
    for fill in range(count):
        yield array(fill)


@manta.remote
class Maker:
    def make(self, fill):
        return array(fill)


@manta.remote
def first(value):
    return int(value[0])


def outcome(get):
    try:
        return int(get())
    except OutOfDiskError:
        return "full"


def got(refs):
    return [outcome(lambda ref=ref: manta.get(ref, timeout=60)[0]) for ref in refs]


here, there = At(me, soft=False), At(other, soft=False)
seen = {}
refs = [make.options(scheduling_strategy=here).remote(fill) for fill in range(6)]
seen["tasks"] = got(refs)
refs = [Maker.options(scheduling_strategy=here).remote().make.remote(fill) for fill in range(6)]
seen["calls"] = got(refs)
refs = list(pieces.options(scheduling_strategy=here).remote(6))
seen["values"] = got(refs)
del refs
seen["puts"], refs = [], []
for fill in range(6):
    seen["puts"].append(outcome(lambda: refs.append(manta.put(array(fill))) or fill))
held = [manta.get(ref) for ref in refs]
# There is no room for a copy of what lies on the other node. It stays there, and is not made again.
far = make.options(scheduling_strategy=there).remote(77)
seen["far"] = got([far])
seen["argument"] = outcome(lambda: manta.get(first.options(scheduling_strategy=here).remote(far), timeout=60))
seen["there"] = outcome(lambda: manta.get(first.options(scheduling_strategy=there).remote(far), timeout=60))
del held, refs
seen["later"] = got([far])
print(json.dumps(seen))
manta.shutdown()
cluster.communicate()
"""


def test_a_full_disk_is_an_error_of_what_needs_it(tmp_path: Path) -> None:
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run(
        [*private, "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True
    ).returncode:
        pytest.skip("a user may mount nothing here, so there is no small disk")
    program, runs = tmp_path / "full.py", tmp_path / "runs"
    program.write_text(FULL_DISK)
    done = subprocess.run(
        [*private, sys.executable, str(program), str(runs)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["tasks"].count("full") <= 3, seen
    for kind in ("tasks", "calls", "values", "puts"):
        assert "full" in seen[kind], seen
        assert all(fill in (index, "full") for index, fill in enumerate(seen[kind])), seen
    assert seen["far"] == ["full"] and seen["argument"] == "full"
    assert seen["there"] == 77 and seen["later"] == [77]
    assert runs.read_text().split().count("77") == 1
