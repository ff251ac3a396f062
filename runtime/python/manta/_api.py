"""The functions of the public API that work on tasks and objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from manta import _manta, _session
from manta._generator import ObjectRefGenerator
from manta.remote_function import RemoteFunction, make_remote

T = TypeVar("T")


@overload
def remote(function: Callable[..., Any], /) -> RemoteFunction: ...
@overload
def remote(**options: Any) -> Callable[[Callable[..., Any]], RemoteFunction]: ...
def remote(*target: Any, **options: Any) -> Any:
    """Makes a function run as a task: `@remote`, or with options `@remote(num_cpus=2)`."""
    if not target:
        if not options:
            raise AssertionError(
                "write @remote without parentheses, or with options such as @remote(num_cpus=2)"
            )
        return lambda function: make_remote(function, options)
    if options or len(target) > 1:
        raise AssertionError("remote() takes one function, or options alone by keyword: @remote(num_cpus=2)")
    return make_remote(target[0], {})


@overload
def get(object_refs: _manta.ObjectRef[T], *, timeout: float | None = None) -> T: ...
@overload
def get(object_refs: Sequence[_manta.ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...
def get(object_refs: Any, *, timeout: float | None = None, _use_object_store: bool = False) -> Any:
    """Waits for one object, or for each of a list, and answers with the values.

    Raises what the task raised; `GetTimeoutError` when `timeout` seconds are over, in which time that an awaited task spends paused
    in a debugger does not count.
    """
    if timeout is not None and timeout < 0:
        # As in Ray, no limit.
        timeout = None
    if isinstance(object_refs, _manta.ObjectRef):
        _session.ensure_initialized()
        return _manta.get([object_refs], timeout)[0]
    if isinstance(object_refs, ObjectRefGenerator):
        # As in Ray: its values are got one by one.
        return object_refs
    if isinstance(object_refs, list):
        _session.ensure_initialized()
        return _manta.get(object_refs, timeout)
    raise ValueError(f"get() takes an ObjectRef or a list of them, not {type(object_refs).__name__}")


def put(value: T, *, _owner: Any = None, _tensor_transport: str | None = None) -> _manta.ObjectRef[T]:
    """Stores a value once, to be passed to many tasks by its reference.

    The two other arguments are there to be refused with a sentence, as Ray does the first.
    """
    if _owner is not None:
        raise ValueError("put() has no '_owner' any more: the process that puts a value owns it")
    if _tensor_transport is not None:
        raise ValueError("put() has no '_tensor_transport' here; leave it out")
    if isinstance(value, _manta.ObjectRef):
        raise TypeError(
            "put() was called on an ObjectRef: the value is stored already; to store the ref itself put [ref]"
        )
    _session.ensure_initialized()
    return _manta.put(value)


def wait(
    ray_waitables: Sequence[_manta.ObjectRef[Any]],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[_manta.ObjectRef[Any]], list[_manta.ObjectRef[Any]]]:
    """Waits until `num_returns` of the objects are ready or `timeout` seconds are over; answers with those and the others, in order."""
    if isinstance(ray_waitables, _manta.ObjectRef):
        raise TypeError("wait() takes a list of ObjectRefs; put the one in a list")
    if not isinstance(ray_waitables, (list, tuple)):
        raise TypeError(f"wait() takes a list of ObjectRefs, not {type(ray_waitables).__name__}")
    waitables = list(ray_waitables)
    if isinstance(num_returns, float) and num_returns.is_integer():
        num_returns = int(num_returns)
    if isinstance(num_returns, bool) or not isinstance(num_returns, int) or num_returns <= 0:
        raise ValueError(f"'num_returns' must be 1 or more, not {num_returns!r}")
    if 0 < num_returns <= len(waitables):
        _session.ensure_initialized()
        split = _manta.wait_refs(waitables, num_returns, timeout, fetch_local)
        if split is not None:
            return split
    # A generator is ready when its next value is, or when it is over.
    refs = [
        (one.expected() or one.completed()) if isinstance(one, ObjectRefGenerator) else one
        for one in waitables
    ]
    _check_refs("wait", refs, TypeError)
    if len(set(refs)) != len(refs):
        raise ValueError("wait() was given the same ObjectRef twice; pass each once")
    if not refs:
        return [], []
    if num_returns > len(refs):
        raise ValueError(
            f"'num_returns' is {num_returns}, but there are only {len(refs)} ObjectRefs to wait for"
        )
    _session.ensure_initialized()
    return _split(waitables, _manta.wait(refs, num_returns, timeout, fetch_local), num_returns)


def _split(refs: list[T], is_ready: list[bool], num_returns: int) -> tuple[list[T], list[T]]:
    ready: list[T] = []
    others: list[T] = []
    for ref, now in zip(refs, is_ready, strict=True):
        (ready if now and len(ready) < num_returns else others).append(ref)
    return ready, others


def _check_refs(caller: str, refs: Sequence[Any], error: type[Exception] = ValueError) -> None:
    for index, ref in enumerate(refs):
        if not isinstance(ref, _manta.ObjectRef):
            raise error(f"{caller}() takes ObjectRefs, and item {index} is of type {type(ref).__name__}")


def cancel(
    ray_waitable: _manta.ObjectRef[Any] | ObjectRefGenerator, *, force: bool = False, recursive: bool = True
) -> None:
    """Cancels a task by a ref of its result; one that is over stays as it is.

    A task that has not started never runs. One that runs gets a KeyboardInterrupt; with `force`, its worker is ended. `get` of its
    result raises `TaskCancelledError`. `recursive` cancels the tasks that it has submitted as well.
    """
    _session.ensure_initialized()
    if isinstance(ray_waitable, ObjectRefGenerator):
        ray_waitable = ray_waitable.completed()
    if not isinstance(ray_waitable, _manta.ObjectRef):
        raise TypeError(f"cancel() takes an ObjectRef, not {type(ray_waitable).__name__}")
    _manta.cancel(ray_waitable, force, recursive)


def nodes() -> list[dict[str, Any]]:
    """The cluster's nodes, and after them those that were lost, with `Alive` False and without resources."""
    _session.check_initialized()
    nodes = _manta.nodes()
    ids = {node["id"] for node in nodes}
    rows = _manta.current_head().list_state("nodes", [("state", "DEAD", False)])[0]
    lost = [row for row in map(json.loads, rows) if row["node_id"] not in ids]
    return [
        *(_node(node["id"], node["name"], node["address"], labels_of(node), node["total"]) for node in nodes),
        *(_node(row["node_id"], row["name"], row["peer_address"], row_labels(row), None) for row in lost),
    ]


