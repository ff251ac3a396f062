"""Values of the option `scheduling_strategy`: where tasks and actors run, beyond having the resources that they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Union

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
]


class NodeAffinitySchedulingStrategy:
    """On one node.

    Args:
        node_id: The node's id in hex, as `get_runtime_context().get_node_id()` and `nodes()` have it.
        soft: Whether to run elsewhere when the node is gone or can never run it.
    """

    def __init__(self, node_id: str, soft: bool) -> None:
        if not isinstance(node_id, str):
            raise TypeError(f"'node_id' must be text in hex, not {type(node_id).__name__}")
        self.node_id = node_id
        self.soft = bool(soft)


class _Labels:
    """A set of a label's values."""

    def __init__(self, *values: str) -> None:
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


LabelMatch = Union[In, NotIn, Exists, DoesNotExist]


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
