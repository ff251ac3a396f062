"""What `manta list`, `summary` and `timeline` show of the tasks of a Python program."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

from conftest import LocalCluster, start_script

DEADLINE_SECONDS = 30.0

PROGRAM = """
    import sys
    import manta as ray

    ray.init(address=sys.argv[1])

    @ray.remote
    def inner(x):
        return x

    @ray.remote
    def outer(x):
        return ray.get(inner.remote(x))

    @ray.remote(max_retries=1, retry_exceptions=True)
    def bad():
        raise ValueError("no such luck\\nand a second line")

    assert ray.get([outer.remote(x) for x in range(3)]) == [0, 1, 2]
    try:
        ray.get(bad.remote())
    except ValueError:
        pass
"""

HELD = """
    import fcntl, sys
    import manta as ray

    ray.init(address=sys.argv[1])

    @ray.remote
    def held(path):
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH)

    @ray.remote
    def after(before):
        pass

    result = after.remote(held.remote(sys.argv[2]))
    sys.stdin.readline()
    ray.get(result)
"""


def manta_command(cluster: LocalCluster, *arguments: str) -> str:
    """What a command prints."""
    env = {**os.environ, "MANTA_ADDRESS": cluster.address, "MANTA_TOKEN": cluster.token}
    command = [os.environ["MANTA_BIN"], *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=30).stdout


def tasks(cluster: LocalCluster, *filters: str) -> list[dict[str, Any]]:
    """The rows of `manta list tasks`."""
    arguments = [argument for filter in filters for argument in ("--filter", filter)]
    answer = json.loads(manta_command(cluster, "list", "tasks", "--json", *arguments))
    assert answer["notes"] == [], answer["notes"]
    return answer["rows"]


def test_tasks_stay_listed_when_their_program_has_ended(two_nodes, run_script, tmp_path):
    done = run_script(PROGRAM, two_nodes.address, env={"MANTA_TOKEN": two_nodes.token})
    assert done.returncode == 0, done.stderr
    outer = tasks(two_nodes, "name=outer")
    assert [row["state"] for row in outer] == ["FINISHED"] * 3
    parents = {row["parent_task_id"] for row in tasks(two_nodes, "name=inner", "state=finished")}
    assert parents == {row["task_id"] for row in outer}
    for row in outer:
        assert row["submitted_unix_us"] <= row["started_unix_us"] <= row["ended_unix_us"] <= time.time() * 1e6
        assert row["node_name"] in ("node-1", "node-2") and row["worker_pid"] > 0
        assert row["required_resources"] == {"CPU": 1.0}
    failed = tasks(two_nodes, "state=FAILED")
    assert [(row["name"], row["attempt"], row["error"]) for row in failed] == [
        ("bad", 1, "ValueError: no such luck"),
        ("bad", 0, "ValueError: no such luck"),
    ]
    trace = tmp_path / "trace.json"
    manta_command(two_nodes, "timeline", "--output", str(trace))
    spans = [event for event in json.loads(trace.read_text()) if event["ph"] == "X"]
    assert len(spans) == 3 + 3 + 2


def test_tasks_that_have_not_ended_are_listed_with_what_they_wait_for(two_nodes, tmp_path, gate):
    program = start_script(HELD, tmp_path, two_nodes.address, gate.path, MANTA_TOKEN=two_nodes.token)
    with program:
        wanted = {"held": "RUNNING", "after": "PENDING_ARGS_AVAIL"}
        until = time.monotonic() + DEADLINE_SECONDS
        while (states := {row["name"]: row["state"] for row in tasks(two_nodes)}) != wanted:
            assert time.monotonic() < until, states
        gate.open()
        program.communicate("\n", timeout=DEADLINE_SECONDS)
    assert program.returncode == 0
    assert {row["state"] for row in tasks(two_nodes)} == {"FINISHED"}


def test_what_a_killed_program_had_under_way_is_said_to_have_ended(two_nodes, tmp_path, gate):
    program = start_script(HELD, tmp_path, two_nodes.address, gate.path, MANTA_TOKEN=two_nodes.token)
    with program:
        until = time.monotonic() + DEADLINE_SECONDS
        while not tasks(two_nodes, "name=held", "state=RUNNING"):
            assert time.monotonic() < until, tasks(two_nodes)
        program.kill()
    while not (ended := tasks(two_nodes, "name=held", "state=FAILED")):
        assert time.monotonic() < until, tasks(two_nodes)
    assert ended[0]["error"] == "its job ended before it did"
