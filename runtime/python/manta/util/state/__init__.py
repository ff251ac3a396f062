"""What the cluster is and does, as lists of records, under Ray's names. `manta list`, `get` and `summary` show the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from manta import _manta
from manta.util.state.exception import RayStateApiException

__all__ = [
    "StateApiClient",
    "get_actor",
    "get_job",
    "get_log",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_jobs",
    "list_logs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_runtime_envs",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]

LIMIT_DEFAULT = 100
LIMIT_MAX = 10_000

Filters = Sequence[tuple[str, str, str]]


# Fields of Ray's rows that nobody keeps here: they are None.
_NOT_KEPT = frozenset(
    {
        "call_site",
        "debugger_port",
        "driver_info",
        "end_time_ms",
        "error_type",
        "events",
        "exit_detail",
        "exit_type",
        "ip",
        "label_selector",
        "message",
        "metadata",
        "num_restarts",
        "placement_group_id",
        "profiling_data",
        "repr_name",
        "required_resources",
        "runtime_env",
        "runtime_env_info",
        "serialized_runtime_env",
        "start_time_ms",
        "state_message",
        "stats",
        "task_log_info",
        "worker_launch_time_ms",
        "worker_launched_time_ms",
    }
)


class State(dict[str, Any]):
    """One row; its fields are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            if name in _NOT_KEPT:
                return None
            raise AttributeError(f"this record has no '{name}'; it has {', '.join(self)}") from None


class StateApiClient:
    """Asks one cluster."""

    def __init__(self, address: str | None = None) -> None:
        self._head = _head(address)

    def get_address(self) -> str:
        """The head's address."""
        return self._head.address

    def get_version(self) -> str:
        """The version of this package."""
        import manta

        return manta.__version__

    def rows(self, kind: str, filters: Filters | None, limit: int) -> list[State]:
        """Rows of one kind that all filters choose."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= LIMIT_MAX:
            raise ValueError(f"'limit' must be from 1 to {LIMIT_MAX}, not {limit!r}")
        if kind == "actors":
            self._settle()
        rows = self._ask(kind, _filters(filters), limit)[0]
        return [State(_renamed(kind, json.loads(row))) for row in rows]

    def counts(self, kind: str) -> list[dict[str, Any]]:
        """Counts of one kind."""
        return [json.loads(row) for row in self._ask(kind, [], 0, "", True)[0]]

    def _settle(self) -> None:
        """What this process has said of its actors is with the head when it has answered a question that goes the same way."""
        if _manta.is_connected():
            _manta.find_actor("", "")

    def _ask(self, *question: Any) -> tuple[list[str], int, str, list[str]]:
        try:
            return self._head.list_state(*question)
        except RuntimeError as error:
            raise RayStateApiException(str(error)) from None


def _head(address: str | None) -> _manta.Head:
    if address in (None, "auto") and _manta.is_connected():
        return _manta.current_head()
    return _manta.Head(None if address == "auto" else address)


def _filters(filters: Filters | None) -> list[tuple[str, str, bool]]:
    checked = []
    for one in filters or ():
        if isinstance(one, str) or len(one) != 3 or one[1] not in ("=", "!="):
            raise ValueError(f"a filter is (key, '=' or '!=', value), and {one!r} is not")
        checked.append((_FROM_RAY.get(one[0], one[0]), str(one[2]), one[1] == "!="))
    return checked


_FROM_RAY = {"attempt_number": "attempt", "func_or_class_name": "name"}
_OF_TASKS = {
    "creation_time_ms": "submitted_unix_us",
    "start_time_ms": "started_unix_us",
    "end_time_ms": "ended_unix_us",
}


def _renamed(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """Under Ray's names where it has some; the others keep theirs."""
    if kind == "tasks":
        row["attempt_number"] = row["attempt"]
        row["func_or_class_name"] = row["name"]
        row["error_message"] = row["error"] or None
        row["is_debugger_paused"] = row["state"] == "PAUSED"
        for theirs, ours in _OF_TASKS.items():
            row[theirs] = row[ours] // 1000 if row[ours] else None
    elif kind == "nodes":
        row["node_name"] = row["name"]
        row["node_ip"] = row["peer_address"].rpartition(":")[0]
        row["resources_total"] = row["total"]
        row["is_head_node"] = "node:__internal_head__" in row["total"]
    elif kind == "jobs":
        row["status"] = "RUNNING" if row["state"] == "RUNNING" else "SUCCEEDED"
        row["type"] = "SUBMISSION" if row["submission_id"] else "DRIVER"
        row["entrypoint"] = row["name"]
        row["start_time"], row["end_time"] = row["started_unix_ms"], row["ended_unix_ms"] or None
    elif kind == "workers":
        row["is_alive"], row["worker_type"] = True, "WORKER"
    return row


