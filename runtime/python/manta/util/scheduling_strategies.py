"""Values of the option `scheduling_strategy`: where tasks and actors run, beyond having the resources that they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manta.util.placement_group import PlacementGroup

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
]


class PlacementGroupSchedulingStrategy:
    """In a placement group.

    Args:
        placement_group: The group; None for none.
        placement_group_bundle_index: In this bundle of it; -1 for any.
        placement_group_capture_child_tasks: Whether what the task or actor submits is in the group too, in any bundle of it, unless it
            has a strategy of its own.
    """

    def __init__(
        self,
        placement_group: PlacementGroup | None,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks


class NodeAffinitySchedulingStrategy:
    """On one node.

    Args:
        node_id: The node's id in hex, as `get_runtime_context().get_node_id()` and `nodes()` have it.
        soft: Whether to run elsewhere when the node is gone or can never run it.
        _spill_on_unavailable: With `soft`, whether to run elsewhere also when the node has no room now, in place of waiting for it.
        _fail_on_unavailable: Whether to fail with `TaskUnschedulableError` when the node has no room now.
    """

    def __init__(
        self,
        node_id: str,
        soft: bool,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        if not isinstance(node_id, str):
            raise TypeError(f"'node_id' must be text in hex, not {type(node_id).__name__}")
        self.node_id = node_id
        self.soft = bool(soft)
        self._spill_on_unavailable = bool(_spill_on_unavailable)
        self._fail_on_unavailable = bool(_fail_on_unavailable)


class _Labels:
    """A set of a label's values."""

    def __init__(self, *values: str) -> None:
        if not values:
            raise ValueError(f"{type(self).__name__}() needs at least one value")
        for value in values:
            if not isinstance(value, str):
                raise ValueError(f"the values of labels are text, not {type(value).__name__}: {value!r}")
        self.values = list(values)


class In(_Labels):
    """The label is one of these."""


class NotIn(_Labels):
    """The label is none of these, or is not there."""


class Exists:
    """The label is there."""


class DoesNotExist:
    """The label is not there."""


LabelMatch = In | NotIn | Exists | DoesNotExist


class NodeLabelSchedulingStrategy:
    """On nodes whose labels are so.

    Args:
        hard: What a node's labels must be, by their keys.
        soft: What they should be, where there is a choice.
    """

    def __init__(
        self, hard: Mapping[str, LabelMatch] | None, *, soft: Mapping[str, LabelMatch] | None = None
    ) -> None:
        self.hard = _checked("hard", hard)
        self.soft = _checked("soft", soft)
        if not self.hard and not self.soft:
            raise ValueError("give 'hard' or 'soft' at least one label")


def _checked(name: str, labels: Mapping[str, LabelMatch] | None) -> dict[str, LabelMatch]:
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise ValueError(f"'{name}' must be a dict of labels, not {type(labels).__name__}")
    for key, match in labels.items():
        if not isinstance(key, str):
            raise ValueError(f"the keys of '{name}' are text, not {type(key).__name__}")
        if not isinstance(match, (In, NotIn, Exists, DoesNotExist)):
            raise ValueError(
                f"'{name}[{key!r}]' must be In(...), NotIn(...), Exists() or DoesNotExist(), not {match!r}"
            )
    return dict(labels)
