"""What no node of a cluster can run: it waits a stated time for a node that can, and fails with what each node lacks."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import until

import manta
from manta import exceptions
from manta.cluster_utils import Cluster
from manta.util.placement_group import placement_group, placement_group_table, remove_placement_group
from manta.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

SECONDS = 50


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    manta.shutdown()
    cluster.shutdown()


@manta.remote
def where() -> str:
    node: str = manta.get_runtime_context().get_node_id()
    return node


@manta.remote
class Where:
    def node(self) -> str:
        node: str = manta.get_runtime_context().get_node_id()
        return node


def test_what_no_node_can_run_runs_on_one_that_joins(cluster: Cluster, capfd: Any) -> None:
    manta.init(address=cluster.address, _infeasible_timeout_s=math.inf)
    task = where.options(resources={"rare": 1}).remote()
    actor = Where.options(num_cpus=4).remote()
    in_actor = actor.node.remote()
    group = placement_group([{"rare": 1}, {"CPU": 3}])
    in_group = where.options(
        num_cpus=3, scheduling_strategy=PlacementGroupSchedulingStrategy(group, 1)
    ).remote()
    assert not group.wait(0.1)
    until(lambda: placement_group_table(group)["state"] == "PENDING")
    said = ""

    def has_been_said() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return all(
            words in said
            for words in (
                "(scheduler) task 'where' needs CPU 1, rare 1, and no node of the cluster has that much: node-1 has ",
                "'Where.__init__' needs CPU 4",
                "(scheduler) the placement group ",
            )
        )

    until(has_been_said)
    explained = subprocess.run(
        [os.environ["MANTA_BIN"], "explain", "--json", "--address", cluster.address],
        capture_output=True,
        text=True,
        check=True,
    )
    (of_task,) = [
        row for row in json.loads(explained.stdout) if "where" in row["name"] and "rare 1" in row["why"]
    ]
    assert "no node of the cluster can run it; it waits until such a node joins" in of_task["why"]
    assert "can never run it: has " in of_task["nodes"][0]["blocked_by"]
    other = cluster.add_node(num_cpus=8, resources={"rare": 2})
    assert manta.get([task, in_actor, in_group], timeout=SECONDS) == [other.node_id] * 3
    assert group.wait(SECONDS)


def test_what_no_node_can_run_fails_when_its_time_is_over(cluster: Cluster) -> None:
    manta.init(address=cluster.address, _infeasible_timeout_s=0.3)
    task, group = where.options(num_cpus=64).remote(), placement_group([{"CPU": 64}], name="large")
    strategy = PlacementGroupSchedulingStrategy(group)
    in_group = where.options(scheduling_strategy=strategy).remote()
    actor = Where.options(num_cpus=64).remote()
    actor_in_group = Where.options(scheduling_strategy=strategy).remote()
    lacks = "needs CPU 64, and no node of the cluster has that much: node-1 has CPU 1"
    unplaced = r"the placement group 'large' .* cannot be placed: no node of the cluster has as much"
    with pytest.raises(exceptions.TaskUnschedulableError, match=lacks):
        manta.get(task, timeout=SECONDS)
    with pytest.raises(exceptions.ActorUnschedulableError, match=lacks):
        manta.get(actor.node.remote(), timeout=SECONDS)
    for ref in (in_group, group.ready()):
        with pytest.raises(exceptions.TaskUnschedulableError, match=unplaced):
            manta.get(ref, timeout=SECONDS)
    with pytest.raises(exceptions.ActorUnschedulableError, match=unplaced):
        manta.get(actor_in_group.node.remote(), timeout=SECONDS)
    assert not group.wait(SECONDS)
    # The group is still there, and has a place as soon as there is one.
    cluster.add_node(num_cpus=64)
    until(lambda: placement_group_table(group)["state"] == "CREATED")
    assert group.wait(SECONDS)
    remove_placement_group(group)


def test_a_node_that_is_named_is_not_waited_for(cluster: Cluster) -> None:
    manta.init(address=cluster.address, _infeasible_timeout_s=math.inf)
    strategy = NodeAffinitySchedulingStrategy("ab" * 16, soft=False)
    with pytest.raises(exceptions.TaskUnschedulableError, match="no such node"):
        manta.get(where.options(scheduling_strategy=strategy).remote(), timeout=SECONDS)
    with pytest.raises(exceptions.ActorUnschedulableError, match="no such node"):
        manta.get(Where.options(scheduling_strategy=strategy).remote().node.remote(), timeout=SECONDS)


@pytest.mark.parametrize(
    ("seconds", "error"), [(-1, ValueError), (math.nan, ValueError), ("1", TypeError), (True, TypeError)]
)
def test_the_time_is_a_number_of_seconds(seconds: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="_infeasible_timeout_s"):
        manta.init(_infeasible_timeout_s=seconds)


def test_the_variable_is_a_number_of_seconds(monkeypatch: Any) -> None:
    monkeypatch.setenv("MANTA_INFEASIBLE_TIMEOUT", "soon")
    with pytest.raises(
        ConnectionError, match="MANTA_INFEASIBLE_TIMEOUT is 'soon'; it must be a number of seconds"
    ):
        manta.init(num_cpus=1)
