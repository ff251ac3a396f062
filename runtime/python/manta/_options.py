"""The options of a remote function: checked once, where they are given."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from manta import _function, _generator, _placement, _runtime_env

MAX_RETRIES_DEFAULT = 3
# A retry count that nobody reaches stands for "no limit" (-1 in the API).
MAX_RETRIES_UNLIMITED = 2**32 - 1
NUM_RETURNS_MAX = 10_000
BACKPRESSURE_MAX = 2**31

# A node with such an accelerator has a little of a resource that is named after it.
ACCELERATOR_AMOUNT = 0.001

_SUPPORTED = (
    "accelerator_type",
    "enable_task_events",
    "fallback_strategy",
    "label_selector",
    "max_calls",
    "max_retries",
    "memory",
    "name",
    "num_cpus",
    "num_gpus",
    "num_returns",
    "resources",
    "retry_exceptions",
    "runtime_env",
    "scheduling_strategy",
    "_generator_backpressure_num_objects",
    "_metadata",
)
_NOT_YET = ("object_store_memory",)


@dataclasses.dataclass(frozen=True, slots=True)
class TaskOptions:
    """How the tasks of one remote function run."""

    num_cpus: float = 1
    num_gpus: float = 0
    memory: float = 0
    resources: tuple[tuple[str, float], ...] = ()
    accelerator_type: str | None = None
    scheduling_strategy: _placement.Strategy | None = None
    label_selector: _placement.Labels | None = None
    fallback_strategy: tuple[_placement.Labels, ...] = ()
    name: str | None = None
    # None for what the function is: one value, or those of a generator one by one.
    num_returns: int | str | None = None
    max_retries: int = MAX_RETRIES_DEFAULT
    retry_exceptions: bool | tuple[type[BaseException], ...] = False
    max_calls: int = 0
    backpressure: int | None = None
    runtime_env: _runtime_env.Frozen | None = None

    def environment(self) -> str | None:
        """The environment of the tasks' workers, for the node; None for that of this process."""
        return _runtime_env.for_task(self.runtime_env.env if self.runtime_env else None)

    def described(self, function: Callable[..., Any]) -> Callable[..., Any] | _function.Described:
        """The function as it travels to workers."""
        listed = self.retry_exceptions if isinstance(self.retry_exceptions, tuple) else None
        if self.retry_exceptions is True and inspect.isgeneratorfunction(function):
            # Its worker has to know, so as not to answer with the values that are there.
            listed = (Exception,)
        group = self.scheduling_strategy.group if self.scheduling_strategy else None
        captured = group if group and group.captures else None
        if self.num_returns == "dynamic":
            function = _generator.Dynamic(function)
        described = _function.Described(function, listed, self.max_calls, tuple(self.demand()), captured)
        return function if described == _function.Described(function) else described

    def updated(self, given: Mapping[str, Any]) -> TaskOptions:
        """These options with what was given in their place."""
        return dataclasses.replace(self, **_checked(_placement.folded(given))) if given else self

    def demand(self) -> list[tuple[str, float]]:
        """What a node must have free to run the task, by the names that the scheduler uses."""
        amounts = [("CPU", self.num_cpus), ("GPU", self.num_gpus), ("memory", self.memory), *self.resources]
        if self.accelerator_type:
            amounts.append((f"accelerator_type:{self.accelerator_type}", ACCELERATOR_AMOUNT))
        wanted = [(name, amount) for name, amount in amounts if amount > 0]
        group = self.scheduling_strategy and self.scheduling_strategy.group
        return group.demand(wanted) if group else wanted

    def placement(self) -> _placement.Wish | None:
        """Where it may run; None for anywhere."""
        return _placement.wish(self.scheduling_strategy, self.label_selector, self.fallback_strategy)


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for option, value in given.items():
        if option in _NOT_YET:
            if value is not None:
                raise ValueError(f"the option '{option}' is not supported yet; leave it out")
        elif option not in _SUPPORTED:
            raise ValueError(
                f"'{option}' is not an option of remote functions; they are {', '.join(_SUPPORTED)}"
            )
        elif value is not None:
            accepted = _CHECKS[option](option, value)
            if option not in _WITHOUT_EFFECT:
                checked[_FIELDS.get(option, option)] = accepted
    return checked


