"""Where this code runs: which job, task, node and worker."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from manta import _actor_host, _api, _function, _manta, _session, actor
from manta._ids import ActorID, JobID, NodeID, PlacementGroupID, TaskID, WorkerID
from manta.runtime_env import RuntimeEnv


class RuntimeContext:
    """What `get_runtime_context` answers with; each method says what holds when it is called."""

    def get_job_id(self) -> str:
        """The job's id."""
        return str(_manta.context()["job_id"])

    def get_task_id(self) -> str | None:
        """The running task's id; None in the program that submits tasks."""
        task = _current()
        return task[0] if task else None

    def get_task_name(self) -> str | None:
        """The running task's name; None in the program that submits tasks."""
        task = _current()
        return task[2] if task else None

    def get_task_attempt(self) -> int | None:
        """How often the running task was tried before; None in the program that submits tasks."""
        task = _current()
        return task[1] if task else None

    def get_task_function_name(self) -> str | None:
        """The name of the running task's function or method, which the task's own name may differ from; None outside of tasks."""
        if (hosted := _actor_host.hosted()) is not None:
            call = _actor_host.running_call()
            return f"{hosted.module}.{hosted.description.name}.{call.method}" if call is not None else None
        if _manta.current_task() is None or _function.running is None:
            return None
        function = _function.running.function
        return f"{function.__module__}.{getattr(function, '__name__', repr(function))}"

    def get_assigned_resources(self) -> dict[str, float]:
        """What the running task, or the actor that runs this, was given of its node."""
        if (hosted := _actor_host.hosted()) is not None:
            return _plain(hosted.description.held)
        if not _manta.is_worker():
            raise RuntimeError("get_assigned_resources() is for tasks, and this program is none")
        held = _function.running.resources if _function.running is not None else ()
        return _plain(held)

    def is_canceled(self) -> bool:
        """Whether the running task was cancelled: for those that cannot be interrupted, and look by themselves."""
        if not _manta.is_worker():
            raise RuntimeError("is_canceled() is for tasks, and this program is none")
        call = _actor_host.running_call()
        return call.is_interrupted() if call is not None else _manta.is_interrupted()

    def get(self) -> dict[str, object]:
        """The ids of what runs here, by name."""
        found = {
            "job_id": self.get_job_id(),
            "node_id": self.get_node_id(),
            "task_id": self.get_task_id(),
            "actor_id": self.get_actor_id(),
            "namespace": self.namespace,
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def job_id(self) -> JobID:
        """As `get_job_id`, as an object."""
        return JobID.from_hex(self.get_job_id())

    @property
    def node_id(self) -> NodeID:
        """As `get_node_id`, as an object."""
        return NodeID.from_hex(self.get_node_id())

    @property
    def task_id(self) -> TaskID:
        """As `get_task_id`, as an object; nil in the program that submits tasks."""
        found = self.get_task_id()
        return TaskID.from_hex(found) if found else TaskID.nil()

    @property
    def actor_id(self) -> ActorID:
        """As `get_actor_id`, as an object; nil outside of actors."""
        found = self.get_actor_id()
        return ActorID.from_hex(found) if found else ActorID.nil()

    @property
    def current_placement_group_id(self) -> PlacementGroupID:
        """As `get_placement_group_id`, as an object; nil outside of one."""
        found = current_placement_group_id()
        return PlacementGroupID.from_hex(found) if found else PlacementGroupID.nil()

    @property
    def worker_id(self) -> WorkerID:
        """As `get_worker_id`, as an object."""
        return WorkerID.from_hex(self.get_worker_id())

    def get_actor_id(self) -> str | None:
        """The id of the actor that runs this; None outside of actors."""
        current = actor.current_actor()
        return current._actor_id.hex() if current is not None else None

    def get_actor_name(self) -> str | None:
        """The name of the actor that runs this: empty when it has none, None outside of actors."""
        hosted = _actor_host.hosted()
        return (hosted.name or "") if hosted is not None else None

    @property
    def current_actor(self) -> actor.ActorHandle:
        """A handle of the actor that runs this."""
        current = actor.current_actor()
        if current is None:
            raise RuntimeError("current_actor is for the methods of actors, and this worker hosts none")
        return current

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor that runs this was made anew after its worker ended."""
        hosted = _actor_host.hosted()
        return hosted is not None and hosted.attempt > 0

    def get_node_id(self) -> str:
        """The id of the node that this process belongs to."""
        return str(_manta.context()["node_id"])

    def get_worker_id(self) -> str:
        """This process's id in the cluster."""
        return str(_manta.context()["worker_id"])

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The GPUs that this process may use, as strings."""
        return {"GPU": [str(gpu) for gpu in get_gpu_ids()]}

    def get_placement_group_id(self) -> str | None:
        """The id of the placement group that the running task or actor is in; None outside of one."""
        return current_placement_group_id()

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what is submitted here is in the placement group of what runs here, unless it says otherwise."""
        return _function.captured is not None

    def get_resource_ids(self) -> dict[str, list[str]]:
        """Another name of `get_accelerator_ids`."""
        return self.get_accelerator_ids()

    def get_temp_dir(self) -> str:
        """The folder of this machine's part of the cluster, with logs and sockets of its nodes."""
        return os.path.dirname(self._session_dir())

    def get_session_name(self) -> str:
        """The name of the node's folder, which is new with each start."""
        return os.path.basename(self._session_dir())

    def _session_dir(self) -> str:
        return str(_manta.context()["session_dir"])

    def get_node_labels(self) -> dict[str, str]:
        """The labels of the node that this process belongs to."""
        own = self.get_node_id()
        return next((_api.labels_of(node) for node in _manta.nodes() if node["id"] == own), {})

    def get_runtime_env_string(self) -> str:
        """The environment of this process as JSON; its local folders are packages by now."""
        job = _manta.job()
        return (job["runtime_env"] if job else "") or "{}"

    @property
    def runtime_env(self) -> RuntimeEnv:
        """The environment of this process."""
        return RuntimeEnv(_validate=False, **json.loads(self.get_runtime_env_string()))

    @property
    def namespace(self) -> str:
        """The job's namespace."""
        return str(_manta.namespace())

    @property
    def gcs_address(self) -> str:
        """The head's address."""
        return str(_manta.context()["address"])


def current_job_id() -> JobID:
    """The job that this process belongs to."""
    return JobID.from_hex(str(_manta.context()["job_id"]))


def get_gpu_ids() -> list[int | str]:
    """The GPUs that this process may use, by their number, or by their name where they are called by that."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return [int(name) if name.isdigit() else name for name in names]


def current_placement_group_id() -> str | None:
    """The placement group of what runs here, by its id."""
    hosted = _actor_host.hosted()
    if hosted is not None:
        group: str | None = hosted.description.placement_group
        return group
    if _manta.current_task() is None or _function.running is None:
        return None
    names = (name for name, _ in _function.running.resources)
    # A task in a group has a little of its bundle, under a name that ends with the group's id.
    return next((name.rpartition("_")[2] for name in names if name.startswith("bundle_group_")), None)


def _current() -> tuple[str, int, str, str] | None:
    call = _actor_host.running.get()
    return call.identity if call is not None else _manta.current_task()


def get_runtime_context() -> RuntimeContext:
    """The runtime context of this process."""
    _session.ensure_initialized()
    return RuntimeContext()


def _plain(amounts: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Amounts by the names that were asked for: what is in a placement group has others, which say the group and its bundle."""
    plain: dict[str, float] = {}
    for name, amount in amounts:
        own, in_group, _ = name.partition("_group_")
        if not in_group or own != "bundle":
            plain[own] = float(amount)
    return plain
