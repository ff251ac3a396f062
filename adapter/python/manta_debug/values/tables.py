"""Tables and columns of pandas, polars and Arrow: shape, types, the first elements. Nothing is imported for it."""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .. import limits
from . import static

# How a value of any class is shown.
Show = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Column:
    """A way to read one kind of one-dimensional container."""

    length: Callable[[Any], int]
    dtype: Callable[[Any], Any]
    read: Callable[[Any, int, int], list[Any]]
    suffix: str


@dataclass(frozen=True, slots=True)
class Table:
    """A way to read one kind of two-dimensional container."""

    rows: Callable[[Any], int]
    names: Callable[[Any], list[Any]]
    types: Callable[[Any], list[Any]]
    column: Callable[[Any, int], Any]
    #: What makes a column's expression by its label, and by its place where the label does not name it.
    suffix: str
    other: str


_PANDAS = Column(len, lambda v: v.dtype, lambda v, a, b: v.iloc[a:b].tolist(), ".iloc[{}]")
_PANDAS_INDEX = Column(len, lambda v: v.dtype, lambda v, a, b: v[a:b].tolist(), "[{}]")
_POLARS = Column(len, lambda v: v.dtype, lambda v, a, b: v.slice(a, b - a).to_list(), "[{}]")
_ARROW = Column(len, lambda v: v.type, lambda v, a, b: v.slice(a, b - a).to_pylist(), "[{}].as_py()")
_ARROW_TABLE = Table(
    lambda v: v.num_rows,
    lambda v: v.schema.names,
    lambda v: v.schema.types,
    lambda v, i: v.column(i),
    ".column({index})",
    ".column({index})",
)

_KINDS: dict[tuple[str, str], Column | Table] = {
    ("pandas", "Series"): _PANDAS,
    ("pandas", "Index"): _PANDAS_INDEX,
    ("pandas", "DataFrame"): Table(
        len,
        lambda v: list(v.columns),
        lambda v: list(v.dtypes),
        lambda v, i: v.iloc[:, i],
        "[{name!r}]",
        ".iloc[:, {index}]",
    ),
    ("polars", "Series"): _POLARS,
    ("polars", "DataFrame"): Table(
        lambda v: v.height,
        lambda v: v.columns,
        lambda v: v.dtypes,
        lambda v, i: v.to_series(i),
        "[{name!r}]",
        ".to_series({index})",
    ),
    ("pyarrow", "Array"): _ARROW,
    ("pyarrow", "ChunkedArray"): _ARROW,
    ("pyarrow", "Table"): _ARROW_TABLE,
    ("pyarrow", "RecordBatch"): _ARROW_TABLE,
}
_PLAIN = (str, int, bool, float, complex, bytes, type(None))
_OWN_TEXT = frozenset({"datetime", "decimal", "pandas", "numpy", "polars", "pyarrow"})
_LIBRARIES = frozenset(library for library, _ in _KINDS)


def reader_of(value: Any) -> Column | Table | None:
    """How to read the value, if it is one of the libraries' own classes or made from one."""
    for kind in static.mro(type(value)):
        library = str(type.__getattribute__(kind, "__module__")).partition(".")[0]
        if library in _LIBRARIES:
            name = static.class_name(kind)
            loaded = sys.modules.get(library)
            reader = _KINDS.get((library, name))
            if reader is not None and loaded is not None and loaded.__dict__.get(name) is kind:
                return reader
    return None


def summary_of(value: Any, reader: Column | Table, show: Show) -> str:
    """One line: what it is, its size, its types, what it begins with. `show` has the text of what is none of the library's own."""
    kind = static.class_name(type(value))
    if isinstance(reader, Table):
        names, types = reader.names(value), reader.types(value)
        pairs = zip(names, types, strict=False)
        shown = [f"{_text(n, show)} {str(t)[:40]}" for n, t in islice(pairs, limits.ARRAY_ITEMS_SHOWN_MAX)]
        return f"{kind} of {reader.rows(value)} rows and {len(names)} columns{_listed(shown, len(names))}"
    count = reader.length(value)
    first = [_text(v, show) for v in reader.read(value, 0, min(count, limits.ARRAY_ITEMS_SHOWN_MAX))]
    return f"{kind} of {count} values, {reader.dtype(value)}{_listed(first, count)}"


def _listed(shown: list[str], count: int) -> str:
    return f": {', '.join(shown)}{', …' if count > len(shown) else ''}" if shown else ""


def _text(value: Any, show: Show) -> str:
    """An element or a label. Only what comes with Python or the libraries has its own say: another class's `__str__` is the program's."""
    kind = type(value)
    root = str(type.__getattribute__(kind, "__module__")).partition(".")[0]
    is_known = static.is_one_of(kind, _PLAIN) or root in _OWN_TEXT
    return str(value)[:40] if is_known else show(value)[:40]


def length_of(value: Any, reader: Column | Table) -> int:
    """The number of children: columns of a table, elements of a column."""
    return len(reader.names(value)) if isinstance(reader, Table) else reader.length(value)


def children(
    value: Any, reader: Column | Table, start: int, stop: int, show: Show
) -> list[tuple[str, Any, str]]:
    """The columns or elements from `start` to `stop`: name, value, and what makes its expression."""
    if isinstance(reader, Column):
        found = reader.read(value, start, min(stop, reader.length(value)))
        return [(f"[{at}]", v, reader.suffix.format(at)) for at, v in enumerate(found, start)]
    names = reader.names(value)
    times = collections.Counter(name for name in names if _is_written(name))
    return [
        (
            f"[{name!r}]" if type(name) is str else f"[{show(name)}]",
            reader.column(value, at),
            (reader.suffix if _is_written(name) and times[name] == 1 else reader.other).format(
                name=name, index=at
            ),
        )
        for at, name in enumerate(names[start:stop], start)
    ]


def _is_written(label: Any) -> bool:
    """Whether a column's label is what an expression can write, so that it names the column if no other has it."""
    if type(label) is tuple:
        return all(_is_written(part) for part in label)
    return static.is_one_of(type(label), (str, int, bool, float, type(None)))