def _amount(option: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"'{option}' must be a number, not {type(value).__name__}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"'{option}' must be 0 or more, not {value}")
    return value


def _resources(option: str, value: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, Mapping):
        raise TypeError(f"'{option}' must be a dict of names and amounts, not {type(value).__name__}")
    for reserved, instead in (("CPU", "num_cpus"), ("GPU", "num_gpus"), ("memory", "memory")):
        if reserved in value:
            raise ValueError(f"give '{instead}' in place of '{reserved}' in '{option}'")
    return tuple(
        sorted((str(name), _amount(f"{option}[{name!r}]", amount)) for name, amount in value.items())
    )


def _name(option: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"'{option}' must be text, not {type(value).__name__}")
    return value


def _task_num_returns(option: str, value: Any) -> int | str:
    return value if value in ("streaming", "dynamic") else _num_returns(option, value)


def _num_returns(option: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"'{option}' must be a whole number or \"streaming\", not {value!r}")
    if not 0 <= value <= NUM_RETURNS_MAX:
        raise ValueError(f"'{option}' must be from 0 to {NUM_RETURNS_MAX}, not {value}")
    return value


def _max_calls(option: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"'{option}' must be a whole number, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"'{option}' must be 0 (no limit) or more, not {value}")
    return value


def _backpressure(option: str, value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"'{option}' must be a whole number, not {type(value).__name__}")
    if value == -1:
        return None
    if not 0 < value <= BACKPRESSURE_MAX:
        raise ValueError(f"'{option}' must be -1 (no limit) or from 1 to {BACKPRESSURE_MAX}, not {value}")
    return value


def _flag(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"'{option}' must be True or False, not {value!r}")
    return value


def _dict(option: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"'{option}' must be a dict, not {type(value).__name__}")
    return value


def _max_retries(option: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"'{option}' must be a whole number, not {type(value).__name__}")
    if value < -1:
        raise ValueError(f"'{option}' must be -1 (no limit) or more, not {value}")
    return MAX_RETRIES_UNLIMITED if value == -1 else min(value, MAX_RETRIES_UNLIMITED)


def _retry_exceptions(option: str, value: Any) -> bool | tuple[type[BaseException], ...]:
    if isinstance(value, bool):
        return value
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"'{option}' must be True, False or a list of exception classes, not {value!r}")
    for kind in value:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ValueError(f"'{option}' takes exception classes, and {kind!r} is none")
    return tuple(value)


def _gpus(option: str, value: Any) -> float:
    amount = _amount(option, value)
    if amount > 1 and amount != int(amount):
        raise ValueError(
            f"'{option}' above 1 must be a whole number, not {value}: a GPU is shared only below 1"
        )
    return amount


# Options that change nothing here: what they switch off costs nothing, and what they add is read by nobody.
_WITHOUT_EFFECT = ("enable_task_events", "_metadata")
_FIELDS = {"_generator_backpressure_num_objects": "backpressure"}
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "enable_task_events": _flag,
    "max_calls": _max_calls,
    "_generator_backpressure_num_objects": _backpressure,
    "_metadata": _dict,
    "accelerator_type": _name,
    "fallback_strategy": _placement.checked_fallbacks,
    "label_selector": _placement.checked_selector,
    "scheduling_strategy": _placement.checked_strategy,
    "runtime_env": lambda _option, value: _runtime_env.frozen(value),
    "num_cpus": _amount,
    "num_gpus": _gpus,
    "memory": _amount,
    "resources": _resources,
    "name": _name,
    "num_returns": _task_num_returns,
    "max_retries": _max_retries,
    "retry_exceptions": _retry_exceptions,
}
