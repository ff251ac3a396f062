"""Seeing inside: the state API, user metrics, explanations, stacks, ids and the rest of the runtime context."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
from conftest import Gate, until

import manta
from manta.util import metrics, state


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A started cluster with a metrics page; this process is its driver."""
    home = tmp_path_factory.mktemp("home")
    env = {**os.environ, "MANTA_HOME": str(home)}
    command = [
        os.environ["MANTA_BIN"],
        "start",
        "--listen",
        "127.0.0.1:0",
        "--num-cpus",
        "2",
        "--metrics",
        "0",
    ]
    started = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    page = next(line.split()[-1] for line in started.stdout.splitlines() if line.startswith("Metrics"))
    address = json.loads(next((home / "clusters").iterdir()).read_text())["address"]
    before = {name: os.environ.get(name) for name in ("MANTA_HOME", "MANTA_ADDRESS")}
    os.environ.update(MANTA_HOME=str(home), MANTA_ADDRESS=address)
    manta.init(address)
    yield {"address": address, "page": page}
    manta.shutdown()
    subprocess.run(
        [os.environ["MANTA_BIN"], "stop"],
        env={**env, "MANTA_ADDRESS": address},
        capture_output=True,
        timeout=60,
    )
    for name, value in before.items():
        if value is None:
            os.environ.pop(name)
        else:
            os.environ[name] = value


def manta_json(*arguments: str) -> object:
    """What `manta … --json` prints."""
    command = [os.environ["MANTA_BIN"], *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_lists_and_summaries_have_the_same_rows_as_the_command(cluster: dict[str, str]) -> None:
    @manta.remote(name="listed")
    def listed() -> int:
        return 1

    @manta.remote
    class Named:
        def ping(self) -> None: ...

    handle = Named.options(name="known").remote()
    manta.get([listed.remote(), handle.ping.remote()])
    until(lambda: state.list_tasks(filters=[("name", "=", "listed"), ("state", "=", "FINISHED")]))
    row = state.list_tasks(filters=[("name", "=", "listed")])[0]
    assert row.task_id == row["task_id"] and row.func_or_class_name == "listed"
    assert state.get_task(row.task_id) == row
    assert state.summarize_tasks()["cluster"]["summary"]["listed"]["state_counts"] == {"FINISHED": 1}
    assert [actor.name for actor in state.list_actors()] == ["known"]
    assert manta.util.list_named_actors() == ["known"]
    assert "known" in [actor["name"] for actor in manta.util.list_named_actors(True)]
    node = state.list_nodes()[0]
    again = state.get_node(node.node_id)
    # How much it has to do changes from look to look: a worker goes back a moment after its last task.
    assert again is not None and again.node_id == node.node_id and again.state == node.state == "ALIVE"
    assert again.keys() == node.keys()
    assert state.list_jobs()[0].status == "RUNNING" and state.list_workers()
    assert manta.timeline()[0]["ph"] == "X"
    with pytest.raises(ValueError, match="a filter is"):
        state.list_tasks(filters=[("name", "listed")])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="from 1 to"):
        state.list_tasks(limit=0)
    with pytest.raises(RuntimeError, match="no 'nope' to filter by"):
        state.list_tasks(filters=[("nope", "=", "x")])
    with pytest.raises(TypeError, match="no argument named zzz"):
        state.list_tasks(zzz=1)


