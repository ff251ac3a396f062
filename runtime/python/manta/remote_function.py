"""Functions that run as tasks."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from manta import _function, _generator, _manta, _placement, _session, actor
from manta._generator import ObjectRefGenerator
from manta._options import TaskOptions

if TYPE_CHECKING:
    from manta import dag


class RemoteFunction:
    """What `@remote` makes of a function: `f.remote(...)` runs it as a task and answers with a reference to the result."""

    def __init__(self, function: Callable[..., Any], options: TaskOptions) -> None:
        functools.update_wrapper(self, function)
        self._function = self.__manta_wrapped__ = function
        self._function_name = getattr(function, "__qualname__", None) or repr(function)
        self._options = options
        self._prepared: _manta.PreparedTask | None = None
        self._captured: tuple[_placement.InGroup, RemoteFunction] | None = None
        self._accepts = _positional_counts(function)
        self._is_streaming = options.num_returns == "streaming" or (
            options.num_returns is None and inspect.isgeneratorfunction(function)
        )

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = self._function_name
        raise TypeError(f"'{name}' is a remote function: call {name}.remote(...) in place of {name}(...)")

    def __repr__(self) -> str:
        return f"<RemoteFunction {self._function_name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteFunction, (self._function, self._options)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submits one task: answers with an `ObjectRef`, a list of them for `num_returns` above 1, None for 0.

        A generator function answers with an `ObjectRefGenerator`, unless its `num_returns` is a number.
        """
        accepts = self._accepts
        if accepts is None or kwargs or not accepts[0] <= len(args) <= accepts[1]:
            self._check_arguments(args, kwargs)
        if _function.captured is not None and self._options.scheduling_strategy is None:
            return self._in_group(_function.captured).remote(*args, **kwargs)
        prepared = self._prepared
        if prepared is None or not prepared.is_current():
            prepared = self._prepare()
        if self._is_streaming:
            return ObjectRefGenerator(prepared.submit_stream(args, kwargs, self._options.backpressure))
        if self._options.num_returns == "dynamic":
            return prepared.submit_dynamic(args, {**kwargs, _generator.OWNER: _generator.own_address()})
        return prepared.submit(args, kwargs)

    def options(self, **options: Any) -> RemoteFunction:
        """The same function with other options; this one keeps its own."""
        updated = self._options.updated(options)
        if options.get("max_calls") is not None:
            raise ValueError(
                "'max_calls' cannot be given to .options(): it is the worker's count of all calls; give it to @remote(max_calls=...)"
            )
        return RemoteFunction(self._function, updated)

    def _remote(self, args: Any = None, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """Ray's older way to write `.options(...).remote(...)`."""
        return (self.options(**options) if options else self).remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> dag.FunctionNode:
        """A call of it in a graph that is run later."""
        from manta import dag

        return dag.FunctionNode(self, args, kwargs)

    def _in_group(self, group: _placement.InGroup) -> RemoteFunction:
        """The same function in the placement group that captures what is submitted here; a worker knows one such group at a time."""
        if self._captured is None or self._captured[0] != group:
            strategy = _placement.in_captured(group)
            options = dataclasses.replace(self._options, scheduling_strategy=strategy)
            self._captured = (group, RemoteFunction(self._function, options))
        return self._captured[1]

    def _prepare(self) -> _manta.PreparedTask:
        _session.ensure_initialized()
        options = self._options
        self._prepared = _manta.PreparedTask(
            _manta.register_function(self._function_name, options.described(self._function)),
            options.name or str(getattr(self._function, "__name__", self._function_name)),
            options.demand(),
            options.num_returns if isinstance(options.num_returns, int) else 1,
            options.max_retries,
            options.retry_exceptions is not False,
            options.placement(),
            options.environment(),
        )
        return self._prepared

    def _check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            inspect.signature(self._function).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._function_name}.remote(): {error}") from None
        except ValueError:
            return  # A function without a signature (some built-in ones): the worker will see.


def _positional_counts(function: Callable[..., Any]) -> tuple[int, int] | None:
    """The fewest and most arguments that may be given by position alone; None when that is not enough to know."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    fewest = most = 0
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            fewest += parameter.default is parameter.empty
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most = 2**31
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            return None
    return fewest, most


def make_remote(target: Any, options: dict[str, Any]) -> RemoteFunction | actor.ActorClass:
    """What the decorator `remote` answers with for one function or class."""
    if inspect.isclass(target):
        return actor.make_actor_class(target, options)
    if isinstance(target, actor.ActorClass):
        raise TypeError(f"'{target.__name__}' is an actor class already; change it with .options(...)")
    if isinstance(target, RemoteFunction):
        raise TypeError(
            f"'{target._function_name}' is a remote function already; change it with .options(...)"
        )
    if not callable(target):
        raise AssertionError(f"only functions and classes can be remote, and {target!r} is neither")
    if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        raise ValueError(
            f"'{target.__qualname__}' is an 'async def': wrap its call in asyncio.run() inside a plain function"
        )
    return RemoteFunction(target, TaskOptions().updated(options))
