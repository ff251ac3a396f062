"""The lazy tree of values. A node is opened only when the client asks, and a large one only page by page."""

from __future__ import annotations

import math
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from types import FunctionType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from .. import awaiting, guard, limits
from ..codes import CO_OPTIMIZED
from ..errors import RequestError, text_of
from ..evaluate import Scope
from . import arrays, calls, object_refs, static, tables, views
from .render import render, render_key, type_name

if TYPE_CHECKING:
    from ..stops import Stop


@dataclass(frozen=True, slots=True)
class ScopeNode:
    """The locals or the globals of a frame."""

    frame: Scope
    is_globals: bool
    pseudo: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ValueNode:
    """A value, how an expression names it, and the frame in which that expression holds."""

    value: Any
    name: str | None
    frame: Scope


@dataclass(frozen=True, slots=True)
class PropertyNode:
    """A property, or another value, that is computed when the client opens it."""

    attribute: str
    name: str | None
    frame: Scope
    compute: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class GroupNode:
    """Children that are put together when the client opens it."""

    open: Callable[[], list[Child]]
    frame: Scope


Node = ScopeNode | ValueNode | PropertyNode | GroupNode


@dataclass(slots=True)
class Child:
    """One variable below a node. `suffix` makes its expression out of its parent's.

    One with a `text` is no value: that is shown, and opens to its `node` if there is one.
    """

    name: str
    value: Any
    suffix: str | None
    hint: dict[str, Any] = field(default_factory=dict)
    is_property: bool = False
    compute: Callable[[], Any] | None = None
    node: Node | None = None
    text: str = ""


_SEQUENCES: tuple[Any, ...] = (list, tuple, array)
_CONTAINERS: tuple[Any, ...] = (*_SEQUENCES, dict, set, frozenset, deque)
# How often a container is read that changes meanwhile.
_READS_MAX = 100
_LEAVES = (str, bytes, bytearray, int, float, complex, bool, type(None), range, slice)


def indexed_count(value: Any) -> int:
    """How many elements or entries a value has."""
    for base in _CONTAINERS:
        if static.is_a(value, base):
            return int(base.__len__(value))
    behind = views.dict_of(value)
    if behind is not None:
        return dict.__len__(behind)
    if arrays.is_numpy(value) or arrays.is_torch(value):
        return arrays.length_of(value)
    reader = tables.reader_of(value)
    if reader is None:
        return 0
    try:
        return guard.run(lambda: tables.length_of(value, reader), limits.REPR_SECONDS_MAX)
    except Exception:
        return (
            0  # A library's code, which may raise anything; the value's summary asks the same, and says what.
        )


def indexed(value: Any, start: int, stop: int) -> Iterator[Child]:
    """The elements or entries from `start` to `stop`."""
    behind = value if static.is_a(value, dict) else views.dict_of(value)
    if behind is not None and (behind is value or type(value) is MappingProxyType):
        for key, item in _steady(lambda: list(islice(dict.items(behind), start, stop))):
            yield Child(f"[{render_key(key)}]", item, _key_suffix(key))
    elif behind is not None:
        items = _steady(lambda: list(islice(views.entries(value, behind), start, stop)))
        for at, item in enumerate(items, start):
            yield Child(f"[{at}]", item, None)
    elif (reader := tables.reader_of(value)) is not None:
        try:
            parts = guard.run(
                lambda: tables.children(value, reader, start, stop, render_key), limits.REPR_SECONDS_MAX
            )
        except Exception as error:
            # A library's code, which may raise anything.
            yield Child("…", None, None, text=f"<cannot be shown: {text_of(error)}>")
            return
        for name, item, suffix in parts:
            yield Child(name, item, suffix, {"attributes": ["readOnly"]})
    elif static.is_a(value, (set, frozenset)):
        base: Any = set if static.is_a(value, set) else frozenset
        for at, item in enumerate(_steady(lambda: list(islice(base.__iter__(value), start, stop))), start):
            yield Child(f"[{at}]", item, None)
    else:
        for at, item in enumerate(_slice(value, start, stop), start):
            yield Child(f"[{at}]", item, f"[{at}]")


def named(value: Any) -> list[Child]:
    """A value's fields, facts and properties."""
    if arrays.is_numpy(value) or arrays.is_torch(value):
        return [Child(n, v, f".{n}", {"attributes": ["readOnly"]}) for n, v in arrays.facts_of(value).items()]
    if static.is_one_of(type(value), _LEAVES) or tables.reader_of(value) is not None:
        return []
    if static.is_one_of(type(value), calls.FUNCTIONS):
        return [
            *_parts(calls.parts_of_function(value)),
            *(Child(n, v, f".{n}") for n, v in static.fields(value).items()),
        ]
    if type(value) is weakref.ReferenceType:
        referent = value()
        return [] if referent is None else [Child("referent", referent, "()")]
    if type(value) is partial:
        return [Child(n, getattr(value, n), f".{n}") for n in ("func", "args", "keywords")]
    if static.is_one_of(type(value), awaiting.SUSPENDABLE):
        return _parts(calls.parts_of_call(value))
    if object_refs.is_object_ref(value):
        return [Child("value", None, None, {"lazy": True}, compute=lambda: object_refs.value_of(value))]
    if static.is_a(value, tuple):
        names = static.class_attribute(type(value), "_fields")
        if type(names) is tuple and len(names) == tuple.__len__(value):
            return [Child(str(n), v, f".{n}") for n, v in zip(names, tuple.__iter__(value), strict=True)]
    found = [(n, v) for n, v in static.fields(value).items() if _is_shown(value, n)]
    children = [Child(n, v, f".{n}" if n.isidentifier() else None, _visibility(n)) for n, v in found]
    if static.is_a(value, BaseException):
        children = [*_exception_parts(value), *children]
    children.sort(key=lambda c: c.name.startswith("_"))
    if not static.is_a(value, (type, ModuleType)):
        seen = {c.name for c in children}
        children += [
            Child(n, None, f".{n}", {"lazy": True, "attributes": ["hasSideEffects"]}, is_property=True)
            for n in static.properties(value)
            if n not in seen
        ]
    return children


