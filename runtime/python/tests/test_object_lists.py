"""`manta memory` and `manta list|get|summary objects` of real programs, and the same from Python."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import Gate, LocalCluster, until

import manta
from manta.util import state

BIG = 2_000_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A cluster of two nodes, which this program is a driver of."""
    made = LocalCluster(nodes=2, num_cpus=2)
    os.environ.update({"MANTA_ADDRESS": made.address, "MANTA_TOKEN": made.token})
    manta.init(address=made.address)
    yield made
    manta.shutdown()
    del os.environ["MANTA_ADDRESS"], os.environ["MANTA_TOKEN"]
    made.close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `manta`."""
    return subprocess.run([os.environ["MANTA_BIN"], *arguments], capture_output=True, text=True, timeout=60)


def shown(*arguments: str) -> Any:
    """What `manta … --json` prints."""
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def row_of(ref: manta.ObjectRef[Any], *further: str) -> dict[str, Any]:
    """The driver's own row of an object."""
    rows = shown(
        "list", "objects", "--filter", f"object_id={ref.hex()}", "--filter", "type=DRIVER", *further
    )["rows"]
    assert len(rows) == 1, rows
    return dict(rows[0])


@manta.remote
def make(size: int) -> Any:
    """A large result."""
    return np.zeros(size, dtype=np.uint8)


def test_each_kind_of_reference_is_told_apart(cluster: LocalCluster, gate: Gate) -> None:
    @manta.remote
    def keep(_array: Any, _refs: list[Any]) -> None:
        gate.wait()

    big, small = manta.put(np.zeros(BIG, dtype=np.uint8)), manta.put(5)
    result = make.remote(BIG)
    manta.wait([result])
    outer = manta.put([manta.put("inside")])
    row = row_of(big)
    assert row["reference_type"] == "LOCAL_REFERENCE" and row["object_size"] > BIG
    assert (row["place"], row["task_status"], row["local_refs"]) == ("STORE", "", 1)
    assert row["owner_id"] == row["worker_id"] and row["pid"] == os.getpid()
    assert row["node_name"].startswith("node-")
    assert (row_of(small)["place"], row_of(small)["object_size"] < 1000) == ("OWNER", True)
    assert (row_of(result)["task_name"], row_of(result)["task_status"]) == ("make", "FINISHED")
    inside = shown("list", "objects", "--filter", "reference_type=CAPTURED_IN_OBJECT")["rows"]
    assert [row["captured_in"] for row in inside] == [1]
    waiting = keep.remote(big, [small])
    until(lambda: row_of(big)["reference_type"] == "USED_BY_PENDING_TASK")
    row = row_of(waiting)
    assert row["object_size"] is None and row["task_status"] in ("SUBMITTED_TO_WORKER", "RUNNING")
    # The worker borrows the ref that came inside of a value.
    of_worker = ["--filter", f"object_id={small.hex()}", "--filter", "type=WORKER"]
    until(lambda: shown("list", "objects", *of_worker)["rows"])
    gate.open()
    manta.get(waiting)
    del outer
    until(lambda: not shown("list", "objects", "--filter", "reference_type=CAPTURED_IN_OBJECT")["rows"])


def test_filters_come_before_limits_and_pages_go_on(cluster: LocalCluster) -> None:
    kept = [manta.put(np.zeros(200_000 + i, dtype=np.uint8)) for i in range(7)]
    mine = {ref.hex() for ref in kept}
    large = ("list", "objects", "--filter", "place=STORE", "--filter", "type=DRIVER", "--limit", "3")
    first = shown(*large)
    assert (len(first["rows"]), first["total"] >= 7) == (3, True)
    found, page = {row["object_id"] for row in first["rows"]}, first["next_page"]
    while page:
        answer = shown(*large, "--page", page)
        found |= {row["object_id"] for row in answer["rows"]}
        page = answer["next_page"]
    assert mine <= found
    sizes = [row["object_size"] for row in first["rows"]]
    assert sizes == sorted(sizes, reverse=True)
    one = run("get", "objects", kept[0].hex())
    assert one.returncode == 0 and "reference_type" in one.stdout
    assert "knows none of its objects" in run("get", "objects", "ff" * 20).stderr
    assert "'colour'" in run("list", "objects", "--filter", "colour=red").stderr
    counted = shown("summary", "objects", "--filter", "place=STORE")["rows"]
    assert sum(row["count"] for row in counted) >= 7
    assert sum(row["total_size"] for row in counted) >= 7 * 200_000


def test_memory_shows_sorts_and_adds_up(cluster: LocalCluster) -> None:
    results = [make.remote(BIG) for _ in range(3)]
    manta.wait(results, num_returns=3)
    kept = manta.put(np.zeros(3 * BIG, dtype=np.uint8))
    answer = shown("memory", "-n", "2")
    assert len(answer["objects"]) == 2 and answer["total"] > 2
    assert answer["objects"][0]["object_id"] == kept.hex()
    assert {store["node_name"] for store in answer["stores"]} == {"node-1", "node-2"}
    groups = {group["name"]: group for group in shown("memory", "--group-by", "task")["groups"]}
    assert groups["make"]["objects"] >= 3 and groups["make"]["total_size"] >= 3 * BIG
    assert groups["(put)"]["total_size"] >= 3 * BIG
    by_node = shown("memory", "--group-by", "NODE_ADDRESS")["groups"]
    assert sum(group["total_size"] for group in by_node) >= 6 * BIG
    text = run("memory", "--units", "MB", "--sort-by", "PID").stdout
    assert "REFERENCE" in text and "6.0" in text and "STORE OF" in text
    stats = run("memory", "--stats-only").stdout
    assert "STORE OF" in stats and "REFERENCE" not in stats
    only = shown("memory", "--filter", "task_name=make")["objects"]
    assert {row["task_name"] for row in only} == {"make"}
    del kept


def test_python_has_the_same_rows(cluster: LocalCluster) -> None:
    ref = manta.put(np.zeros(BIG, dtype=np.uint8))
    (found,) = state.list_objects(filters=[("object_id", "=", ref.hex()), ("type", "=", "DRIVER")])
    assert found.object_size > BIG and found.reference_type == "LOCAL_REFERENCE"
    assert state.get_objects(ref.hex())[0]["object_id"] == ref.hex()
    summary = state.summarize_objects()["cluster"]
    assert summary["total_objects"] >= 1 and summary["total_size"] > BIG
