"""Placement groups: resources that are reserved together, on one node or on several, for tasks that run in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manta import _manta, _session
from manta._ids import PlacementGroupID
from manta.exceptions import TaskPlacementGroupRemoved, TaskUnschedulableError

__all__ = [
    "PlacementGroup",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
]

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


class PlacementGroup:
    """A group, which may not be placed yet."""

    def __init__(
        self, id: PlacementGroupID | str, bundle_cache: Sequence[Mapping[str, float]] | None = None
    ) -> None:
        self.id = PlacementGroupID.from_hex(id) if isinstance(id, str) else id
        self._bundles = None if bundle_cache is None else [dict(bundle) for bundle in bundle_cache]

    @staticmethod
    def empty() -> PlacementGroup:
        """What stands for no group."""
        return PlacementGroup(PlacementGroupID.nil(), [])

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """What each bundle reserves."""
        if self._bundles is None:
            self._bundles = [dict(amounts) for amounts, _node in _described(self.id.hex())["bundles"]]
        return self._bundles

    @property
    def bundle_count(self) -> int:
        """How many bundles it has."""
        return len(self.bundle_specs)

    @property
    def is_empty(self) -> bool:
        """Whether it stands for no group."""
        return self.id.is_nil()

    def ready(self) -> _manta.ObjectRef[PlacementGroup]:
        """A ref that has this group as its value as soon as all bundles are placed."""
        from manta.remote_function import make_remote
        from manta.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        options = {"num_cpus": 0, "scheduling_strategy": PlacementGroupSchedulingStrategy(self)}
        same: Any = make_remote(_same, options)
        ref: _manta.ObjectRef[PlacementGroup] = same.remote(self)
        return ref

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Whether it is placed within this time."""
        from manta._api import get, wait

        ready, _ = wait([self.ready()], timeout=timeout_seconds)
        if not ready:
            return False
        try:
            get(ready[0])
        except (TaskUnschedulableError, TaskPlacementGroupRemoved):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"


def _described(group_id: str) -> dict[str, Any]:
    _session.ensure_initialized()
    for group in _manta.placement_groups():
        if group["id"] == group_id:
            return group
    raise ValueError(f"the cluster knows no placement group with the id {group_id}")


def _same(group: PlacementGroup) -> PlacementGroup:
    return group


def placement_group(
    bundles: Sequence[Mapping[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: Sequence[Mapping[str, str]] | None = None,
    topology_strategy: str | None = None,
) -> PlacementGroup:
    """Reserves resources together, as soon as there is room for all of them; answers at once.

    Args:
        bundles: What is reserved on one node each, such as `[{"CPU": 1}, {"GPU": 1, "CPU": 2}]`.
        strategy: "PACK", the default (few nodes), "SPREAD" (many), "STRICT_PACK" (one), "STRICT_SPREAD" (one for each bundle).
        name: For `get_placement_group`; unique in the cluster.
        lifetime: "detached" for a group that stays when this program ends.
        bundle_label_selector: For each bundle the labels that its node must have, as the option `label_selector` has them.
    """
    given = {
        "_soft_target_node_id": _soft_target_node_id,
        "topology_strategy": topology_strategy,
    }
    for option, value in given.items():
        if value is not None:
            raise NotImplementedError(f"'{option}' is not supported yet for placement groups; leave it out")
    if strategy is None:
        strategy = "PACK"
    if not isinstance(bundles, (list, tuple)):
        raise ValueError(f"'bundles' must be a list of dicts, not {type(bundles).__name__}")
    if not bundles:
        raise ValueError("a placement group needs at least one bundle")
    if strategy not in STRATEGIES:
        raise ValueError(f"'strategy' must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if lifetime not in (None, "detached"):
        raise ValueError(f"'lifetime' must be None or 'detached', not {lifetime!r}")
    checked = [_checked_bundle(index, bundle) for index, bundle in enumerate(bundles)]
    labels = _checked_labels(bundle_label_selector, len(checked))
    _session.ensure_initialized()
    wire = [list(bundle.items()) for bundle in checked]
    group_id = _manta.create_placement_group(name or "", strategy, wire, lifetime == "detached", labels)
    return PlacementGroup(group_id, checked)


def _checked_labels(selectors: Any, bundles: int) -> list[list[tuple[str, str, list[str]]]]:
    from manta import _placement  # It needs this module.

    if selectors is None:
        return []
    if not isinstance(selectors, (list, tuple)):
        raise ValueError(f"'bundle_label_selector' must be a list, not {type(selectors).__name__}")
    if selectors and len(selectors) != bundles:
        raise ValueError(
            f"'bundle_label_selector' must have a selector for each bundle: there are {len(selectors)} for {bundles}"
        )
    checked = [_placement.checked_selector("bundle_label_selector", selector) for selector in selectors]
    return [[(key, operator, list(values)) for key, operator, values, _ in each.rules] for each in checked]


def _checked_bundle(index: int, bundle: Any) -> dict[str, float]:
    if not isinstance(bundle, Mapping) or not bundle:
        raise ValueError(f"bundle {index} must be a dict of resources and amounts, not {bundle!r}")
    for name, amount in bundle.items():
        if not isinstance(name, str) or isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise ValueError(
                f"bundle {index} must be a dict of resources and amounts; it has {name!r}: {amount!r}"
            )
        if not amount >= 0:
            raise ValueError(f"bundle {index}: the amount of '{name}' must be 0 or more, not {amount}")
    amounts = {name: float(amount) for name, amount in bundle.items() if amount > 0}
    if not amounts:
        raise ValueError(f"bundle {index} asks for nothing; give at least one amount above 0")
    return amounts


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Gives the group's resources back; tasks that run in it end, and those that wait for it fail."""
    if not isinstance(placement_group, PlacementGroup):
        raise TypeError(f"give a PlacementGroup, not {type(placement_group).__name__}")
    _session.ensure_initialized()
    _manta.remove_placement_group(placement_group.id.hex())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of this name."""
    if not placement_group_name:
        raise ValueError("give the name of a placement group")
    _session.ensure_initialized()
    for group in _manta.placement_groups():
        if group["name"] == placement_group_name and group["state"] != "REMOVED":
            return PlacementGroup(group["id"], [dict(amounts) for amounts, _ in group["bundles"]])
    raise ValueError(f"there is no placement group named '{placement_group_name}'")


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What is known of one group, or of all, by their ids."""
    _session.ensure_initialized()
    table = {group["id"]: _row(group) for group in _manta.placement_groups()}
    if placement_group is None:
        return table
    return table.get(placement_group.id.hex(), {})


def _row(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "placement_group_id": group["id"],
        "name": group["name"],
        "strategy": group["strategy"],
        "state": group["state"],
        "bundles": {index: dict(amounts) for index, (amounts, _) in enumerate(group["bundles"])},
        "bundles_to_node_id": {index: node for index, (_, node) in enumerate(group["bundles"])},
        "stats": {"scheduling_state": group["waits_for"] or "FINISHED"},
    }


def get_current_placement_group() -> PlacementGroup | None:
    """The placement group that the running task or actor is in; None outside of one, and in the program that submits tasks."""
    from manta.runtime_context import current_placement_group_id

    _session.ensure_initialized()
    group_id = current_placement_group_id()
    if group_id is None:
        return None
    for group in _manta.placement_groups():
        if group["id"] == group_id:
            return PlacementGroup(group_id, [dict(amounts) for amounts, _node in group["bundles"]])
    return None
