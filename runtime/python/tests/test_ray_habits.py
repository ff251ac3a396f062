"""What programs written for Ray lean on without thinking of it: threads of libraries, finalizers, records of logging."""

from __future__ import annotations

import abc
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import until

import manta
from manta import exceptions
from manta.experimental import tqdm_ray
from manta.util.placement_group import placement_group, remove_placement_group
from manta.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from manta.util.state import list_nodes, list_tasks


def threads() -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


class Threaded:
    at_import = None

    def seen(self) -> str | None:
        return threads()


def test_libraries_start_as_many_threads_as_there_are_cpus_for(ray: Any) -> None:
    task = ray.remote(threads)
    counted = [task, ray.remote(num_cpus=2)(threads), task, task.options(num_cpus=0.5)]
    assert [ray.get(one.remote()) for one in counted] == ["1", "2", "1", "1"]
    assert ray.get(ray.remote(Threaded).remote().seen.remote()) == "1"
    actor = ray.remote(Threaded).options(num_cpus=2).remote()
    assert ray.get(actor.seen.remote()) == "2"
    ray.kill(actor)
    own = task.options(runtime_env={"env_vars": {"OMP_NUM_THREADS": "7"}}, num_cpus=2)
    assert ray.get(own.remote()) == "7"


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("ends", ["with its last handle", "by itself"])
def test_an_actor_finalizes_itself_at_an_orderly_end(
    ray: Any, tmp_path: Path, is_async: bool, ends: str
) -> None:
    class Leaves:
        def __init__(self, folder: str) -> None:
            import atexit

            self.folder = folder
            atexit.register(self.leave, "atexit")

        def leave(self, name: str) -> None:
            open(f"{self.folder}/{name}", "w").close()

        def __ray_shutdown__(self) -> None:
            self.leave("shutdown")

        async def later(self) -> None: ...

        def now(self) -> None: ...

    class Finalizes(Leaves):
        if not is_async:
            later = Leaves.now  # type: ignore[assignment]

        def __init__(self, folder: str) -> None:
            self.folder = folder

        def __del__(self) -> None:
            self.leave("del")

    expected = []
    for cls, name in ((Leaves, "atexit"), (Finalizes, "del")):
        if not is_async:
            cls.later = cls.now  # type: ignore[assignment]
        actor = ray.remote(num_cpus=0)(cls).remote(str(tmp_path))
        ray.get(actor.now.remote())
        if ends == "by itself":
            actor.__ray_terminate__.remote()
        del actor
        expected.append(tmp_path / name)
    until(lambda: all(path.exists() for path in [*expected, tmp_path / "shutdown"]))


@pytest.mark.parametrize("how", ["__ray_terminate__", "leave", "leave_later"])
def test_an_actor_that_ends_itself_has_its_finalizer_run(ray: Any, tmp_path: Path, how: str) -> None:
    class Finalizes:
        def __init__(self, path: str) -> None:
            self.path = path

        def leave(self) -> None:
            ray.actor.exit_actor()

        def __del__(self) -> None:
            open(self.path, "w").close()

    class Later(Finalizes):
        async def leave_later(self) -> None:
            ray.actor.exit_actor()

    made = tmp_path / "made"
    actor = ray.remote(num_cpus=0)(Later if how == "leave_later" else Finalizes).remote(str(made))
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(getattr(actor, how).remote())
    until(made.exists)


def test_an_actor_that_is_killed_does_not_finalize_itself(ray: Any, tmp_path: Path) -> None:
    @ray.remote(num_cpus=0)
    class Finalizes:
        def __init__(self, path: str) -> None:
            self.path = path

        def pid(self) -> int:
            return os.getpid()

        def __del__(self) -> None:
            open(self.path, "w").close()

    actor = Finalizes.remote(str(tmp_path / "made"))
    process = os.pidfd_open(ray.get(actor.pid.remote()))
    ray.kill(actor)
    until(lambda: _has_ended(process))
    assert not (tmp_path / "made").exists()


def _has_ended(process: int) -> bool:
    import select

    return bool(select.select([process], [], [], 0)[0])


def test_what_waits_for_a_placement_group_that_is_removed_says_so(ray: Any) -> None:
    group = placement_group([{"CPU": 1}])
    assert group.wait(30)
    remove_placement_group(group)
    strategy = PlacementGroupSchedulingStrategy(group)

    @ray.remote(num_cpus=1, scheduling_strategy=strategy)
    def task() -> None: ...

    @ray.remote(num_cpus=1, scheduling_strategy=strategy)
    class Actor:
        def method(self) -> None: ...

    with pytest.raises(exceptions.TaskPlacementGroupRemoved, match="was removed"):
        ray.get(task.remote(), timeout=30)
    with pytest.raises(exceptions.ActorPlacementGroupRemoved, match="was removed"):
        ray.get(Actor.remote().method.remote(), timeout=30)


