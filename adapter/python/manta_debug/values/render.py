"""One line for any value: bounded. The only code of the user's classes that is run is `__repr__`, for a limited time."""

from __future__ import annotations

import contextlib
import re
import sys
import time
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import partial
from itertools import islice
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any

from .. import awaiting, guard, limits, unpatched
from ..errors import text_of
from . import static, tables, views
from .arrays import is_array, summary_of

_ELLIPSIS = "…"
_format = unpatched.Local()
# Classes of Python's own whose `__repr__` asks what they contain for its own, and those whose fields say as much.
_HOLDERS_STDLIB = frozenset({"mappingproxy", "Future", "Task"})
_SHOWN_BY_FIELDS = {
    "ChainMap": "ChainMap",
    "SimpleNamespace": "namespace",
    "UserDict": "UserDict",
    "UserList": "UserList",
}
# The libraries whose classes' `__repr__` shows fields, and properties that it computes for it.
_REPR_OF_FIELDS = frozenset({"collections", "pydantic"})
# Classes whose `__repr__` did not end in time are not asked again: each would cost that time anew. By number, as a class may
# compare as its metaclass likes.
_slow: dict[int, weakref.ref[type]] = {}


def render(value: object) -> str:
    """The value as one line, cut to the limit."""
    return _cut(_render(value, limits.VALUE_DEPTH_MAX, limits.STRING_CHARS_MAX), limits.VALUE_CHARS_MAX)


@contextlib.contextmanager
def integers_as(wanted: object) -> Iterator[None]:
    """Has the calling thread show integers as a client's `format` asks."""
    before = getattr(_format, "is_hex", False)
    _format.is_hex = isinstance(wanted, dict) and bool(wanted.get("hex"))
    try:
        yield
    finally:
        _format.is_hex = before


@contextlib.contextmanager
def limited_time() -> Iterator[None]:
    """For all that one request shows, the classes' own `__repr__` get so much time together; then values are shown by their fields."""
    _format.repr_seconds_left = limits.REPRS_SECONDS_MAX
    try:
        yield
    finally:
        del _format.repr_seconds_left


def render_key(value: object) -> str:
    """A dictionary's key or a set's element, as a short name."""
    with integers_as(None):
        return _cut(_render(value, 1, 100), 120)


def render_for_log(value: object) -> str:
    """As `str()` has it for strings, as one line for all else."""
    if type(value) is str:
        return value[: limits.OUTPUT_CHARS_MAX]
    return render(value)


def type_name(value: object) -> str:
    """The name of the value's class."""
    return static.class_name(type(value))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + _ELLIPSIS


def _render(value: object, depth: int, string_limit: int) -> str:
    kind = type(value)
    exact = _EXACT_BY_ID.get(id(kind))
    if exact is not None:
        return exact(value, depth, string_limit)
    try:
        return _render_other(value, kind, depth)
    except Exception as error:  # Code of a library or the program, which may raise anything.
        return f"<repr failed: {_cut(text_of(error), 100)}>"


def _render_other(value: Any, kind: type, depth: int) -> str:
    for base, render_base in _BASES:
        if static.is_a(value, base):
            inner = render_base(value, depth, limits.STRING_CHARS_MAX)
            return (
                inner
                if kind is base or base in _NAMED_BY_THEMSELVES
                else f"{static.class_name(kind)}({inner})"
            )
    behind = views.dict_of(value)
    if behind is not None:
        return _view(value, behind, depth)
    if kind is partial:
        return _partial(value, depth)
    if is_array(value):
        return guard.run(lambda: summary_of(value), limits.REPR_SECONDS_MAX)
    reader = tables.reader_of(value)
    if reader is not None:
        return guard.run(lambda: tables.summary_of(value, reader, render_key), limits.REPR_SECONDS_MAX)
    if _may_call_repr(kind):
        return _called_repr(value)
    if _is_slow(kind):
        return f"{_fields(value, kind, depth)} <its __repr__ did not end in time>"
    if _has_own_repr(kind) and getattr(_format, "repr_seconds_left", limits.REPR_SECONDS_MAX) > 0:
        return _own_repr(value, kind, depth)
    return _fields(value, kind, depth)


def _is_slow(kind: type) -> bool:
    known = _slow.get(id(kind))
    return known is not None and known() is kind


def _has_own_repr(kind: type) -> bool:
    """Whether somebody wrote a `__repr__` for the class. One that was generated from its fields would show no more than we do."""
    if static.is_from_stdlib(kind):
        return static.class_name(kind) not in _SHOWN_BY_FIELDS
    function = static.class_attribute(kind, "__repr__")
    function = getattr(function, "__wrapped__", function) if type(function) is FunctionType else None
    return (
        type(function) is FunctionType
        and not function.__code__.co_filename.startswith("<")
        and str(function.__module__).partition(".")[0] not in _REPR_OF_FIELDS
    )


