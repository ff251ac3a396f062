"""Where this code runs: which job, task, node and worker."""

from __future__ import annotations

import os

from manta import _manta, _session


class RuntimeContext:
    """What `get_runtime_context` answers with; each method says what holds when it is called."""

    def get_job_id(self) -> str:
        """The job's id."""
        return str(_manta.context()["job_id"])

    def get_task_id(self) -> str | None:
        """The running task's id; None in the program that submits tasks."""
        task = _manta.current_task()
        return task[0] if task else None

    def get_task_name(self) -> str | None:
        """The running task's name; None in the program that submits tasks."""
        task = _manta.current_task()
        return task[2] if task else None

    def get_task_attempt(self) -> int | None:
        """How often the running task was tried before; None in the program that submits tasks."""
        task = _manta.current_task()
        return task[1] if task else None

    def get_node_id(self) -> str:
        """The id of the node that this process belongs to."""
        return str(_manta.context()["node_id"])

    def get_worker_id(self) -> str:
        """This process's id in the cluster."""
        return str(_manta.context()["worker_id"])

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The GPUs that this process may use, as strings."""
        return {"GPU": [str(gpu) for gpu in get_gpu_ids()]}

    @property
    def namespace(self) -> str:
        """The job's namespace."""
        return str(_manta.context()["namespace"] or "")

    @property
    def gcs_address(self) -> str:
        """The head's address."""
        return str(_manta.context()["address"])


def get_gpu_ids() -> list[int | str]:
    """The GPUs that this process may use, by their number, or by their name where they are called by that."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return [int(name) if name.isdigit() else name for name in names]


def get_runtime_context() -> RuntimeContext:
    """The runtime context of this process."""
    _session.ensure_initialized()
    return RuntimeContext()
