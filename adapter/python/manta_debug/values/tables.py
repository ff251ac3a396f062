"""Tables and columns of pandas, polars and Arrow: shape, types, the first elements. Nothing is imported for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .. import limits
from . import static


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
    suffix: str


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
)

_KINDS: dict[tuple[str, str], Column | Table] = {
    ("pandas", "Series"): _PANDAS,
    ("pandas", "Index"): _PANDAS_INDEX,
    ("pandas", "DataFrame"): Table(
        len, lambda v: list(v.columns), lambda v: list(v.dtypes), lambda v, i: v.iloc[:, i], "[{name!r}]"
    ),
    ("polars", "Series"): _POLARS,
    ("polars", "DataFrame"): Table(
        lambda v: v.height, lambda v: v.columns, lambda v: v.dtypes, lambda v, i: v.to_series(i), "[{name!r}]"
    ),
    ("pyarrow", "Array"): _ARROW,
    ("pyarrow", "ChunkedArray"): _ARROW,
    ("pyarrow", "Table"): _ARROW_TABLE,
    ("pyarrow", "RecordBatch"): _ARROW_TABLE,
}
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


def summary_of(value: Any, reader: Column | Table) -> str:
    """One line: what it is, its size, its types, what it begins with."""
    kind = static.class_name(type(value))
    if isinstance(reader, Table):
        names, types = reader.names(value), reader.types(value)
        pairs = zip(names, types, strict=False)
        shown = [f"{str(n)[:40]} {str(t)[:40]}" for n, t in islice(pairs, limits.ARRAY_ITEMS_SHOWN_MAX)]
        more = ", …" if len(names) > len(shown) else ""
        return f"{kind} of {reader.rows(value)} rows and {len(names)} columns: {', '.join(shown)}{more}"
    count = reader.length(value)
    first = [str(v)[:40] for v in reader.read(value, 0, min(count, limits.ARRAY_ITEMS_SHOWN_MAX))]
    more = ", …" if count > len(first) else ""
    return f"{kind} of {count} values, {reader.dtype(value)}: {', '.join(first)}{more}"


def length_of(value: Any, reader: Column | Table) -> int:
    """The number of children: columns of a table, elements of a column."""
    return len(reader.names(value)) if isinstance(reader, Table) else reader.length(value)


def children(value: Any, reader: Column | Table, start: int, stop: int) -> list[tuple[str, Any, str]]:
    """The columns or elements from `start` to `stop`: name, value, and what makes its expression."""
    if isinstance(reader, Column):
        found = reader.read(value, start, min(stop, reader.length(value)))
        return [(f"[{at}]", v, reader.suffix.format(at)) for at, v in enumerate(found, start)]
    names = reader.names(value)[start:stop]
    return [
        (f"[{str(name)[:80]!r}]", reader.column(value, at), reader.suffix.format(name=name, index=at))
        for at, name in enumerate(names, start)
    ]