def _own_repr(value: object, kind: type, depth: int) -> str:
    """What the class says of the value, or its fields with a note. It may wait for a lock that this very thread holds, so another thread
    asks it."""
    start = time.monotonic()
    try:
        text = guard.run_aside(lambda: repr(value), limits.REPR_SECONDS_MAX)
    except TimeoutError as error:
        _slow[id(kind)] = weakref.ref(kind)
        return f"{_fields(value, kind, depth)} <its __repr__ was cut off: {error}>"
    except BaseException as error:
        # It has run on another thread, so that this is nothing that was meant for the program's.
        return f"{_fields(value, kind, depth)} <its __repr__ failed: {_cut(text_of(error), 100)}>"
    finally:
        left = getattr(_format, "repr_seconds_left", None)
        if left is not None:
            _format.repr_seconds_left = left - (time.monotonic() - start)
    return _one_line(text) if type(text) is str else f"<{static.class_name(kind)}>"


def _may_call_repr(kind: type) -> bool:
    """Classes that come with Python, and C code of extensions, but those that show what they contain."""
    if static.is_from_stdlib(kind):
        return (
            static.class_name(kind) not in _HOLDERS_STDLIB and static.class_name(kind) not in _SHOWN_BY_FIELDS
        )
    return (
        not static.has_python_repr(kind) and static.class_attribute(kind, "__repr__") is not object.__repr__
    )


def _called_repr(value: object) -> str:
    try:
        text = guard.run(lambda: repr(value), limits.REPR_SECONDS_MAX)
    except TimeoutError:
        return f"<repr failed: {type_name(value)}.__repr__ did not end in time>"
    return _one_line(text) if type(text) is str else f"<{type_name(value)}>"


def _one_line(text: str) -> str:
    """A text that may have several lines, as arrays and tables have them."""
    text = _cut(text, 2 * limits.VALUE_CHARS_MAX)
    return re.sub(r"\s*\n\s*", " ", text) if "\n" in text else text


def _fields(value: object, kind: type, depth: int) -> str:
    name = static.class_name(kind)
    if static.is_from_stdlib(kind):
        name = _SHOWN_BY_FIELDS.get(name, name)
    found = {k: v for k, v in static.fields(value).items() if not k.startswith("__")}
    if not found:
        return f"<{name} at {id(value):#x}>"
    if depth <= 0:
        return f"{name}({_ELLIPSIS})"
    shown = [f"{k}={_render(v, depth - 1, 80)}" for k, v in islice(found.items(), limits.VALUE_ITEMS_MAX)]
    return f"{name}({_join(shown, len(found))})"


def _join(shown: list[str], count: int) -> str:
    return ", ".join(shown) + (f", {_ELLIPSIS} {count} in all" if count > len(shown) else "")


def _items(values: Iterable[object], count: int, depth: int) -> str:
    if depth <= 0:
        return f"{_ELLIPSIS} {count} items" if count else ""
    return _join([_render(v, depth - 1, 80) for v in islice(values, limits.VALUE_ITEMS_MAX)], count)


def _view(value: object, behind: dict[Any, Any], depth: int) -> str:
    kind, count = type(value), dict.__len__(behind)
    if kind is MappingProxyType:
        return f"mappingproxy({_dict(behind, depth, 80)})"
    shown = list(islice(views.entries(value, behind), limits.VALUE_ITEMS_MAX))
    return f"{static.class_name(kind)}([{_items(shown, count, depth)}])"


def _partial(value: Any, depth: int) -> str:
    function, arguments, keywords = value.func, value.args, value.keywords
    if depth <= 0:
        return f"functools.partial({_ELLIPSIS})"
    shown = [_render(each, depth - 1, 80) for each in (function, *arguments[: limits.VALUE_ITEMS_MAX])]
    shown += [f"{k}={_render(v, depth - 1, 80)}" for k, v in islice(keywords.items(), limits.VALUE_ITEMS_MAX)]
    return f"functools.partial({_join(shown, 1 + len(arguments) + len(keywords))})"


def _string(value: Any, depth: int, limit: int) -> str:
    length = str.__len__(value)
    if length <= limit:
        return str.__repr__(value)
    return f"{str.__repr__(str.__getitem__(value, slice(0, limit)))}{_ELLIPSIS} ({length} characters)"


def _bytes(value: Any, depth: int, limit: int) -> str:
    base = bytearray if static.is_a(value, bytearray) else bytes
    length = base.__len__(value)
    # A slice of a subclass made by the base class is of the base class.
    shown = base.__repr__(base.__getitem__(value, slice(0, limit)))
    return shown if length <= limit else f"{shown}{_ELLIPSIS} ({length} bytes)"


def _integer(value: Any, depth: int, limit: int) -> str:
    bits = int.bit_length(value)
    if getattr(_format, "is_hex", False) and bits <= limits.INTEGER_BITS_MAX:
        return int.__format__(value, "#x")
    return int.__repr__(value) if bits <= limits.INTEGER_BITS_MAX else f"<int of {bits} bits>"


def _list(value: Any, depth: int, limit: int) -> str:
    return f"[{_items(list.__iter__(value), list.__len__(value), depth)}]"


