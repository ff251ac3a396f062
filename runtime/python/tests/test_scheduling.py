"""Where tasks run: resources, GPUs, strategies and labels, on clusters of real nodes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest
from conftest import until

import manta
from manta.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
)

SECONDS = 60


class Cluster:
    """A head with one node, and further nodes with resources and labels of their own."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        started = self._start("local", "--num-cpus", "2", "--labels", "zone=a", "--lifeline-stdin", "--json")
        self.address = started["address"]
        self.environment = {"MANTA_ADDRESS": started["address"], "MANTA_TOKEN": started["token"]}

    def add(self, *arguments: str) -> None:
        """Adds a node; it is part of the cluster when this returns."""
        self._start("node", *arguments)

    def _start(self, *arguments: str) -> dict[str, str]:
        environment = {**os.environ, **getattr(self, "environment", {})}
        process = subprocess.Popen(
            [os.environ["MANTA_BIN"], *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"'manta {arguments[0]}' ended with {process.wait()}"
        ready: dict[str, str] = json.loads(line)
        return ready

    def close(self) -> None:
        """Ends all of it, the head last."""
        for process in reversed(self._processes[1:]):
            process.terminate()
            process.communicate(timeout=SECONDS)
        self._processes[0].communicate(timeout=SECONDS)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """node-1 with two CPUs in zone a, node-2 with two CPUs and a thing in zone b; this program is connected."""
    made = Cluster()
    made.add("--num-cpus", "2", "--resources", '{"thing": 1}', "--labels", "zone=b,kind=big")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        manta.init()
        yield made
        manta.shutdown()
    made.close()


@pytest.fixture
def gpus() -> Iterator[None]:
    """A private cluster of four CPUs that is told to have two GPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        manta.init(num_cpus=4, num_gpus=2, resources={"disk": 1.5}, labels={"kind": "fast"})
        yield
        manta.shutdown()


def node_ids() -> dict[str, str]:
    return {node["NodeName"]: node["NodeID"] for node in manta.nodes()}


@manta.remote
def where() -> str:
    return manta.get_runtime_context().get_node_id()


def run_on(**options: object) -> str:
    node: str = manta.get(where.options(**options).remote(), timeout=SECONDS)
    return node


def test_workers_see_the_gpus_that_their_tasks_took(gpus, gate, tmp_path):
    @manta.remote(num_gpus=1)
    def whole(gate, mark: str) -> tuple[list[int | str], str]:
        with open(mark, "w"):
            gate.wait()
        return manta.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]

    marks = [tmp_path / name for name in ("first", "second")]
    refs = [whole.remote(gate, str(mark)) for mark in marks]
    # Both run at once, so neither can take the other's device when that one is done.
    until(lambda: all(mark.exists() for mark in marks))
    gate.open()
    seen = manta.get(refs, timeout=SECONDS)
    assert sorted(seen) == [([0], "0"), ([1], "1")]

    @manta.remote(num_gpus=2)
    def both() -> dict[str, list[str]]:
        return manta.get_runtime_context().get_accelerator_ids()

    assert manta.get(both.remote(), timeout=SECONDS) == {"GPU": ["0", "1"]}

    @manta.remote
    def none() -> tuple[list[int | str], str | None]:
        return manta.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

    assert manta.get(none.remote(), timeout=SECONDS) == ([], "")


def test_shares_of_a_gpu_are_shares_of_the_same_one(gpus, tmp_path):
    @manta.remote(num_gpus=0.5)
    def half(mine: str, other: str) -> list[int | str]:
        open(mine, "w").close()
        while not os.path.exists(other):  # Both run at the same time, or neither ends.
            os.sched_yield()
        return manta.get_gpu_ids()

    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert manta.get([half.remote(a, b), half.remote(b, a)], timeout=SECONDS) == [[0], [0]]


def test_a_private_cluster_has_what_init_says(gpus):
    total = manta.cluster_resources()
    assert (total["CPU"], total["GPU"], total["disk"]) == (4, 2, 1.5)
    assert total["memory"] > 2**20
    [node] = manta.nodes()
    assert node["Labels"] == {"kind": "fast", "ray.io/node-id": node["NodeID"]}

    @manta.remote(memory=2**20, resources={"disk": 0.5})
    def needs() -> float:
        return 1

    assert manta.get(needs.remote(), timeout=SECONDS) == 1
    with pytest.raises(manta.exceptions.TaskUnschedulableError, match="has memory .* GiB; ask for less"):
        manta.get(needs.options(memory=2**50 // 10).remote(), timeout=SECONDS)


@pytest.mark.parametrize("option", [{"accelerator_type": "A100"}, {"num_gpus": 1}, {"num_gpus": 0.5}])
def test_a_node_without_gpus_refuses_at_once(cluster, option):
    with pytest.raises(manta.exceptions.TaskUnschedulableError, match="node-1 has no .*; node-2 has no "):
        run_on(**option)


def test_spread_uses_all_nodes(cluster, gate, tmp_path):
    @manta.remote(scheduling_strategy="SPREAD")
    def spread(gate, mark: str) -> str:
        with open(mark, "w"):
            gate.wait()
        return manta.get_runtime_context().get_node_id()

    marks = [tmp_path / name for name in ("first", "second")]
    refs = [spread.remote(gate, str(mark)) for mark in marks]
    # Both run at once, so neither can follow the other on one node's worker.
    until(lambda: all(mark.exists() for mark in marks))
    gate.open()
    assert set(manta.get(refs, timeout=SECONDS)) == set(node_ids().values())


def test_an_affinity_goes_to_its_node_even_when_another_is_nearer(cluster):
    for node in node_ids().values():
        for soft in (False, True):
            strategy = NodeAffinitySchedulingStrategy(node_id=node, soft=soft)
            assert run_on(scheduling_strategy=strategy) == node


def test_an_affinity_to_a_node_that_is_not_there(cluster):
    nobody = "0123456789abcdef" * 2
    soft = NodeAffinitySchedulingStrategy(nobody, soft=True)
    assert run_on(scheduling_strategy=soft) in node_ids().values()
    with pytest.raises(manta.exceptions.TaskUnschedulableError, match="no such node is in the cluster"):
        run_on(scheduling_strategy=NodeAffinitySchedulingStrategy(nobody, soft=False))


def test_a_hard_affinity_waits_for_room_on_its_node(cluster, gate, tmp_path):
    mark = tmp_path / "held"
    here = NodeAffinitySchedulingStrategy(node_ids()["node-2"], soft=False)

    @manta.remote(num_cpus=2, scheduling_strategy=here)
    def hold(gate, mark: str) -> None:
        with open(mark, "w"):
            gate.wait()

    held = hold.remote(gate, str(mark))
    until(mark.exists)
    waits = where.options(num_cpus=2, scheduling_strategy=here).remote()
    # Others find room meanwhile.
    assert run_on() == node_ids()["node-1"]
    assert manta.wait([waits], timeout=0.2)[0] == []
    gate.open()
    manta.get(held, timeout=SECONDS)
    assert manta.get(waits, timeout=SECONDS) == node_ids()["node-2"]


def test_labels_choose_nodes(cluster):
    nodes = node_ids()
    for selector, node in (
        ({"zone": "b"}, "node-2"),
        ({"zone": "!b"}, "node-1"),
        ({"zone": "in(b, c)"}, "node-2"),
        ({"zone": "!in(b, c)", "kind": "!big"}, "node-1"),
        ({"ray.io/node-id": nodes["node-2"]}, "node-2"),
    ):
        assert run_on(label_selector=selector) == nodes[node], selector
    for hard, soft, node in (
        ({"zone": In("b")}, None, "node-2"),
        ({"zone": NotIn("b")}, None, "node-1"),
        ({"kind": Exists()}, None, "node-2"),
        ({"kind": DoesNotExist()}, None, "node-1"),
        ({"zone": In("a", "b")}, {"kind": In("big")}, "node-2"),
    ):
        strategy = NodeLabelSchedulingStrategy(hard, soft=soft)
        # What needs nothing finds room everywhere, so that only the labels decide.
        assert run_on(num_cpus=0, scheduling_strategy=strategy) == nodes[node], (hard, soft)


def test_labels_that_no_node_has_say_so(cluster):
    with pytest.raises(
        manta.exceptions.TaskUnschedulableError,
        match=r"node-1 does not have the label that it needs \(zone=z\); node-2 does not",
    ):
        run_on(label_selector={"zone": "z"})


def test_a_custom_resource_takes_its_task_to_the_node_that_has_it(cluster):
    assert run_on(resources={"thing": 0.5}) == node_ids()["node-2"]


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"num_gpus": 1.5}, ValueError, "above 1 must be a whole number"),
        ({"num_gpus": -1}, ValueError, "0 or more"),
        ({"scheduling_strategy": "SOMEWHERE"}, ValueError, "'DEFAULT', 'SPREAD'"),
        ({"scheduling_strategy": 3}, TypeError, "'DEFAULT', 'SPREAD'"),
        (
            {"scheduling_strategy": NodeAffinitySchedulingStrategy("zz", soft=False)},
            ValueError,
            "not the id of a node",
        ),
        ({"label_selector": ["zone"]}, TypeError, "dict of labels"),
        ({"label_selector": {"zone": 1}}, TypeError, "must be text"),
        ({"accelerator_type": 5}, TypeError, "must be text"),
    ],
)
def test_wrong_wishes_are_refused_where_they_are_made(options, error, sentence):
    with pytest.raises(error, match=sentence):
        manta.remote(**options)(lambda: None)


def test_wrong_strategies_are_refused_where_they_are_made():
    with pytest.raises(ValueError, match="at least one label"):
        NodeLabelSchedulingStrategy({})
    with pytest.raises(ValueError, match=r"In\(\.\.\.\)"):
        NodeLabelSchedulingStrategy({"zone": "a"})
    with pytest.raises(ValueError, match="are text"):
        In(1)
    with pytest.raises(AssertionError, match="give 'num_gpus'"):
        manta.init(resources={"GPU": 1})


def test_an_affinity_without_room_spills_or_fails(cluster, gate, tmp_path):
    nodes = node_ids()
    mark = str(tmp_path / "running")

    @manta.remote(num_cpus=2)
    def hold(gate, mark: str) -> None:
        open(mark, "w").close()
        gate.wait()

    def on(**how: bool) -> NodeAffinitySchedulingStrategy:
        return NodeAffinitySchedulingStrategy(nodes["node-2"], **{"soft": False, **how})

    held = hold.options(scheduling_strategy=on()).remote(gate, mark)
    until(lambda: os.path.exists(mark))
    until(lambda: manta.available_resources().get("CPU") == 2)
    spilled = on(soft=True, _spill_on_unavailable=True)
    assert run_on(num_cpus=2, scheduling_strategy=spilled) == nodes["node-1"]
    with pytest.raises(manta.exceptions.TaskUnschedulableError, match="only while there is room"):
        run_on(num_cpus=2, scheduling_strategy=on(_fail_on_unavailable=True))
    gate.open()
    manta.get(held, timeout=SECONDS)

    def runs_there() -> bool:
        try:
            return run_on(scheduling_strategy=on(_fail_on_unavailable=True)) == nodes["node-2"]
        except manta.exceptions.TaskUnschedulableError:
            return False  # The node that decides has not heard yet that the other one has room again.

    until(runs_there)


def test_what_tasks_take_is_not_available_meanwhile(cluster, gate):
    @manta.remote(num_cpus=1.5, resources={"thing": 1})
    def hold(gate) -> None:
        gate.wait()

    until(lambda: manta.available_resources()["CPU"] == 4)
    held = hold.remote(gate)
    until(lambda: manta.available_resources().get("CPU") == 2.5)
    assert manta.available_resources().get("thing", 0) == 0 and manta.cluster_resources()["thing"] == 1
    gate.open()
    manta.get(held, timeout=SECONDS)
    until(lambda: manta.available_resources().get("CPU") == 4)
    assert manta.available_resources()["thing"] == 1


def test_labels_fall_back_in_their_order(cluster):
    nodes = node_ids()
    none, second = {"label_selector": {"zone": "z"}}, {"label_selector": {"zone": "b"}}
    assert run_on(label_selector={"zone": "a"}, fallback_strategy=[second]) == nodes["node-1"]
    assert run_on(label_selector={"zone": "y"}, fallback_strategy=[none, second]) == nodes["node-2"]
    with pytest.raises(manta.exceptions.TaskUnschedulableError, match="zone=y"):
        run_on(label_selector={"zone": "y"}, fallback_strategy=[none])

    @manta.remote(num_cpus=0, label_selector={"zone": "y"}, fallback_strategy=[second])
    class Somewhere:
        def where(self) -> str:
            return manta.get_runtime_context().get_node_id()

    assert manta.get(Somewhere.remote().where.remote(), timeout=SECONDS) == nodes["node-2"]
    for wrong in ([{}], ["zone"], [{"num_cpus": 1}]):
        with pytest.raises(ValueError, match="fallback_strategy"):
            where.options(fallback_strategy=wrong)


def test_bundles_lie_on_nodes_with_their_labels(cluster):
    nodes = node_ids()
    group = manta.util.placement_group(
        [{"CPU": 1}, {"CPU": 1}], bundle_label_selector=[{"zone": "b"}, {"zone": "!b"}]
    )
    manta.get(group.ready(), timeout=SECONDS)
    placed = manta.util.placement_group_table(group)["bundles_to_node_id"]
    assert placed == {0: nodes["node-2"], 1: nodes["node-1"]}
    manta.util.remove_placement_group(group)
    nowhere = manta.util.placement_group([{"CPU": 1}], bundle_label_selector=[{"zone": "z"}])
    assert not nowhere.wait(0.1)
    waits = manta.util.placement_group_table(nowhere)["stats"]["scheduling_state"]
    assert "no node of the cluster has the labels that bundle 0 asks for" in waits
    manta.util.remove_placement_group(nowhere)
    with pytest.raises(ValueError, match="a selector for each bundle"):
        manta.util.placement_group([{"CPU": 1}], bundle_label_selector=[{}, {}])
