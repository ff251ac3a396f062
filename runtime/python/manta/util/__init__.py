"""What programs use beside tasks and objects, under the names that Ray's `util` has."""

import importlib
import json
from typing import TYPE_CHECKING, Any

from manta import _manta, _session
from manta.util import scheduling_strategies
from manta.util.actor_pool import ActorPool
from manta.util.check_serialize import inspect_serializability
from manta.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
from manta.util.helpers import as_completed, map_unordered
from manta.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from manta.util.serialization import deregister_serializer, register_serializer

if TYPE_CHECKING:
    from manta.util import accelerators, metrics, queue

__all__ = [
    "ActorPool",
    "PlacementGroup",
    "accelerators",
    "as_completed",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "metrics",
    "placement_group",
    "placement_group_table",
    "queue",
    "register_serializer",
    "remove_placement_group",
    "scheduling_strategies",
]


def __getattr__(name: str) -> Any:
    if name in ("accelerators", "metrics", "queue"):
        # Read when they are first used: workers start sooner without them.
        return importlib.import_module(f"manta.util.{name}")
    raise AttributeError(f"module 'manta.util' has no attribute '{name}'")


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """The names of living actors of this namespace; of all of them, as dicts with name and namespace."""
    _session.ensure_initialized()
    rows = [
        json.loads(row) for row in _manta.current_head().list_state("actors", [("state", "DEAD", True)])[0]
    ]
    alive = [row for row in rows if row["name"]]
    if all_namespaces:
        return [{"name": row["name"], "namespace": row["ray_namespace"]} for row in alive]
    return [row["name"] for row in alive if row["ray_namespace"] == _manta.namespace()]


def get_node_ip_address(address: str | None = None) -> str:
    """The address at which other nodes reach this one; Ray's argument has no effect."""
    _session.ensure_initialized()
    own = _manta.context()["node_id"]
    address = next((node["address"] for node in _manta.nodes() if node["id"] == own), "127.0.0.1:0")
    return str(address.rpartition(":")[0].strip("[]"))
