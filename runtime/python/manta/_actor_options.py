"""The options of actor classes and of their methods: checked once, where they are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from manta import _options, _placement, _runtime_env

CONCURRENCY_MAX = 10_000

_NOT_YET = (
    "enable_tensor_transport",
    "object_store_memory",
    "_metadata",
)


# Events are always on, and bounded; calls of one caller start in their order, which Ray's may also do.
_WITHOUT_EFFECT = ("enable_task_events", "allow_out_of_order_execution")


@dataclasses.dataclass(frozen=True, slots=True)
class ActorOptions:
    """How an actor runs."""

    num_cpus: float | None = None
    num_gpus: float = 0
    memory: float = 0
    resources: tuple[tuple[str, float], ...] = ()
    accelerator_type: str | None = None
    scheduling_strategy: _placement.Strategy | None = None
    label_selector: _placement.Labels | None = None
    fallback_strategy: tuple[_placement.Labels, ...] = ()
    name: str | None = None
    namespace: str | None = None
    get_if_exists: bool = False
    lifetime: str | None = None
    max_restarts: int = 0
    max_task_retries: int = 0
    max_concurrency: int | None = None
    max_pending_calls: int | None = None
    concurrency_groups: tuple[tuple[str, int], ...] = ()
    runtime_env: _runtime_env.Frozen | None = None

    def environment(self) -> str | None:
        """The environment of the actor's worker, for the node; None for that of this process."""
        return _runtime_env.for_task(self.runtime_env.env if self.runtime_env else None)

    def updated(self, given: Mapping[str, Any]) -> ActorOptions:
        """These options with what was given in their place."""
        if not given:
            return self
        made = dataclasses.replace(
            self, **_checked(_placement.folded(given), _ACTOR_CHECKS, _NOT_YET, "actor classes")
        )
        if made.get_if_exists and made.name is None:
            raise ValueError("The actor name must be specified to use `get_if_exists`")
        return made

    def is_registered(self) -> bool:
        """Whether the cluster knows it by name, or beyond its maker's end."""
        return self.name is not None or self.lifetime == "detached"

    def demand(self) -> list[tuple[str, float]]:
        """What a node must have free for the actor to be made: a CPU, unless it says otherwise."""
        return self._amounts(1 if self.num_cpus is None else self.num_cpus)

    def held(self) -> list[tuple[str, float]]:
        """What it keeps for its life: a CPU only if it asked for one."""
        return self._amounts(self.num_cpus or 0)

    def placement(self) -> _placement.Wish | None:
        """Where it may run; None for anywhere."""
        return _placement.wish(self.scheduling_strategy, self.label_selector, self.fallback_strategy)

    def placement_group_id(self) -> str | None:
        """The placement group that the actor is in."""
        strategy = self.scheduling_strategy
        return strategy.group.group if strategy and strategy.group else None

    def captured(self) -> _placement.InGroup | None:
        """The placement group that what the actor submits is in as well."""
        group = self.scheduling_strategy.group if self.scheduling_strategy else None
        return group if group and group.captures else None

    def _amounts(self, num_cpus: float) -> list[tuple[str, float]]:
        return _options.TaskOptions(
            num_cpus=num_cpus,
            num_gpus=self.num_gpus,
            memory=self.memory,
            resources=self.resources,
            accelerator_type=self.accelerator_type,
            scheduling_strategy=self.scheduling_strategy,
        ).demand()


@dataclasses.dataclass(frozen=True, slots=True)
class MethodOptions:
    """How the calls of a method run."""

    # None for what the method is: one value, or those of a generator one by one.
    num_returns: int | str | None = None
    name: str | None = None
    concurrency_group: str | None = None
    max_task_retries: int | None = None
    retry_exceptions: bool | tuple[type[BaseException], ...] = False
    backpressure: int | None = None

    def updated(self, given: Mapping[str, Any]) -> MethodOptions:
        """These options with what was given in their place."""
        if unknown := sorted(given.keys() - {*_METHOD_CHECKS, *_WITHOUT_EFFECT, "tensor_transport"}):
            raise TypeError(
                f"{unknown[0]!r} is not an option of actor methods; they are {', '.join(sorted(_METHOD_CHECKS))}"
            )
        checked = _checked(given, _METHOD_CHECKS, ("tensor_transport",), "actor methods")
        if (backpressure := checked.pop("_generator_backpressure_num_objects", None)) is not None:
            checked["backpressure"] = backpressure
        return dataclasses.replace(self, **checked)


def _checked(
    given: Mapping[str, Any], checks: Mapping[str, Any], not_yet: tuple[str, ...], whose: str
) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for option, value in given.items():
        if option in _WITHOUT_EFFECT:
            continue
        if option in not_yet:
            if value is not None:
                raise ValueError(f"the option '{option}' is not supported yet; leave it out")
        elif option not in checks:
            raise ValueError(f"'{option}' is not an option of {whose}; they are {', '.join(sorted(checks))}")
        elif value is not None:
            checked[option] = checks[option](option, value)
    return checked


def _text(option: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"'{option}' must be None or a string, not {type(value).__name__}")
    if not value:
        raise ValueError(f"'{option}' cannot be an empty string; leave it out for an actor without one")
    return value


def _lifetime(option: str, value: Any) -> str:
    if value not in ("detached", "non_detached"):
        raise ValueError(f"'{option}' must be one of 'detached', 'non_detached' and None, not {value!r}")
    return str(value)


def _concurrency(option: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"'{option}' must be a whole number, not {type(value).__name__}")
    if not 1 <= value <= CONCURRENCY_MAX:
        raise ValueError(f"'{option}' must be from 1 to {CONCURRENCY_MAX}, not {value}")
    return value


def _pending(option: str, value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"'{option}' must be a whole number, not {type(value).__name__}")
    if value < -1:
        raise ValueError(f"'{option}' must be -1 or 0 (no limit) or more, not {value}")
    return value if value > 0 else None


def _groups(option: str, value: Any) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, Mapping):
        raise TypeError(f"'{option}' must be a dict of names and limits, not {type(value).__name__}")
    return tuple((str(name), _concurrency(f"{option}[{name!r}]", limit)) for name, limit in value.items())


_METHOD_CHECKS = {
    "_generator_backpressure_num_objects": _options._backpressure,
    "num_returns": _options._task_num_returns,
    "name": _options._name,
    "concurrency_group": _text,
    "max_task_retries": _options._max_retries,
    "retry_exceptions": _options._retry_exceptions,
}

_ACTOR_CHECKS = {
    "accelerator_type": _options._name,
    "concurrency_groups": _groups,
    "fallback_strategy": _placement.checked_fallbacks,
    "get_if_exists": _options._flag,
    "label_selector": _placement.checked_selector,
    "lifetime": _lifetime,
    "max_concurrency": _concurrency,
    "max_pending_calls": _pending,
    "max_restarts": _options._max_retries,
    "max_task_retries": _options._max_retries,
    "memory": _options._amount,
    "name": _text,
    "namespace": _text,
    "num_cpus": _options._amount,
    "num_gpus": _options._gpus,
    "resources": _options._resources,
    "runtime_env": lambda _option, value: _runtime_env.frozen(value),
    "scheduling_strategy": _placement.checked_strategy,
}

METHOD_OPTIONS = frozenset({*_METHOD_CHECKS, "enable_task_events", "tensor_transport"})