def _list(
    kind: str, address: str | None, filters: Filters | None, limit: int, ignored: dict[str, Any]
) -> list[State]:
    _check_ignored(ignored)
    return StateApiClient(address).rows(kind, filters, limit)


def _check_ignored(given: dict[str, Any]) -> None:
    unknown = sorted(set(given) - {"timeout", "detail", "raise_on_missing_output", "_explain"})
    if unknown:
        raise TypeError(f"there is no argument named {', '.join(unknown)}")


def _get(kind: str, key: str, id: str, address: str | None, ignored: dict[str, Any]) -> State | None:
    if not isinstance(id, str):
        id = id.hex()
    rows = _list(kind, address, [(key, "=", id)], LIMIT_DEFAULT, ignored)
    return next((row for row in rows if row[key] == id), None)


def list_tasks(
    address: str | None = None, filters: Filters | None = None, limit: int = LIMIT_DEFAULT, **ignored: Any
) -> list[State]:
    """Attempts of tasks, the newest first."""
    return _list("tasks", address, filters, limit, ignored)


def list_actors(
    address: str | None = None, filters: Filters | None = None, limit: int = LIMIT_DEFAULT, **ignored: Any
) -> list[State]:
    """Actors, living ones first, and the newest of those that are dead."""
    return _list("actors", address, filters, limit, ignored)


def list_nodes(
    address: str | None = None, filters: Filters | None = None, limit: int = LIMIT_DEFAULT, **ignored: Any
) -> list[State]:
    """Nodes, also those that were lost."""
    return _list("nodes", address, filters, limit, ignored)


def list_jobs(
    address: str | None = None, filters: Filters | None = None, limit: int = LIMIT_DEFAULT, **ignored: Any
) -> list[State]:
    """Jobs, also those that ended."""
    return _list("jobs", address, filters, limit, ignored)


def list_workers(
    address: str | None = None, filters: Filters | None = None, limit: int = LIMIT_DEFAULT, **ignored: Any
) -> list[State]:
    """Processes that run tasks."""
    return _list("workers", address, filters, limit, ignored)


def list_placement_groups(
    address: str | None = None, filters: Filters | None = None, limit: int = LIMIT_DEFAULT, **ignored: Any
) -> list[State]:
    """Placement groups, also those that were removed last."""
    return _list("placement-groups", address, filters, limit, ignored)


def list_objects(
    address: str | None = None, filters: Filters | None = None, limit: int = LIMIT_DEFAULT, **ignored: Any
) -> list[State]:
    """Objects, as each process that owns one or has refs of it knows it, the largest first."""
    return _list("objects", address, filters, limit, ignored)


def get_objects(id: str, address: str | None = None, **ignored: Any) -> list[State]:
    """The object of this id, once for each process that knows it."""
    return _list("objects", address, [("object_id", "=", id)], LIMIT_DEFAULT, ignored)


def list_runtime_envs(
    address: str | None = None, filters: Filters | None = None, limit: int = LIMIT_DEFAULT, **ignored: Any
) -> list[State]:
    """Environments that nodes have made or could not make, the newest of each node first."""
    return _list("runtime-envs", address, filters, limit, ignored)


def get_task(id: Any, address: str | None = None, **ignored: Any) -> State | list[State] | None:
    """A task: one record, or one for each of its attempts."""
    rows = _list(
        "tasks",
        address,
        [("task_id", "=", id if isinstance(id, str) else id.task_id())],
        LIMIT_DEFAULT,
        ignored,
    )
    return rows[0] if len(rows) == 1 else rows or None


