"""Graphs of calls that are described first and run later: `f.bind(...)` in place of `f.remote(...)`, and then `execute`.

Each execution submits every call of the graph once, as ordinary tasks and calls of actors; results go from one to the next as refs.
Compiled graphs do not exist here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

__all__ = [
    "ClassMethodNode",
    "ClassNode",
    "DAGNode",
    "FunctionNode",
    "InputAttributeNode",
    "InputNode",
    "MultiOutputNode",
]

_Results = dict[int, Any]


class DAGNode:
    """One call of a graph, or one of its inputs or outputs."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the graph up to this node with these values for its `InputNode`, and answers with what the node's call gives: a ref,
        a list of them, or an actor's handle."""
        return _Execution(args, kwargs).of(self)

    def experimental_compile(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Is there to say that compiled graphs are not."""
        raise NotImplementedError("compiled graphs are not supported; call execute() on the graph as it is")

    def _run(self, execution: _Execution) -> Any:
        raise NotImplementedError


class _Execution:
    """One run of a graph: what its inputs are, and what its nodes gave."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self._results: _Results = {}

    def of(self, node: DAGNode) -> Any:
        """What a node gives; it runs once."""
        if id(node) not in self._results:
            self._results[id(node)] = node._run(self)
        return self._results[id(node)]

    def resolved(self, value: Any) -> Any:
        """An argument with what nodes give in their place, in lists, tuples and dicts too."""
        match value:
            case DAGNode():
                return self.of(value)
            case list():
                return [self.resolved(item) for item in value]
            case tuple() if type(value) is tuple:
                return tuple(self.resolved(item) for item in value)
            case dict() if type(value) is dict:
                return {key: self.resolved(item) for key, item in value.items()}
        return value

    def input(self) -> Any:
        """What was given: the one value, or what stands for several."""
        if len(self.args) == 1 and not self.kwargs:
            return self.args[0]
        if not self.args and not self.kwargs:
            raise ValueError("the graph has an InputNode; give execute() a value for it")
        raise ValueError(
            "execute() was given several values; take them from the InputNode one by one, as input[0] or input.name"
        )

    def call(self, remote: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Submits a call with its arguments."""
        positional = [self.resolved(arg) for arg in args]
        return remote(*positional, **{name: self.resolved(arg) for name, arg in kwargs.items()})


class FunctionNode(DAGNode):
    """A task."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._bound = function, args, kwargs

    def _run(self, execution: _Execution) -> Any:
        function, args, kwargs = self._bound
        return execution.call(function.remote, args, kwargs)


class ClassNode(DAGNode):
    """An actor, which each execution makes anew. Its methods are bound as functions are, and called in the order of that."""

    def __init__(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._bound = cls, args, kwargs
        self._last: ClassMethodNode | None = None

    def __getattr__(self, name: str) -> _UnboundMethod:
        if name.startswith("_") or not hasattr(self._bound[0].__manta_wrapped__, name):
            raise AttributeError(f"the actor class '{self._bound[0].__name__}' has no method '{name}'")
        return _UnboundMethod(self, name)

    def _run(self, execution: _Execution) -> Any:
        cls, args, kwargs = self._bound
        return execution.call(cls.remote, args, kwargs)


class _UnboundMethod:
    """A method of a `ClassNode`."""

    def __init__(self, actor: ClassNode, name: str, options: dict[str, Any] | None = None) -> None:
        self._actor = actor
        self._name = name
        self._options = options or {}

    def options(self, **options: Any) -> _UnboundMethod:
        """The same with other options."""
        return _UnboundMethod(self._actor, self._name, {**self._options, **options})

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode:
        """A call of it in the graph."""
        actor = self._actor
        before, actor._last = actor._last, ClassMethodNode(actor, self._name, self._options, args, kwargs)
        actor._last._before = before
        return actor._last


class ClassMethodNode(DAGNode):
    """A call of an actor: of one of the graph, or of one that is there already."""

    def __init__(
        self, actor: Any, name: str, options: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._bound = actor, name, options, args, kwargs
        # What was bound before it on the same actor of the graph has its effect first.
        self._before: ClassMethodNode | None = None

    def _run(self, execution: _Execution) -> Any:
        actor, name, options, args, kwargs = self._bound
        earlier = []
        node = self._before
        while node is not None:
            earlier.append(node)
            node = node._before
        for node in reversed(earlier):
            execution.of(node)
        method = getattr(execution.resolved(actor), name)
        return execution.call((method.options(**options) if options else method).remote, args, kwargs)


class InputNode(DAGNode):
    """What `execute` is given. As a context manager, it is there to be read: `with InputNode() as value:`."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __enter__(self) -> InputNode:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getitem__(self, key: Any) -> InputAttributeNode:
        return InputAttributeNode(key, is_item=True)

    def __getattr__(self, name: str) -> InputAttributeNode:
        if name.startswith("_"):
            raise AttributeError(name)
        return InputAttributeNode(name, is_item=False)

    def _run(self, execution: _Execution) -> Any:
        return execution.input()


class InputAttributeNode(DAGNode):
    """A part of what `execute` is given: an argument by its place or name, or an item or attribute of the one value."""

    def __init__(self, key: Any, is_item: bool) -> None:
        self._key = key
        self._is_item = is_item

    def _run(self, execution: _Execution) -> Any:
        key = self._key
        if isinstance(key, str) and key in execution.kwargs:
            return execution.kwargs[key]
        if isinstance(key, int) and (len(execution.args) > 1 or execution.kwargs):
            return execution.args[key]
        value = execution.input()
        return value[key] if self._is_item else getattr(value, key)


class MultiOutputNode(DAGNode):
    """Several nodes whose results are wanted together, as a list."""

    def __init__(self, args: Sequence[DAGNode]) -> None:
        self._outputs = list(args)

    def _run(self, execution: _Execution) -> list[Any]:
        return [execution.of(node) for node in self._outputs]