def test_measures_of_programs_are_on_the_page(cluster: dict[str, str]) -> None:
    @manta.remote
    class Counting:
        def __init__(self) -> None:
            self.requests = metrics.Counter("requests", "how many", tag_keys=("route",)).set_default_tags(
                {"route": "a"}
            )
            self.load = metrics.Gauge("load")
            self.seconds = metrics.Histogram("seconds", boundaries=[0.1, 1], tag_keys=())

        def work(self) -> None:
            self.requests.inc(2)
            self.requests.inc(tags={"route": "b"})
            self.load.set(0.5)
            for value in (0.05, 0.5, 5):
                self.seconds.observe(value)

    handles = [Counting.remote() for _ in range(2)]
    manta.get([handle.work.remote() for handle in handles])

    def page() -> str:
        with urllib.request.urlopen(cluster["page"], timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    until(lambda: 'ray_requests_total{route="a"} 4' in page().splitlines())
    lines = page().splitlines()
    assert 'ray_requests_total{route="b"} 2' in lines and "# TYPE ray_seconds histogram" in lines
    assert 'ray_seconds_bucket{le="0.1"} 2' in lines and 'ray_seconds_bucket{le="+Inf"} 6' in lines
    assert sum(line.startswith("ray_load{") for line in lines) == 2
    assert any(line.startswith('manta_node_memory_total_bytes{node="node-1"} ') for line in lines)
    copy = pickle.loads(
        pickle.dumps(metrics.Histogram("h", "d", [1, 2], ("k",)).set_default_tags({"k": "v"}))
    )
    assert copy.info == {
        "name": "h",
        "description": "d",
        "tag_keys": ("k",),
        "default_tags": {"k": "v"},
        "boundaries": [1, 2],
    }


def test_measures_refuse_what_is_wrong() -> None:
    for make, words in [
        (lambda: metrics.Counter(""), "Empty name"),
        (lambda: metrics.Counter("a", tag_keys="b"), "tag_keys should be a tuple"),
        (lambda: metrics.Counter("a").inc(0), "must be >0"),
        (lambda: metrics.Counter("a").inc(1, {"a b": "v"}), "Unrecognized tag key"),
        (lambda: metrics.Counter("a").set_default_tags({"k": "v"}), "Unrecognized tag key"),
        (lambda: metrics.Counter("a", tag_keys=("k",)).inc(), "Missing value for tag key"),
        (lambda: metrics.Histogram("a"), "boundaries argument should be provided"),
        (lambda: metrics.Histogram("a", boundaries=[2, 1]), "they must rise"),
    ]:
        with pytest.raises((ValueError, TypeError), match=words):
            make()


def test_what_waits_is_explained_for_each_node(cluster: dict[str, str], gate: Gate) -> None:
    @manta.remote(num_cpus=2)
    def holds(gate: Gate) -> None:
        gate.wait()

    @manta.remote(num_cpus=1)
    def waits(_before: object) -> None: ...

    @manta.remote(num_cpus=2)
    def queued() -> None: ...

    first = holds.remote(gate)
    until(lambda: state.list_tasks(filters=[("name", "=", "holds"), ("state", "=", "RUNNING")]))
    behind, after = queued.remote(), waits.remote(first)
    until(lambda: len(state.list_tasks(filters=[("state", "!=", "FINISHED")])) >= 3)

    def explained(which: str) -> dict[str, object]:
        rows = manta_json("explain", "--name", which)
        assert isinstance(rows, list)
        return rows[0]

    until(lambda: explained("queued")["nodes"])
    [node] = explained("queued")["nodes"]  # type: ignore[misc]
    assert node["node_name"] == "node-1" and "0 of 2 CPU" in node["blocked_by"]  # type: ignore[index]
    until(lambda: "holds" in str(explained("waits")["why"]))
    assert "which is RUNNING" in str(explained("waits")["why"])
    [ended] = manta_json("explain", str(explained("queued")["id"])[:12])  # type: ignore[misc]
    assert ended["name"] == "queued"
    group = manta.util.placement_group([{"CPU": 64}])
    until(lambda: manta_json("explain", group.id.hex()[:12])[0]["why"])  # type: ignore[index]
    assert "CPU" in manta_json("explain", group.id.hex()[:12])[0]["why"]  # type: ignore[index]
    manta.util.remove_placement_group(group)
    unknown = subprocess.run(
        [os.environ["MANTA_BIN"], "explain", "ffffffff"], capture_output=True, text=True, timeout=60
    )
    assert unknown.returncode == 1 and "knows no task, actor or placement group" in unknown.stderr
    gate.open()
    manta.get([first, behind, after])


def test_stacks_show_where_a_task_is(cluster: dict[str, str], gate: Gate) -> None:
    @manta.remote(name="stuck")
    def stuck(gate: Gate) -> None:
        gate.wait()

    ref = stuck.remote(gate)
    until(lambda: state.list_tasks(filters=[("name", "=", "stuck"), ("state", "=", "RUNNING")]))
    task = state.list_tasks(filters=[("name", "=", "stuck")])[0]
    [stack] = manta_json("stack", "--task", task.task_id)  # type: ignore[misc]
    main = next(thread for thread in stack["python"] if thread["task"] == "stuck")
    functions = [frame["function"] for frame in main["frames"]]
    assert functions[0] == "_Waiting.wait" and any("stuck" in function for function in functions)
    assert main["frames"][0]["file"].endswith("conftest.py")
    assert any(
        "flock" in frame["function"] for thread in stack["native"] for frame in thread.get("frames", [])
    )
    gate.open()
    assert manta.get(ref) is None, "it runs on"


def test_ids_are_types() -> None:
    job = manta.JobID.from_random()
    assert manta.JobID.from_hex(job.hex()) == job and manta.JobID(job.binary()) == job
    assert job != manta.NodeID(job.binary()) and not job.is_nil() and manta.JobID.nil().is_nil()
    assert pickle.loads(pickle.dumps(job)) == job and len({job, manta.JobID(job.binary())}) == 1
    with pytest.raises(ValueError, match="16 bytes"):
        manta.TaskID(b"short")
    with pytest.raises(TypeError, match="Expected bytes"):
        manta.TaskID("text")  # type: ignore[arg-type]


def test_the_context_knows_the_placement_group_and_the_environment(cluster: dict[str, str]) -> None:
    group = manta.util.placement_group([{"CPU": 1}])
    assert group.wait(30)
    strategy = manta.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group)

    @manta.remote(num_cpus=1, scheduling_strategy=strategy, runtime_env={"env_vars": {"X": "1"}})
    def inside() -> tuple[object, ...]:
        context = manta.get_runtime_context()
        found = manta.util.get_current_placement_group()
        return context.get_placement_group_id(), found, context.runtime_env, context.get_node_labels()

    group_id, found, env, labels = manta.get(inside.remote())
    assert (group_id, found, env["env_vars"]) == (group.id.hex(), group, {"X": "1"})
    assert labels == {"ray.io/node-id": manta.get_runtime_context().get_node_id()}
    assert manta.util.get_current_placement_group() is None
    assert manta.get_runtime_context().get_runtime_env_string() == "{}"
    assert manta.util.get_node_ip_address() == "127.0.0.1"
    manta.util.remove_placement_group(group)