def test_errors_of_actors_know_their_actor(ray: Any) -> None:
    @ray.remote(num_cpus=0)
    class Dies:
        def die(self) -> None:
            os._exit(1)

        def method(self) -> None: ...

    actor = Dies.remote()
    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(actor.die.remote())
    assert caught.value.actor_id == actor._actor_id.hex()
    actor = Dies.remote()
    ray.kill(actor)
    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(actor.method.remote())
    assert caught.value.actor_id == actor._actor_id.hex()


def test_a_generator_is_what_get_of_it_answers_with(ray: Any) -> None:
    @ray.remote
    def values() -> Any:
        yield 1

    generator = values.remote()
    assert ray.get(generator) is generator
    assert ray.get(next(generator)) == 1


def test_a_class_without_all_of_its_methods_is_refused_where_it_is_made(ray: Any) -> None:
    class Wants(abc.ABC):
        @abc.abstractmethod
        def method(self) -> None: ...

    @ray.remote
    class Has(Wants):
        def method(self) -> int:  # type: ignore[override]
            return 1

    assert ray.get(Has.remote().method.remote()) == 1
    with pytest.raises(TypeError, match="no implementation of method"):
        ray.remote(Wants).remote()


def test_concurrency_groups_may_come_with_the_options(ray: Any) -> None:
    @ray.remote
    class Groups:
        @ray.method(concurrency_group="io")
        def method(self) -> int:
            return 1

    with pytest.raises(ValueError, match="has no concurrency group 'io'"):
        Groups.remote()
    assert ray.get(Groups.options(concurrency_groups={"io": 2}).remote().method.remote()) == 1


def test_options_that_have_another_meaning_or_none_here(ray: Any) -> None:
    @ray.remote
    def task() -> int:
        return 1

    @ray.remote
    class Actor:
        @ray.method()
        def method(self) -> int:
            return 1

    with pytest.raises(ValueError, match="max_calls"):
        task.options(max_calls=1)
    assert ray.get(Actor.options(max_pending_calls=0).remote().method.remote()) == 1
    assert ray.get(manta.cloudpickle.loads(manta.cloudpickle.dumps(ray.put(3)))) == 3


def test_rows_have_rays_fields(ray: Any) -> None:
    @ray.remote
    def task() -> None: ...

    ray.get(task.remote())
    until(lambda: list_tasks(filters=[("func_or_class_name", "=", "task")]))
    row = list_tasks(filters=[("name", "=", "task")])[0]
    assert (row.is_debugger_paused, row.placement_group_id, row.error_type) == (False, None, None)
    assert [row.is_head_node for row in list_nodes()] == [True]
    with pytest.raises(AttributeError):
        row.absent  # noqa: B018
    [node] = ray.nodes()
    assert node["Labels"]["ray.io/node-id"] == node["NodeID"]
    assert ray.get_runtime_context().get_node_labels() == node["Labels"]
    assert node["ObjectManagerPort"] == node["MetricsExportPort"] == 0


def test_refs_and_handles_of_an_earlier_connection_are_of_no_use(run_script: Any) -> None:
    done = run_script(
        """
        import manta as ray

        @ray.remote
        class Actor:
            def method(self):
                return 1

        ray.init(num_cpus=1)
        ref, actor = ray.put(1), Actor.remote()
        ray.shutdown()
        ray.init(num_cpus=1)
        uses = {
            "get": lambda: ray.get(ref),
            "wait": lambda: ray.wait([ref]),
            "kill": lambda: ray.kill(actor),
            "call": lambda: actor.method.remote(),
        }
        for name, use in uses.items():
            try:
                use()
            except ValueError as error:
                print(name, type(error).__name__, "earlier cluster connection" in str(error))
        """
    )
    assert done.stdout.splitlines() == [
        "get ValueError True",
        "wait ValueError True",
        "kill ActorHandleNotFoundError True",
        "call ValueError True",
    ], done.stderr


def test_init_takes_what_rays_takes(run_script: Any) -> None:
    done = run_script(
        """
        import manta as ray

        for wrong in ({"address": "nonsense"}, {"address": "host:70000"}, {"num_cpus": "2"}, {"num_cpus": -1}, {"logging_config": 3}):
            try:
                ray.init(**wrong)
            except (TypeError, ValueError) as error:
                print(type(error).__name__)
        ray.init(num_cpus=0, _memory=2**30, _temp_dir="/tmp/anything", _system_config={"x": 1}, include_dashboard=False)
        resources = ray.cluster_resources()
        print(resources.get("CPU"), resources["memory"] == 2**30)

        @ray.remote(num_cpus=0)
        def free():
            return 1

        @ray.remote
        def task():
            return 1

        print(ray.get(free.remote()))
        try:
            ray.get(task.remote())
        except ray.exceptions.TaskUnschedulableError as error:
            print("has no CPU" in str(error))
        """
    )
    assert done.stdout.splitlines() == [
        *["ValueError", "ValueError", "TypeError", "ValueError", "TypeError"],
        "None True",
        "1",
        "True",
    ], done.stderr


