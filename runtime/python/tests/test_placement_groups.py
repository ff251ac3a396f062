"""Placement groups on real nodes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

import manta
from manta.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from manta.util.scheduling_strategies import PlacementGroupSchedulingStrategy

SECONDS = 60


@pytest.fixture
def groups(two_nodes) -> Iterator[None]:
    """This program is connected to two nodes of one CPU each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANTA_ADDRESS", two_nodes.address)
        patch.setenv("MANTA_TOKEN", two_nodes.token)
        manta.init()
        yield
        manta.shutdown()


@manta.remote
def where() -> str:
    return manta.get_runtime_context().get_node_id()


def within(group: PlacementGroup, bundle: int = -1) -> PlacementGroupSchedulingStrategy:
    return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)


def nodes_of(group: PlacementGroup) -> list[str]:
    bundles: dict[int, str] = placement_group_table(group)["bundles_to_node_id"]
    return [bundles[index] for index in sorted(bundles)]


def test_each_bundle_is_on_its_node_and_tasks_run_there(groups):
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD", name="pair")
    assert manta.get(group.ready(), timeout=SECONDS) == group
    places = nodes_of(group)
    assert len(set(places)) == 2
    for bundle, node in enumerate(places):
        task = where.options(scheduling_strategy=within(group, bundle))
        assert manta.get(task.remote(), timeout=SECONDS) == node
    anywhere = [where.options(num_cpus=0.5, scheduling_strategy=within(group)).remote() for _ in range(4)]
    assert set(manta.get(anywhere, timeout=SECONDS)) <= set(places)
    row = placement_group_table()[group.id.hex()]
    assert (row["state"], row["strategy"], row["bundles"]) == (
        "CREATED",
        "STRICT_SPREAD",
        {0: {"CPU": 1}, 1: {"CPU": 1}},
    )
    assert get_placement_group("pair") == group
    assert manta.cluster_resources()["CPU"] == 2


def test_the_older_options_are_the_strategy(groups):
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert group.wait(SECONDS)
    in_second = where.options(placement_group=group, placement_group_bundle_index=1)
    assert manta.get(in_second.remote(), timeout=SECONDS) == nodes_of(group)[1]
    assert PlacementGroup(group.id).bundle_specs == group.bundle_specs == [{"CPU": 1}, {"CPU": 1}]
    with pytest.raises(ValueError, match="not in both"):
        where.options(placement_group=group, scheduling_strategy="SPREAD")
    with pytest.raises(ValueError, match="give both"):
        where.options(placement_group_bundle_index=1)


def test_what_is_reserved_is_there_for_nobody_else_until_the_group_is_removed(groups):
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    assert group.wait(SECONDS)
    outside = where.remote()
    assert manta.wait([outside], timeout=0.3)[0] == []
    remove_placement_group(group)
    assert manta.get(outside, timeout=SECONDS)
    assert placement_group_table(group)["state"] == "REMOVED"
    with pytest.raises(manta.exceptions.TaskPlacementGroupRemoved, match=f"{group.id.hex()}.* was removed"):
        manta.get(where.options(scheduling_strategy=within(group)).remote(), timeout=SECONDS)


def test_a_group_waits_for_room_and_gets_it(groups, gate, tmp_path):
    @manta.remote
    def hold(gate, started: str) -> None:
        open(started, "w").close()
        gate.wait()

    started = tmp_path / "started"
    held = hold.remote(gate, str(started))
    while not started.exists():
        os.sched_yield()
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="SPREAD")
    assert not group.wait(0.3)
    gate.open()
    manta.get(held, timeout=SECONDS)
    assert group.wait(SECONDS)


def test_a_group_for_which_there_will_never_be_room_says_so(groups):
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_PACK")
    assert not group.wait(0.3)
    assert "no node of the cluster has as much" in placement_group_table(group)["stats"]["scheduling_state"]
    remove_placement_group(group)


def test_tasks_of_a_removed_group_end(groups, tmp_path):
    group = placement_group([{"CPU": 1}])
    assert group.wait(SECONDS)

    @manta.remote(max_retries=0, scheduling_strategy=within(group))
    def forever(started: str) -> None:
        os.mkfifo(started)
        open(started).read()  # Nobody ever writes.

    started = tmp_path / "started"
    ref = forever.remote(str(started))
    while not started.exists():
        os.sched_yield()
    remove_placement_group(group)
    with pytest.raises(manta.exceptions.WorkerCrashedError):
        manta.get(ref, timeout=SECONDS)
    assert manta.get(where.remote(), timeout=SECONDS)


def test_a_group_with_a_gpu_gives_its_tasks_the_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with manta.init(num_cpus=2, num_gpus=2):
        group = placement_group([{"CPU": 1, "GPU": 1}])
        assert group.wait(SECONDS)

        @manta.remote(num_gpus=1)
        def gpus() -> list[int | str]:
            return manta.get_gpu_ids()

        assert len(manta.get(gpus.options(scheduling_strategy=within(group)).remote(), timeout=SECONDS)) == 1
        assert len(manta.get(gpus.remote(), timeout=SECONDS)) == 1


def test_actors_live_in_their_bundle(groups):
    @manta.remote(num_cpus=1)
    class Place:
        def where(self) -> str:
            return manta.get_runtime_context().get_node_id()

    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    actors = [Place.options(scheduling_strategy=within(group, bundle)).remote() for bundle in range(2)]
    places = manta.get([actor.where.remote() for actor in actors], timeout=SECONDS)
    assert places == nodes_of(group)
    remove_placement_group(group)
    for actor in actors:
        until = time.monotonic() + SECONDS
        with pytest.raises(manta.exceptions.RayActorError):
            while time.monotonic() < until:  # A call that is on its way may still be answered.
                manta.get(actor.where.remote(), timeout=SECONDS)


def test_wrong_groups_are_refused_where_they_are_made(groups):
    for bundles in ([], [{}], [{"CPU": 0}], [{"CPU": -1}], {"CPU": 1}, [{"CPU": "1"}]):
        with pytest.raises(ValueError):
            placement_group(bundles)
    with pytest.raises(ValueError, match="STRICT_SPREAD"):
        placement_group([{"CPU": 1}], strategy="SOMEHOW")
    group = placement_group([{"CPU": 0.5}], name="taken")
    with pytest.raises(ValueError, match="'taken' already"):
        placement_group([{"CPU": 0.5}], name="taken")
    with pytest.raises(ValueError, match="has 1 bundles"):
        where.options(scheduling_strategy=within(group, 1))
    with pytest.raises(ValueError, match="does not fit"):
        where.options(num_cpus=1, scheduling_strategy=within(group)).remote()
    with pytest.raises(ValueError, match="no placement group named 'nobody'"):
        get_placement_group("nobody")
