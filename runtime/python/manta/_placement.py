"""From the options that say where a task runs to what the scheduler reads: the same for tasks and for actors."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from manta._ids import NodeID
from manta.util.placement_group import PlacementGroup
from manta.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    LabelMatch,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

# Key, operator, values.
LabelRule = tuple[str, str, list[str]]
# Spread or not; a node with whether it is soft and whether only while it has room; labels that a node must have, and that it should
# have; what may take the place of the first.
Wish = tuple[
    bool, "tuple[str, bool, bool] | None", "list[LabelRule]", "list[LabelRule]", "list[list[LabelRule]]"
]

# What a task takes of its bundle so as to be in it, even when it needs nothing else.
BUNDLE_AMOUNT = 0.001

_VALUES = re.compile(r"(!?)in\s*\((.*)\)")
_VALUE = re.compile(r"[\w.-]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Labels:
    """What a node's labels must be: (key, operator, values, soft)."""

    rules: tuple[tuple[str, str, tuple[str, ...], bool], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class InGroup:
    """A place in a placement group."""

    group: str
    bundle: int
    bundles: tuple[dict[str, float], ...]
    # What runs there submits into the group as well.
    captures: bool = False

    def demand(self, amounts: list[tuple[str, float]]) -> list[tuple[str, float]]:
        """The same amounts under the names that they have in the group."""
        wanted = self.bundles if self.bundle < 0 else (self.bundles[self.bundle],)
        if not any(all(bundle.get(name, 0) >= amount for name, amount in amounts) for bundle in wanted):
            where = "any bundle" if self.bundle < 0 else f"bundle {self.bundle}"
            raise ValueError(
                f"what is asked for ({dict(amounts)}) does not fit into {where} of the placement group {self.group}, "
                f"which has {[dict(bundle) for bundle in wanted]}"
            )
        in_group = [*amounts, ("bundle", BUNDLE_AMOUNT)]
        named = [(f"{name}_group_{self.group}", amount) for name, amount in in_group]
        if self.bundle >= 0:
            named += [(f"{name}_group_{self.bundle}_{self.group}", amount) for name, amount in in_group]
        return named


@dataclasses.dataclass(frozen=True, slots=True)
class Strategy:
    """A checked `scheduling_strategy`."""

    spread: bool = False
    # Its id, whether it is soft, and whether only while it has room.
    node: tuple[str, bool, bool] | None = None
    labels: Labels = Labels(())
    group: InGroup | None = None


def wish(
    strategy: Strategy | None, selector: Labels | None, fallbacks: tuple[Labels, ...] = ()
) -> Wish | None:
    """What the scheduler is told; None for anywhere."""
    given = strategy or Strategy()
    own = _rules(given.labels, soft=False)
    hard, soft = own + _rules(selector or Labels(()), soft=False), _rules(given.labels, soft=True)
    others = [own + _rules(fallback, soft=False) for fallback in fallbacks]
    if not (hard or soft or others or given.spread or given.node):
        return None
    return given.spread, given.node, hard, soft, others


def _rules(labels: Labels, soft: bool) -> list[LabelRule]:
    return [
        (key, operator, list(values)) for key, operator, values, is_soft in labels.rules if is_soft is soft
    ]


_OF_GROUPS = ("placement_group", "placement_group_bundle_index", "placement_group_capture_child_tasks")


def folded(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with Ray's older ones for placement groups as the strategy that has taken their place."""
    options = {option: value for option, value in given.items() if option not in _OF_GROUPS}
    group, index, captures = (given.get(option) for option in _OF_GROUPS)
    if group == "default":
        group = None
    if group is None:
        if index not in (None, -1):
            raise ValueError("'placement_group_bundle_index' is for use with 'placement_group'; give both")
        return options
    if options.get("scheduling_strategy") is not None:
        raise ValueError(
            "give the placement group in 'scheduling_strategy' or in 'placement_group', not in both"
        )
    options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
        group, -1 if index is None else index, captures
    )
    return options


def checked_strategy(option: str, value: Any) -> Strategy:
    """Reads the option `scheduling_strategy`."""
    if value == "DEFAULT":
        return Strategy()
    if value == "SPREAD":
        return Strategy(spread=True)
    if isinstance(value, NodeAffinitySchedulingStrategy):
        if not re.fullmatch("[0-9a-f]+", value.node_id):
            raise ValueError(
                f"'{value.node_id}' is not the id of a node; get one from nodes() or the runtime context"
            )
        # What has another length is the id of no node here, and is treated as that of one that is gone.
        node = value.node_id if len(value.node_id) == 2 * NodeID.BYTES else NodeID.nil().hex()
        only_with_room = value._spill_on_unavailable or value._fail_on_unavailable
        return Strategy(node=(node, value.soft, only_with_room))
    if isinstance(value, PlacementGroupSchedulingStrategy):
        return _in_group(value)
    if isinstance(value, NodeLabelSchedulingStrategy):
        rules = [_rule(key, match, False) for key, match in value.hard.items()]
        rules += [_rule(key, match, True) for key, match in value.soft.items()]
        return Strategy(labels=Labels(tuple(rules)))
    if isinstance(value, str):
        raise ValueError(f"'{option}' must be 'DEFAULT', 'SPREAD' or a strategy object, not '{value}'")
    raise TypeError(f"'{option}' must be 'DEFAULT', 'SPREAD' or a strategy object, not {value!r}")


def _in_group(value: PlacementGroupSchedulingStrategy) -> Strategy:
    group, index = value.placement_group, value.placement_group_bundle_index
    if group is None:
        return Strategy()
    if not isinstance(group, PlacementGroup):
        raise TypeError(f"'placement_group' must be a PlacementGroup, not {type(group).__name__}")
    if isinstance(index, bool) or not isinstance(index, int) or not -1 <= index < group.bundle_count:
        raise ValueError(
            f"the placement group has {group.bundle_count} bundles; 'placement_group_bundle_index' is {index!r}"
        )
    captures = bool(value.placement_group_capture_child_tasks)
    return Strategy(group=InGroup(group.id.hex(), index, tuple(group.bundle_specs), captures))


def in_captured(group: InGroup) -> Strategy:
    """The strategy of what a task or actor submits whose placement group captures it: anywhere in the group."""
    return Strategy(group=dataclasses.replace(group, bundle=-1))


def checked_selector(option: str, value: Any) -> Labels:
    """Reads the option `label_selector`: a dict of keys to 'value', '!value', 'in(a,b)' or '!in(a,b)'."""
    if not isinstance(value, Mapping):
        raise TypeError(f"'{option}' must be a dict of labels, not {type(value).__name__}")
    rules = []
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"the keys and values of '{option}' must be text: {key!r}: {text!r}")
        several = _VALUES.fullmatch(text.strip())
        if several:
            values = tuple(part.strip() for part in several[2].split(",") if part.strip())
            negated = bool(several[1])
        else:
            negated = text.startswith("!")
            values = (text.removeprefix("!").strip(),)
        if not values or not all(map(_VALUE.fullmatch, values)):
            raise ValueError(
                f"'{option}' has {text!r} for the label {key!r}; it must be 'value', '!value', 'in(a,b)' or '!in(a,b)', with values of "
                "letters, digits, '-', '_' and '.'"
            )
        rules.append((key, "not in" if negated else "in", values, False))
    return Labels(tuple(rules))


def checked_fallbacks(option: str, value: Any) -> tuple[Labels, ...]:
    """Reads the option `fallback_strategy`: a list of dicts, each with a `label_selector`."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"'{option}' must be a list of dicts, not {type(value).__name__}")
    fallbacks = []
    for given in value:
        if not isinstance(given, Mapping) or not given:
            raise ValueError(
                f"each part of '{option}' must be a dict such as {{'label_selector': {{...}}}}, not {given!r}"
            )
        if unknown := sorted(set(given) - {"label_selector"}):
            raise ValueError(
                f"'{option}' can have a 'label_selector' alone, and has {', '.join(map(repr, unknown))}"
            )
        fallbacks.append(checked_selector(f"{option}: label_selector", given["label_selector"] or {}))
    return tuple(fallbacks)


def _rule(key: str, match: LabelMatch, soft: bool) -> tuple[str, str, tuple[str, ...], bool]:
    match match:
        case In():
            return key, "in", tuple(match.values), soft
        case NotIn():
            return key, "not in", tuple(match.values), soft
        case Exists():
            return key, "exists", (), soft
        case DoesNotExist():
            return key, "does not exist", (), soft