def get_actor(id: str, address: str | None = None, **ignored: Any) -> State | None:
    """An actor."""
    return _get("actors", "actor_id", id, address, ignored)


def get_node(id: str, address: str | None = None, **ignored: Any) -> State | None:
    """A node."""
    return _get("nodes", "node_id", id, address, ignored)


def get_job(id: str, address: str | None = None, **ignored: Any) -> State | None:
    """A job."""
    return _get("jobs", "job_id", id, address, ignored)


def get_worker(id: str, address: str | None = None, **ignored: Any) -> State | None:
    """A worker."""
    return _get("workers", "worker_id", id, address, ignored)


def get_placement_group(id: str, address: str | None = None, **ignored: Any) -> State | None:
    """A placement group."""
    return _get("placement-groups", "placement_group_id", id, address, ignored)


def summarize_tasks(address: str | None = None, **ignored: Any) -> dict[str, Any]:
    """How many tasks there are of each name and state."""
    _check_ignored(ignored)
    rows = StateApiClient(address).counts("tasks")
    summary = {
        row["name"]: {"func_or_class_name": row["name"], "type": "NORMAL_TASK", "state_counts": row["states"]}
        for row in rows
    }
    total = sum(sum(row["states"].values()) for row in rows)
    return {"cluster": {"summary": summary, "total_tasks": total, "summary_by": "func_name"}}


def summarize_actors(address: str | None = None, **ignored: Any) -> dict[str, Any]:
    """How many actors there are of each state."""
    _check_ignored(ignored)
    counts = {row["state"]: row["count"] for row in StateApiClient(address).counts("actors")}
    return {"cluster": {"summary": {"all": {"state_counts": counts}}, "total_actors": sum(counts.values())}}


def summarize_objects(address: str | None = None, **ignored: Any) -> dict[str, Any]:
    """Counts and sizes of objects, by the task that made them and what keeps them."""
    _check_ignored(ignored)
    summary: dict[str, Any] = {}
    for row in StateApiClient(address).counts("objects"):
        group = summary.setdefault(
            row["task_name"], {"total_objects": 0, "total_size": 0, "ref_type_counts": {}}
        )
        group["total_objects"] += row["count"]
        group["total_size"] += row["total_size"]
        group["ref_type_counts"][row["reference_type"]] = row["count"]
    total = sum(group["total_objects"] for group in summary.values())
    size = sum(group["total_size"] for group in summary.values())
    cluster = {"summary": summary, "total_objects": total, "total_size": size}
    return {"cluster": cluster}


def list_logs(
    address: str | None = None, node_id: str | None = None, glob_filter: str | None = None, **ignored: Any
) -> dict[str, list[str]]:
    """The names of logs, by node."""
    _check_ignored(ignored)
    found: dict[str, list[str]] = {}
    for node, log in _head(address).list_logs([node_id] if node_id else [], glob_filter or ""):
        found.setdefault(node, []).append(log)
    return found


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    suffix: str = "out",
    submission_id: str | None = None,
    **ignored: Any,
) -> Iterator[str]:
    """What a worker, a task's worker or a submitted job's driver printed, in pieces."""
    _check_ignored(ignored)
    head = _head(address)
    if task_id or actor_id:
        rows = StateApiClient(address).rows(
            "tasks", [("task_id", "=", task_id or actor_id or "")], LIMIT_DEFAULT
        )
        worker = next((row["worker_id"] for row in rows if row["worker_id"]), None)
        if worker is None:
            raise ValueError(
                f"nothing is known of a worker of '{task_id or actor_id}'; it has not started, or is not listed"
            )
        pattern = f"worker-{worker}-*.{suffix}"
    elif pid is not None:
        pattern = f"worker-*-{pid}.{suffix}"
    elif submission_id:
        pattern = f"job-driver-{submission_id}.log"
    elif filename:
        pattern = filename
    else:
        raise ValueError("get_log() needs one of filename, task_id, actor_id, pid and submission_id")
    found = head.list_logs([node_id] if node_id else [], pattern)
    if not found:
        raise ValueError(f"no node has a log '{pattern}'")
    answer = head.read_log(*found[-1], tail, follow)
    while (part := answer.next()) is not None:
        yield part.decode(errors="replace")