def _node(
    id: str, name: str, address: str, labels: dict[str, str], total: list[tuple[str, float]] | None
) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    is_alive = total is not None
    return {
        "NodeID": id,
        "Alive": is_alive,
        "NodeName": name,
        "NodeManagerAddress": host,
        "NodeManagerHostname": name,
        "NodeManagerPort": int(port or 0),
        "Resources": dict(_own(total or [])),
        "Labels": labels,
        "alive": is_alive,
        # Ray's numbers: alive, and ended unexpectedly.
        "DeathReason": 0 if is_alive else 2,
        "DeathReasonMessage": "" if is_alive else "the node was lost, or left",
        **_WITHOUT_COUNTERPART,
    }


NODE_ID_LABEL = "ray.io/node-id"
# What Ray's nodes have that ours do not: one port serves all, and sockets are between a node and its own workers.
_WITHOUT_COUNTERPART = {
    "ObjectManagerPort": 0,
    "ObjectStoreSocketName": "",
    "RayletSocketName": "",
    "MetricsExportPort": 0,
    "MetricsAgentPort": 0,
    "DashboardAgentListenPort": 0,
    "RuntimeEnvAgentPort": 0,
}


def row_labels(row: dict[str, Any]) -> dict[str, str]:
    """The same of a row of the head's table."""
    return {NODE_ID_LABEL: row["node_id"], **row["labels"]}


def labels_of(node: dict[str, Any]) -> dict[str, str]:
    """A node's labels, with the one that each node has."""
    return {NODE_ID_LABEL: node["id"], **dict(node["labels"])}


def cluster_resources() -> dict[str, float]:
    """What all nodes together have."""
    _session.check_initialized()
    sums: dict[str, float] = {}
    for node in _manta.nodes():
        for name, amount in _own(node["total"]):
            sums[name] = sums.get(name, 0.0) + amount
    return sums


def available_resources() -> dict[str, float]:
    """What of it no task uses now, as the head has heard last."""
    _session.check_initialized()
    rows = _manta.current_head().list_state("nodes", [("state", "ALIVE", False)])[0]
    sums: dict[str, float] = {}
    for node in map(json.loads, rows):
        # A node that has just joined has not said yet how much it uses, which is nothing.
        for name, amount in _own(list((node["available"] or node["total"]).items())):
            sums[name] = sums.get(name, 0.0) + amount
    return sums


def _own(amounts: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Without what placement groups have reserved, which is there under a name of theirs too."""
    return [(name, amount) for name, amount in amounts if "_group_" not in name]
