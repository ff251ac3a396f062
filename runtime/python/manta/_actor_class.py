"""What a handle knows of its actor's class: methods, their parameters and options. It is small, and pickled with every handle."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from manta import _placement
from manta._actor_options import ActorOptions, MethodOptions

ASYNC_CONCURRENCY_DEFAULT = 1000
MANY = 2**31


@dataclasses.dataclass(frozen=True)
class MethodDescription:
    """How a method is called."""

    options: MethodOptions = dataclasses.field(default_factory=MethodOptions)
    # (name, kind, whether it has a default) of each parameter but the first; None where they cannot be known.
    parameters: tuple[tuple[str, int, bool], ...] | None = None
    # Numbers of arguments, by position alone, for which nothing has to be looked at.
    fewest: int = 0
    most: int = MANY
    is_generator: bool = False

    def is_streaming(self, options: MethodOptions) -> bool:
        """Whether a call with these options gives its values one by one."""
        if options.num_returns is None:
            return self.is_generator
        return options.num_returns == "streaming"

    def check(self, call: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raises TypeError when the method cannot be called so."""
        if self.parameters is None:
            return
        parameters = [
            inspect.Parameter(
                name,
                inspect._ParameterKind(kind),
                default=None if has_default else inspect.Parameter.empty,
            )
            for name, kind, has_default in self.parameters
        ]
        try:
            inspect.Signature(parameters).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{call}: {error}") from None


@dataclasses.dataclass(frozen=True)
class ClassDescription:
    """How an actor is called."""

    name: str
    methods: dict[str, MethodDescription]
    constructor: MethodDescription
    is_async: bool
    groups: tuple[str, ...]
    group_limits: list[int]
    max_task_retries: int
    max_pending_calls: int | None
    placement_group: str | None = None
    # What the actor keeps of its node for its life.
    held: tuple[tuple[str, float], ...] = ()
    # The placement group that what the actor submits is in as well.
    captured: _placement.InGroup | None = None

    def check_groups(self) -> None:
        """Raises ValueError when a method is to run in a concurrency group that the actor does not have."""
        for method in self.methods.values():
            self.group(method.options.concurrency_group)

    def group(self, name: str | None) -> int:
        """The number of a concurrency group; 0 is the default one."""
        if name is None:
            return 0
        if name not in self.groups:
            raise ValueError(
                f"the actor class '{self.name}' has no concurrency group '{name}'; it has {', '.join(self.groups) or 'none'}"
            )
        return self.groups.index(name) + 1


def describe(cls: type, options: ActorOptions) -> ClassDescription:
    """What handles of this class's actors know."""
    methods: dict[str, MethodDescription] = {}
    is_async = False
    for name, function in inspect.getmembers(cls, _is_method):
        is_async = is_async or inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        methods[name] = _method(cls, name, function)
    for builtin in ("__ray_ready__", "__ray_terminate__", "__ray_call__"):
        methods.setdefault(builtin, MethodDescription())
    limit = options.max_concurrency or (ASYNC_CONCURRENCY_DEFAULT if is_async else 1)
    groups = options.concurrency_groups
    written: Any = inspect.getattr_static(cls, "__init__")
    described = ClassDescription(
        name=cls.__name__,
        methods=methods,
        constructor=_method(cls, "__init__", written)
        if "__init__" in methods
        else MethodDescription(parameters=()),
        is_async=is_async,
        groups=tuple(name for name, _ in groups),
        group_limits=[limit, *(most for _, most in groups)],
        max_task_retries=options.max_task_retries,
        max_pending_calls=options.max_pending_calls,
        placement_group=options.placement_group_id(),
        held=tuple(options.held()),
        captured=options.captured(),
    )
    return described


def _is_method(member: Any) -> bool:
    return inspect.isfunction(member) or inspect.ismethod(member)


def _method(cls: type, name: str, function: Callable[..., Any]) -> MethodDescription:
    options = MethodOptions().updated(getattr(function, "__manta_method__", {}))
    is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return MethodDescription(options, is_generator=is_generator)
    is_static = isinstance(inspect.getattr_static(cls, name), staticmethod)
    if not is_static and not inspect.ismethod(function):
        parameters = parameters[1:]
    fewest = most = 0
    for parameter in parameters:
        required = parameter.default is parameter.empty
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            fewest += required
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most = MANY
        elif parameter.kind is parameter.KEYWORD_ONLY and required:
            # Whatever is given by position, there is something to look at.
            fewest = MANY + 1
    described = tuple((p.name, int(p.kind), p.default is not p.empty) for p in parameters)
    return MethodDescription(options, described, fewest, most, is_generator)