@pytest.mark.parametrize("encoding", ["TEXT", "JSON"])
def test_records_say_who_wrote_them(run_script: Any, encoding: str) -> None:
    done = run_script(
        f"""
        import logging
        import manta as ray

        @ray.remote
        def task():
            logging.getLogger("of.task").info("from the task", extra={{"step": 3}})
            logging.debug("not shown")

        ray.init(
            num_cpus=1,
            logging_config=ray.LoggingConfig(encoding={encoding!r}, log_level="INFO", additional_log_standard_attrs=["name"]),
        )
        ray.get(task.remote())
        logging.warning("from the driver")
        ray.shutdown()
        """
    )
    assert "not shown" not in done.stderr
    [task] = [line for line in done.stderr.splitlines() if "from the task" in line]
    [driver] = [line for line in done.stderr.splitlines() if "from the driver" in line]
    if encoding == "JSON":
        record = json.loads(task[task.index("{") :])
        assert (record["levelname"], record["name"], record["step"]) == ("INFO", "of.task", 3)
        assert record["task_name"] == "task" and len(record["task_id"]) == 32
        assert "task_id" not in json.loads(driver)
    else:
        assert (
            " INFO program.py:7 -- from the task " in task
            and " step=3 " in task
            and " task_name=task " in task
        )
        assert " WARNING program.py:15 -- from the driver " in driver and "task_id" not in driver


def test_a_logging_config_is_checked_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="Invalid encoding type: XML"):
        manta.LoggingConfig(encoding="XML")
    with pytest.raises(ValueError, match="Unknown python logging standard attribute: nothing"):
        manta.LoggingConfig(additional_log_standard_attrs=["nothing"])
    config = manta.LoggingConfig("JSON", "DEBUG", ["name"])
    assert manta.LoggingConfig.from_dict({**config.to_dict(), "newer": 1}) == config


def test_a_task_whose_node_is_gone_says_so(run_script: Any) -> None:
    done = run_script(
        """
        import os
        import manta as ray
        from manta.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
        other = cluster.add_node(num_cpus=1)
        assert cluster.remaining_processes_alive() and other.unique_id == other.node_id

        @ray.remote
        class Started:
            async def set(self):
                self.there.set()

            def __init__(self):
                import asyncio

                self.there = asyncio.Event()

            async def wait(self):
                await self.there.wait()

        @ray.remote(max_retries=0)
        def runs(started):
            import threading

            ray.get(started.set.remote())
            threading.Event().wait()

        started = Started.options(num_cpus=0, label_selector={"ray.io/node-id": cluster.head_node.node_id}).remote()
        task = runs.remote(started)
        ray.get(started.wait.remote(), timeout=50)
        cluster.remove_node(other, allow_graceful=False)
        try:
            ray.get(task, timeout=50)
        except ray.exceptions.NodeDiedError as error:
            print("the worker that ran task 'runs' ended" in str(error))
        cluster.shutdown()
        """
    )
    assert done.stdout == "True\n", done.stderr


def test_an_actor_prints_under_its_own_name_when_it_has_one(run_script: Any) -> None:
    done = run_script(
        """
        import manta as ray

        @ray.remote
        class Named:
            def __init__(self):
                print("starts")

            def __repr__(self):
                return "Named of\\n3"

            def method(self):
                print("runs")

            async def later(self):
                print("runs later")

        @ray.remote
        class Odd:
            def __repr__(self):
                raise ValueError

            def method(self):
                print("odd")

        ray.init(num_cpus=1)
        named = Named.remote()
        ray.get([named.method.remote(), named.later.remote(), Odd.remote().method.remote()])
        """
    )
    lines = sorted(re.sub(r"pid=\d+", "pid=N", line) for line in done.stdout.splitlines())
    assert lines == [
        "(Named of 3 pid=N) runs",
        "(Named of 3 pid=N) runs later",
        "(Named.__init__ pid=N) starts",
        "(Odd.method pid=N) odd",
    ], done.stderr


def test_progress_is_told_in_lines(capsys: Any) -> None:
    bar = tqdm_ray.tqdm([5, 6, 7], desc="rows", unit="row", flush_interval_s=0)
    assert list(bar) == [5, 6, 7]
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" [")[0] for line in said] == [
        *["rows:  33% 1/3", "rows:  67% 2/3", "rows: 100% 3/3", "rows: 100% 3/3"]
    ]
    bar = tqdm_ray.tqdm(desc="steps", flush_interval_s=1000)
    for _ in range(10):
        bar.update(2)
    bar.close()
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" [")[0] for line in said] == ["steps: 2", "steps: 20"]
    with pytest.raises(ValueError, match="No iterable"):
        list(tqdm_ray.tqdm())