def test_all_actors_are_listed_with_their_states(cluster: dict[str, str]) -> None:
    @manta.remote(num_cpus=0)
    class Plain:
        def pid(self) -> int:
            return os.getpid()

        def fail(self) -> None:
            os._exit(1)

    @manta.remote(num_cpus=0)
    class Broken:
        def __init__(self) -> None:
            raise ValueError("no")

    @manta.remote(num_cpus=0)
    class Maker:
        def make(self) -> str:
            self.made = Plain.remote()
            return self.made._actor_id.hex()  # type: ignore[attr-defined]

    def listed(kind: str, *more: tuple[str, str, str]) -> list[state.State]:
        return state.list_actors(filters=[("class_name", "=", kind), *more])

    first, second, named = Plain.remote(), Plain.remote(), Plain.options(name="with a name").remote()
    assert len(listed("Plain")) == 3, "an actor is listed as soon as it was made"
    pids = manta.get([first.pid.remote(), second.pid.remote(), named.pid.remote()])
    alive = listed("Plain", ("state", "=", "ALIVE"))
    assert sorted(row.pid for row in alive) == sorted(pids)
    assert {row.node_name for row in alive} == {"node-1"} and {row.name for row in alive} == {
        "",
        "with a name",
    }
    found = state.get_actor(first._actor_id.hex())
    assert found is not None and found.state == "ALIVE" and found.job_id == alive[0].job_id
    second.fail.remote()
    until(lambda: len(listed("Plain", ("state", "=", "DEAD"))) == 1)
    [dead] = listed("Plain", ("state", "=", "DEAD"))
    assert dead.actor_id == second._actor_id.hex() and "exited with code 1" in dead.death_cause
    broken = Broken.remote()
    until(lambda: [row.state for row in listed("Broken")] == ["DEAD"])
    assert "constructor" in listed("Broken")[0].death_cause
    # What an actor has made ends with it.
    maker = Maker.remote()
    inner = manta.get(maker.make.remote())
    until(lambda: (row := state.get_actor(inner)) is not None and row.state == "ALIVE")
    manta.kill(maker)
    until(lambda: state.get_actor(inner).state == "DEAD")  # type: ignore[union-attr]
    counts = state.summarize_actors()["cluster"]["summary"]["all"]["state_counts"]
    assert counts["ALIVE"] >= 2 and counts["DEAD"] >= 4
    rows = manta_json("list", "actors", "--filter", "class_name=Plain", "--filter", "state=ALIVE")["rows"]  # type: ignore[call-overload]
    assert len(rows) == 2
    del first, named, broken
    until(lambda: not listed("Plain", ("state", "=", "ALIVE")))


