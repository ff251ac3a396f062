"""What programs use beside tasks and objects, under the names that Ray's `util` has."""

from manta.util import queue, scheduling_strategies
from manta.util.actor_pool import ActorPool
from manta.util.check_serialize import inspect_serializability
from manta.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

__all__ = [
    "ActorPool",
    "PlacementGroup",
    "get_placement_group",
    "inspect_serializability",
    "placement_group",
    "placement_group_table",
    "queue",
    "remove_placement_group",
    "scheduling_strategies",
]
