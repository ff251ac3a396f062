"""Results whose only copies went with a node: their tasks run again, where that is possible."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator

import numpy
import pytest
from conftest import until

import manta
from manta import exceptions
from manta.util import state
from manta.util.scheduling_strategies import NodeAffinitySchedulingStrategy

BYTES = 1024 * 1024


class Processes:
    """A head and two nodes, a process each."""

    def __init__(self) -> None:
        self.environment = {**os.environ, "MANTA_TOKEN": secrets.token_hex(16)}
        self.running: list[subprocess.Popen[str]] = []
        self.address = self._start("head", "--listen", "127.0.0.1:0")["address"]
        for _ in range(2):
            self.add_node(1)

    def _start(self, *command: str) -> dict[str, str]:
        process = subprocess.Popen(
            [os.environ["MANTA_BIN"], *command], stdout=subprocess.PIPE, text=True, env=self.environment
        )
        self.running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"'manta {command[0]}' ended with {process.wait()}"
        started: dict[str, str] = json.loads(line)
        return started

    def add_node(self, cpus: int) -> None:
        self._start("node", "--address", self.address, "--num-cpus", str(cpus))

    def drain(self, number: int) -> None:
        """Has a node leave in order, and waits until it has."""
        command = [os.environ["MANTA_BIN"], "drain-node", "--address", self.address]
        reason = ["--node-id", f"node-{number}", "--reason", "the test wants it so"]
        subprocess.run([*command, *reason], env=self.environment, check=True, timeout=60)
        assert self.running[number].wait(timeout=60) == 0

    def kill_second_node(self) -> None:
        """kill -9, and waits until it is gone."""
        self.running[2].send_signal(signal.SIGKILL)
        self.running[2].wait()

    def close(self) -> None:
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            process.wait(timeout=30)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """The cluster, and this process as a driver on its first node."""
    processes = Processes()
    monkeypatch.setenv("MANTA_TOKEN", processes.environment["MANTA_TOKEN"])
    manta.init(address=processes.address)
    yield processes
    manta.shutdown()
    processes.close()


def on_second() -> NodeAffinitySchedulingStrategy:
    """The second node, while it is there."""
    (second,) = (node["NodeID"] for node in manta.nodes() if node["NodeName"] == "node-2")
    return NodeAffinitySchedulingStrategy(second, soft=True)


def test_results_that_went_with_their_node_are_made_again(cluster):
    @manta.remote
    def make(fill):
        return numpy.full(BYTES, fill, dtype=numpy.uint8)

    @manta.remote
    def plus_one(array):
        return array + 1

    there = {"scheduling_strategy": on_second()}
    kept = [make.options(**there).remote(fill) for fill in range(3)]
    # Nobody has refs of what these were made from.
    derived = [plus_one.options(**there).remote(make.options(**there).remote(fill)) for fill in range(3)]
    ready, _ = manta.wait(kept + derived, num_returns=6, timeout=60, fetch_local=False)
    assert len(ready) == 6
    cluster.kill_second_node()
    for fill in range(3):
        assert (manta.get(kept[fill], timeout=60) == fill).all()
        assert (manta.get(derived[fill], timeout=60) == fill + 1).all()
    # As arguments too.
    assert (manta.get(plus_one.remote(kept[1]), timeout=60) == 2).all()


def test_a_task_without_retries_is_not_run_again_and_the_error_says_so(cluster):
    @manta.remote(max_retries=0)
    def make():
        return numpy.zeros(BYTES, dtype=numpy.uint8)

    @manta.remote
    def put_there():
        return [manta.put(numpy.zeros(BYTES, dtype=numpy.uint8))]

    @manta.remote
    def size(array):
        return len(array)

    there = {"scheduling_strategy": on_second()}
    ref = make.options(**there).remote()
    (put,) = manta.get(put_there.options(**there).remote(), timeout=60)
    manta.wait([ref], timeout=60, fetch_local=False)
    cluster.kill_second_node()
    with pytest.raises(exceptions.ObjectReconstructionFailedError, match="max_retries=0"):
        manta.get(ref, timeout=60)
    with pytest.raises(exceptions.ObjectLostError):
        manta.get(size.remote(ref), timeout=60)
    with pytest.raises(exceptions.OwnerDiedError):
        manta.get(put, timeout=60)


def test_arguments_that_are_lost_before_their_task_runs_are_made_again(cluster):
    @manta.remote
    def make(fill):
        return numpy.full(BYTES, fill, dtype=numpy.uint8)

    @manta.remote
    def total(*arrays):
        return int(sum(array[0] for array in arrays))

    there = {"scheduling_strategy": on_second()}
    refs = [make.options(**there).remote(fill) for fill in range(4)]
    manta.wait(refs, num_returns=4, timeout=60, fetch_local=False)
    cluster.kill_second_node()
    assert manta.get(total.remote(*refs), timeout=60) == 6


def test_values_of_generators_and_calls_that_went_with_their_node_are_made_again(cluster):
    @manta.remote
    def give(count):
        for fill in range(count):
            yield numpy.full(BYTES, fill, dtype=numpy.uint8)

    @manta.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Maker:
        def make(self, fill):
            return numpy.full(BYTES, fill, dtype=numpy.uint8)

    there = {"scheduling_strategy": on_second()}
    given = list(give.options(**there).remote(3))
    maker = Maker.options(**there).remote()
    made = [maker.make.remote(fill) for fill in range(3)]
    manta.wait(given + made, num_returns=6, timeout=60, fetch_local=False)
    cluster.kill_second_node()
    for fill in range(3):
        assert (manta.get(given[fill], timeout=60) == fill).all()
        assert (manta.get(made[fill], timeout=60) == fill).all()


def test_values_of_a_dynamic_generator_are_the_submitters_and_are_made_again(cluster):
    @manta.remote(num_returns="dynamic")
    def give(count):
        for fill in range(count):
            yield numpy.full(BYTES, fill, dtype=numpy.uint8)

    @manta.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Maker:
        @manta.method(num_returns="dynamic")
        def make(self, count):
            yield from (numpy.full(BYTES, fill, dtype=numpy.uint8) for fill in range(count))

        def pid(self):
            return os.getpid()

    @manta.remote
    def add_up(values):
        return sum(int(manta.get(ref)[0]) for ref in values)

    there = {"scheduling_strategy": on_second()}
    maker = Maker.options(**there).remote()
    given, made = give.options(**there).remote(3), maker.make.remote(3)
    kept = [list(manta.get(ref, timeout=60)) for ref in (given, made)]
    os.kill(manta.get(maker.pid.remote()), signal.SIGKILL)
    for refs in kept:
        assert [int(value[0]) for value in manta.get(refs, timeout=60)] == [0, 1, 2], (
            "they outlive their worker"
        )
    cluster.kill_second_node()
    for refs in kept:
        for fill, ref in enumerate(refs):
            assert (manta.get(ref, timeout=60) == fill).all()
    assert manta.get(add_up.remote(manta.get(given)), timeout=60) == 3
    del given, made, kept, refs, ref
    until(lambda: not [row for row in state.list_objects() if (row.object_size or 0) >= BYTES])


def test_objects_of_nodes_that_were_drained_are_moved(cluster):
    @manta.remote(max_retries=0)
    def make(fill):
        return numpy.full(BYTES, fill, dtype=numpy.uint8)

    @manta.remote
    def first(array):
        return int(array[0])

    # More than the driver's node has, so that it takes over.
    cluster.add_node(4)
    refs = [make.options(scheduling_strategy=on_second()).remote(fill) for fill in range(6)]
    manta.wait(refs, num_returns=6, timeout=60, fetch_local=False)
    cluster.drain(2)
    assert manta.get([first.remote(ref) for ref in refs[:2]], timeout=60) == [0, 1]
    assert [int(array[0]) for array in manta.get(refs[2:4], timeout=60)] == [2, 3]
    cluster.drain(3)
    assert [int(array[0]) for array in manta.get(refs, timeout=60)] == list(range(6))

    # A node that comes now was there for none of it, and only the heir can tell it.
    cluster.add_node(8)
    newest = max(manta.nodes(), key=lambda node: node["Resources"].get("CPU", 0) if node["Alive"] else 0)
    there = NodeAffinitySchedulingStrategy(newest["NodeID"], soft=False)
    at_newest = first.options(scheduling_strategy=there)
    assert manta.get([at_newest.remote(ref) for ref in refs], timeout=60) == list(range(6))