def test_joblib_runs_its_calls_on_the_cluster(ray: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from manta.util.joblib import register_ray

    register_ray()
    with joblib.parallel_config(backend="ray", n_jobs=2):
        calls = (joblib.delayed(lambda number: (number, os.getpid()))(number) for number in range(8))
        results = joblib.Parallel()(calls)
    assert [number for number, _ in results] == list(range(8))
    assert os.getpid() not in {pid for _, pid in results}
    with joblib.parallel_config(backend="ray", n_jobs=2), pytest.raises(ZeroDivisionError):
        joblib.Parallel()(joblib.delayed(lambda number: 1 / number)(number) for number in range(3))


def test_what_tells_of_a_cluster_starts_none(run_script: Any) -> None:
    done = run_script(
        """
        import manta as ray

        for tells in (ray.nodes, ray.cluster_resources, ray.available_resources, ray.timeline):
            try:
                tells()
            except ray.exceptions.RaySystemError as error:
                print(error, ray.is_initialized())
        """
    )
    said = "this program has not joined a cluster: call init() first False\n"
    assert done.stdout == said * 4, done.stderr


def test_lost_nodes_are_listed_as_such(run_script: Any) -> None:
    done = run_script(
        """
        import manta as ray
        from manta.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
        other = cluster.add_node(num_cpus=2, labels={"zone": "b"})
        lost = other.node_id
        cluster.remove_node(other)
        row = {}
        while not row:
            row = {node["NodeID"]: node for node in ray.nodes() if not node["Alive"]}
        row = row[lost]
        print(len(ray.nodes()), row["Resources"], row["Labels"]["zone"], row["DeathReason"], row["NodeName"])
        print(ray.cluster_resources()["CPU"])
        ray.shutdown()
        cluster.shutdown()
        """
    )
    assert done.stdout == "2 {} b 2 node-2\n1.0\n", done.stderr


def test_a_job_config_is_the_same_as_inits_arguments(run_script: Any) -> None:
    done = run_script(
        """
        import os
        import manta as ray
        from manta.job_config import JobConfig

        config = JobConfig(ray_namespace="mine", runtime_env={"env_vars": {"A": "1"}})
        config.set_metadata("a", "b")
        ray.init(num_cpus=1, job_config=config)
        print(ray.get_runtime_context().namespace, ray.get(ray.remote(lambda: os.environ["A"]).remote()))
        """
    )
    assert done.stdout == "mine 1\n", done.stderr
    from manta.job_config import JobConfig

    with pytest.raises(NotImplementedError, match="'jvm_options' of a JobConfig is not supported"):
        JobConfig(jvm_options=["-Xmx1g"])
    with pytest.raises(TypeError, match="code_search_path"):
        JobConfig(code_search_path="text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'detached' or 'non_detached', not 'short'"):
        JobConfig(default_actor_lifetime="short")


def test_an_unknown_option_of_a_call_is_a_type_error(ray: Any) -> None:
    @ray.remote
    class Actor:
        def method(self) -> None: ...

    with pytest.raises(TypeError, match="'nonsense' is not an option of actor methods"):
        Actor.remote().method.options(nonsense=1)


def test_the_plain_class_of_an_actor_class_can_be_had(ray: Any) -> None:
    class Plain:
        pass

    metadata = ray.remote(Plain).__ray_metadata__
    assert (metadata.modified_class, metadata.class_name) == (Plain, "Plain")


@pytest.mark.parametrize("text", ["in(", "in()", "a b", "!in()", "a,b"])
def test_a_label_selector_that_says_nothing_is_refused(ray: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        ray.remote(label_selector={"zone": text})(lambda: None)


def test_resources_in_a_placement_group_have_their_own_names(ray: Any) -> None:
    group = placement_group([{"CPU": 1}])
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)

    @ray.remote(num_cpus=1, scheduling_strategy=strategy)
    def assigned() -> Any:
        return ray.get_runtime_context().get_assigned_resources()

    assert ray.get(assigned.remote(), timeout=30) == {"CPU": 1}
    remove_placement_group(group)


def test_a_function_that_captures_too_much_is_refused(ray: Any, caplog: Any) -> None:
    large = bytes(61 * 1024 * 1024)
    with pytest.raises(ValueError, match=r"<lambda> has 61 MiB .* 60 MiB is the most: .* put\(\) it"):
        ray.remote(lambda: len(large)).remote()
    large = bytes(11 * 1024 * 1024)
    assert ray.get(ray.remote(lambda: len(large)).remote()) == len(large)
    assert "<lambda> has 11 MiB with what it refers to, which every worker that runs it gets" in caplog.text