def test_environments_are_listed_with_how_their_making_went(cluster: dict[str, str]) -> None:
    @manta.remote(num_cpus=0, runtime_env={"env_vars": {"LISTED": "1"}})
    class Uses:
        def seen(self) -> str:
            return os.environ["LISTED"]

    @manta.remote(runtime_env={"pip": {"packages": ["/no/such/package.whl"]}}, max_retries=0)
    def never() -> None: ...

    uses = Uses.remote()
    assert manta.get(uses.seen.remote()) == "1"
    with pytest.raises(manta.exceptions.RuntimeEnvSetupError):
        manta.get(never.remote())
    failed, made = (
        state.list_runtime_envs(filters=[("success", "=", str(value))]) for value in (False, True)
    )
    assert failed[0].runtime_env["pip"]["packages"] == ["/no/such/package.whl"]
    assert failed[0].state == "FAILED" and "package.whl" in failed[0].error
    [row] = [row for row in made if row.runtime_env.get("env_vars") == {"LISTED": "1"}]
    assert (row.state, row.ref_cnt, row.error, row.node_name) == ("CREATED", 1, None, "node-1")
    assert row.creation_time_ms >= 0 and state.list_runtime_envs(limit=1) == failed[:1]
    answer = manta_json("list", "runtime-envs", "--filter", "state=FAILED")
    assert [row["success"] for row in answer["rows"]] == [False]  # type: ignore[call-overload]
    table = subprocess.run(
        [os.environ["MANTA_BIN"], "list", "runtime-envs"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "LISTED" in table.stdout and "FAILED" in table.stdout
    counted = manta_json("summary", "runtime-envs")["rows"]  # type: ignore[call-overload]
    assert {"count": 1, "node_name": "node-1", "state": "FAILED"} in counted


def test_each_task_of_a_name_is_explained(cluster: dict[str, str], gate: Gate) -> None:
    @manta.remote(num_cpus=2)
    def held(gate: Gate) -> None:
        gate.wait()

    @manta.remote(num_cpus=0)
    def twin(_before: object) -> None: ...

    first = held.remote(gate)
    twins = [twin.remote(first) for _ in range(2)]
    until(
        lambda: (
            len(state.list_tasks(filters=[("name", "=", "twin"), ("state", "=", "PENDING_ARGS_AVAIL")])) == 2
        )
    )
    rows = manta_json("explain", "--name", "twin")
    assert {row["id"] for row in rows} == {ref.task_id().hex() for ref in twins}  # type: ignore[index]
    assert all("held" in row["why"] for row in rows)  # type: ignore[index]
    shown = subprocess.run(
        [os.environ["MANTA_BIN"], "explain", "--name", "twin"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert len(shown.stdout.strip().split("\n\n")) == 2, "a block for each, with an empty line between them"
    gate.open()
    manta.get(twins)