def _tuple(value: Any, depth: int, limit: int) -> str:
    names = static.class_attribute(type(value), "_fields")
    if type(value) is not tuple and type(names) is tuple and len(names) == tuple.__len__(value):
        if depth <= 0:
            return f"{type_name(value)}({_ELLIPSIS})"
        parts = [
            f"{n}={_render(v, depth - 1, 80)}" for n, v in zip(names, tuple.__iter__(value), strict=True)
        ]
        return f"{type_name(value)}({', '.join(parts)})"
    comma = "," if tuple.__len__(value) == 1 else ""
    return f"({_items(tuple.__iter__(value), tuple.__len__(value), depth)}{comma})"


def _dict(value: Any, depth: int, limit: int) -> str:
    count = dict.__len__(value)
    if depth <= 0:
        return f"{{{_ELLIPSIS} {count} items}}" if count else "{}"
    pairs = list(islice(dict.items(value), limits.VALUE_ITEMS_MAX))
    shown = [f"{_render(k, depth - 1, 80)}: {_render(v, depth - 1, 80)}" for k, v in pairs]
    return f"{{{_join(shown, count)}}}"


def _set(value: Any, depth: int, limit: int) -> str:
    base = set if static.is_a(value, set) else frozenset
    count = base.__len__(value)
    inner = _items(list(islice(base.__iter__(value), limits.VALUE_ITEMS_MAX)), count, depth)
    if base is frozenset:
        return f"frozenset({{{inner}}})" if count else "frozenset()"
    return f"{{{inner}}}" if count else "set()"


def _deque(value: Any, depth: int, limit: int) -> str:
    items = list(islice(deque.__iter__(value), limits.VALUE_ITEMS_MAX))
    return f"deque([{_items(items, deque.__len__(value), depth)}])"


def _array(value: Any, depth: int, limit: int) -> str:
    count = array.__len__(value)
    items = array.__getitem__(value, slice(0, limits.VALUE_ITEMS_MAX))
    return f"array({value.typecode!r}, [{_items(list(items), count, depth)}])"


def _exception(value: Any, depth: int, limit: int) -> str:
    arguments = BaseException.args.__get__(value)  # type: ignore[attr-defined]
    return f"{type_name(value)}({_items(arguments, len(arguments), depth)})"


def _class(value: Any, depth: int, limit: int) -> str:
    return (
        f"<class {type.__getattribute__(value, '__module__')}.{type.__getattribute__(value, '__qualname__')}>"
    )


def _function(value: Any, depth: int, limit: int) -> str:
    code = value.__code__
    return f"<function {code.co_qualname} at {code.co_filename}:{code.co_firstlineno}>"


def _suspendable(value: Any, depth: int, limit: int) -> str:
    kind = type(value).__name__.replace("_", " ")
    return f"<{kind} {value.__qualname__} {awaiting.state_of(value)}>"


def _method(value: Any, depth: int, limit: int) -> str:
    function = value.__func__
    name = function.__code__.co_qualname if isinstance(function, FunctionType) else "method"
    return f"<bound method {name} of {_render(value.__self__, min(depth - 1, 0), 80)}>"


def _enum(value: Any, depth: int, limit: int) -> str:
    own = object.__getattribute__(value, "__dict__")
    return f"{type_name(value)}.{own.get('_name_')}"


def _module(value: Any, depth: int, limit: int) -> str:
    return f"<module {value.__dict__.get('__name__', '?')}>"


def _plain(value: object, depth: int, limit: int) -> str:
    return repr(value)


_Renderer = Callable[[Any, int, int], str]

_EXACT: dict[type, _Renderer] = {
    str: _string,
    bytes: _bytes,
    bytearray: _bytes,
    int: _integer,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set,
    frozenset: _set,
    deque: _deque,
    array: _array,
    FunctionType: _function,
    MethodType: _method,
    **dict.fromkeys(awaiting.SUSPENDABLE, _suspendable),
    ModuleType: _module,
    type: _class,
    float: _plain,
    complex: _plain,
    bool: _plain,
    type(None): _plain,
    type(Ellipsis): _plain,
    range: _plain,
    slice: _plain,
    BuiltinFunctionType: _plain,
    CodeType: _plain,
    FrameType: _plain,
    type(sys.version_info): _plain,
}

# By number, as looking a class up may run what its metaclass has for it. These classes live as long as the process.
_EXACT_BY_ID = {id(kind): renderer for kind, renderer in _EXACT.items()}

_BASES: tuple[tuple[type, _Renderer], ...] = (
    (Enum, _enum),
    (BaseException, _exception),
    (type, _class),
    (ModuleType, _module),
    (str, _string),
    (int, _integer),
    (dict, _dict),
    (list, _list),
    (tuple, _tuple),
    (set, _set),
    (frozenset, _set),
    (deque, _deque),
    (array, _array),
    (bytes, _bytes),
    (bytearray, _bytes),
)
_NAMED_BY_THEMSELVES = frozenset({Enum, BaseException, type, ModuleType, tuple})