def scope_children(node: ScopeNode) -> list[Child]:
    """The variables of a scope."""
    names = node.frame.f_globals if node.is_globals else node.frame.f_locals
    children = [
        Child(n, v, n, _visibility(n)) for n, v in list(names.items()) if type(n) is str and _is_variable(n)
    ]
    if node.is_globals or not node.frame.f_code.co_flags & CO_OPTIMIZED:
        children.sort(key=lambda c: static.is_a(c.value, (ModuleType, type, FunctionType)))
    pseudo = [
        Child(n, v, n if n == "__exception__" else None, {"attributes": ["readOnly"], "kind": "virtual"})
        for n, v in node.pseudo
    ]
    return pseudo + children


def describe(stop: Stop, frame: Scope, child: Child, parent: str | None, parent_node: Node) -> dict[str, Any]:
    """One DAP `Variable`."""
    expression = None if child.suffix is None or parent is None else parent + child.suffix
    variable: dict[str, Any] = {"name": child.name}
    compute = child.compute
    if child.is_property and isinstance(parent_node, ValueNode):
        owner = parent_node.value
        compute = lambda: getattr(owner, child.name)  # noqa: E731
    if compute is not None:
        reference = stop.handle(PropertyNode(child.name, expression, frame, compute))
        variable.update(value="", variablesReference=reference)
        if child.is_property:
            variable["type"] = "property"
    elif child.text or child.node is not None:
        reference = stop.handle(child.node) if child.node is not None else 0
        variable.update(value=child.text, variablesReference=reference)
    else:
        variable.update(describe_value(stop, frame, child.value, expression))
    if expression is not None:
        variable["evaluateName"] = expression
    if child.hint:
        variable["presentationHint"] = child.hint
    return variable


def describe_value(stop: Stop, frame: Scope, value: Any, expression: str | None) -> dict[str, Any]:
    """The parts that variables, evaluations and assignments share."""
    described: dict[str, Any] = {"value": render(value), "type": type_name(value), "variablesReference": 0}
    count = indexed_count(value)
    own = 0 if static.is_one_of(type(value), _LEAVES) else len(named(value))
    if count or own:
        described["variablesReference"] = stop.handle(ValueNode(value, expression, frame))
    if count:
        described["indexedVariables"] = count
        described["namedVariables"] = own
    return described


def _slice(value: Any, start: int, stop: int) -> list[Any]:
    for base in _SEQUENCES:
        if static.is_a(value, base):
            return list(base.__getitem__(value, slice(start, stop)))
    if static.is_a(value, deque):
        return list(_steady(lambda: list(islice(deque.__iter__(value), start, stop))))
    return [value[at] for at in range(start, min(stop, arrays.length_of(value)))]


def _steady(read: Any) -> Any:
    """Reads a container that another thread may be changing."""
    for _ in range(_READS_MAX):
        try:
            return read()
        except RuntimeError:
            continue
    raise RequestError("Another thread changes this container too fast for it to be read: pause that thread.")


def _key_suffix(key: Any) -> str | None:
    """By what an expression names an entry; nothing for a key that it cannot write, or that would be long."""
    return f"[{key!r}]" if _is_written(key) else None


def _is_written(key: Any) -> bool:
    if type(key) is tuple:
        return len(key) <= limits.VALUE_ITEMS_MAX and all(_is_written(part) for part in key)
    if static.is_one_of(type(key), (str, bytes)):
        return len(key) <= limits.STRING_CHARS_MAX
    if type(key) is float:
        return math.isfinite(key)
    return static.is_one_of(type(key), (int, bool, type(None)))


def _exception_parts(error: BaseException) -> list[Child]:
    def of(name: str, kind: Any = BaseException) -> Any:
        # A class of the program's may have something else under the name.
        return kind.__dict__[name].__get__(error)

    parts = [Child("args", of("args"), ".args")]
    if static.is_a(error, BaseExceptionGroup):
        parts.append(Child("exceptions", of("exceptions", BaseExceptionGroup), ".exceptions"))
    if of("__cause__") is not None:
        parts.append(Child("__cause__", of("__cause__"), ".__cause__"))
    elif of("__context__") is not None:
        parts.append(Child("__context__", of("__context__"), ".__context__"))
    return parts


def _is_shown(value: Any, name: str) -> bool:
    is_special = name.startswith("__") and name.endswith("__")
    return not (is_special and static.is_a(value, (type, ModuleType)))


def _is_variable(name: str) -> bool:
    return not name.startswith(".") and name not in ("__builtins__",)


def _parts(parts: list[calls.Part]) -> list[Child]:
    return [Child(name, value, suffix) for name, value, suffix in parts]


def _visibility(name: str) -> dict[str, Any]:
    return {"visibility": "private"} if name.startswith("_") else {}
