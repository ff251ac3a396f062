"""What the client asked to stop at: a table that is built whole and then only read, but for hit counts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

from . import hashes, limits
from .errors import RequestError
from .hit import parse_hit_condition
from .kinds import ExceptionCondition
from .logpoint import LogTemplate
from .source_maps import SourceMaps

EXCEPTION_FILTERS = ("raised", "uncaught", "userUncaught")
_CELL = re.compile(r"[/\\]ipykernel_\d+[/\\](\d+\.py)$")
_FILTER_ALIASES = {"userUnhandled": "userUncaught"}


class Breakpoint:
    """One logical breakpoint, on a line or on a function."""

    __slots__ = (
        "id",
        "requested_line",
        "function",
        "paths",
        "condition",
        "hit_test",
        "log",
        "error",
        "key",
        "hits",
        "bound_line",
        "bound_file",
        "path",
        "sha256",
    )

    def __init__(self, id: int, key: tuple[Any, ...]) -> None:
        self.id = id
        self.key = key
        self.requested_line = 0
        self.function: str | None = None
        self.path: str | None = None
        self.paths: tuple[str, ...] = ()
        self.condition: CodeType | None = None
        self.hit_test: Callable[[int], bool] | None = None
        self.log: LogTemplate | None = None
        self.error: str | None = None
        self.hits = 0
        self.bound_line: int | None = None
        self.bound_file: str | None = None
        #: The hash of the file's content as the client has it.
        self.sha256: str | None = None

    def name_here(self) -> str | None:
        """The file's path in this process, where that is none of the names that the client gave for it."""
        if self.bound_file is None or not self.paths:
            return None
        bound = os.path.abspath(self.bound_file)
        known = {name for p in self.paths for name in (p, os.path.normpath(p), os.path.realpath(p))}
        return None if {self.bound_file, bound, os.path.realpath(bound)} & known else bound

    @staticmethod
    def of_paths(paths: Iterable[str]) -> Breakpoint:
        """One that only names a file, to ask a table what code lies in it."""
        made = Breakpoint(0, ())
        made.paths = tuple(paths)
        return made


class Table:
    """All breakpoints and exception filters of one generation."""

    def __init__(self) -> None:
        self.generation = 0
        self.session_id = ""
        self.breakpoints: list[Breakpoint] = []
        self.filters: dict[str, ExceptionCondition | None] = {}
        self.step_into_libraries = False
        #: What of the client's files runs under other names.
        self.source_maps = SourceMaps()
        self._by_path: dict[str, list[Breakpoint]] = {}
        self._by_name: dict[str, list[Breakpoint]] = {}
        self._by_cell: dict[str, list[Breakpoint]] = {}
        self._by_function: dict[str, list[Breakpoint]] = {}
        self._by_filename: dict[str, tuple[Breakpoint, ...]] = {}

    @property
    def has_breakpoints(self) -> bool:
        """Whether code must be watched for lines at all."""
        return bool(self._by_path or self._by_function)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to stop at."""
        return not self.has_breakpoints and not self.filters

    def add(self, breakpoint: Breakpoint) -> None:
        """Enters a breakpoint. One with an error is kept for its answer only."""
        if len(self.breakpoints) >= limits.BREAKPOINTS_MAX:
            raise RequestError(f"There are more than {limits.BREAKPOINTS_MAX} breakpoints; remove some.")
        self.breakpoints.append(breakpoint)
        if breakpoint.error is not None:
            return
        if breakpoint.function is not None:
            last = breakpoint.function.rpartition(".")[2]
            self._by_function.setdefault(last, []).append(breakpoint)
            return
        for path in {name for p in breakpoint.paths for name in (os.path.normpath(p), os.path.realpath(p))}:
            self._by_path.setdefault(path, []).append(breakpoint)
        for cell in {cell for p in breakpoint.paths if (cell := _cell_of(p)) is not None}:
            self._by_cell.setdefault(cell, []).append(breakpoint)
        if breakpoint.sha256 is not None:
            for name in {os.path.basename(p) for p in breakpoint.paths}:
                self._by_name.setdefault(name, []).append(breakpoint)

    def in_file(self, filename: str) -> tuple[Breakpoint, ...]:
        """The line breakpoints of a code object's file."""
        found = self._by_filename.get(filename)
        if found is None:
            if len(self._by_filename) >= limits.FILE_CACHE_MAX:
                self._by_filename.clear()
            found = self._by_filename[filename] = self._match(filename)
        return found

    def _match(self, filename: str) -> tuple[Breakpoint, ...]:
        if not self._by_path:
            return ()
        found = self._by_path.get(filename)
        if found is None and not filename.startswith("<"):
            absolute = os.path.abspath(filename)
            found = self._by_path.get(absolute) or self._by_path.get(os.path.realpath(absolute))
        pieces = {os.path.normpath(piece.path) for piece in self.source_maps.pieces_of(filename)}
        if pieces:
            return tuple(b for path in pieces for b in self._by_path.get(path, ()))
        cell = _cell_of(filename)
        if not found and cell is not None:
            found = self._by_cell.get(cell)
        elif not found:
            # The same file under another name: shipped to a worker, or reached by another mount.
            named = self._by_name.get(os.path.basename(filename))
            digest = hashes.of_file(filename) if named else None
            found = [b for b in named or () if b.sha256 == digest]
        return tuple(found or ())

    def on_function(self, code: CodeType) -> list[Breakpoint]:
        """The function breakpoints that mean this code."""
        candidates = self._by_function.get(code.co_name)
        if not candidates:
            return []
        name = code.co_qualname.replace(".<locals>", "")
        return [b for b in candidates if b.function is not None and _names_match(b.function, name)]

    def concerns(self, code: CodeType) -> bool:
        """Whether any breakpoint may lie in this code."""
        return bool(self.in_file(code.co_filename)) or code.co_name in self._by_function

    def function_names(self) -> list[str]:
        """The functions that breakpoints name."""
        return [b.function for b in self.breakpoints if b.function is not None and b.error is None]


def _cell_of(path: str) -> str | None:
    """What names a notebook's cell in every kernel: the file has the hash of the cell's text for a name."""
    match = _CELL.search(path)
    return match[1] if match is not None else None


def _names_match(wanted: str, qualified: str) -> bool:
    """`f`, `C.f` and `module.C.f` all mean the function `C.f`. The module is checked when the function runs."""
    return wanted == qualified or qualified.endswith("." + wanted) or wanted.endswith("." + qualified)


def build(arguments: dict[str, Any], previous: Table, source_maps: SourceMaps) -> Table:
    """The table that `mantaConfigure` asks for. Hit counts of unchanged breakpoints are kept."""
    table = Table()
    table.source_maps = source_maps
    table.generation = int(arguments.get("generation", 0))
    table.session_id = str(arguments.get("sessionId", ""))
    table.step_into_libraries = bool(arguments.get("stepIntoFramework", False))
    kept = {b.key: b for b in previous.breakpoints}
    for entry in arguments.get("sources", ()):
        source = entry.get("source", {})
        paths = tuple(entry.get("paths") or [source.get("path", "")])
        for wanted in entry.get("breakpoints", ()):
            _enter(table, wanted, kept, paths, source.get("path"), hashes.wanted_of(entry))
    for wanted in arguments.get("functionBreakpoints", ()):
        _enter(table, wanted, kept, (), None, None)
    for name in arguments.get("exceptionFilters", ()):
        _enter_filter(table, str(name), None)
    for option in arguments.get("exceptionOptions", ()):
        _enter_filter(table, str(option.get("filterId", "")), option.get("condition"))
    return table


def _enter(
    table: Table,
    wanted: dict[str, Any],
    kept: dict[tuple[Any, ...], Breakpoint],
    paths: tuple[str, ...],
    path: str | None,
    sha256: str | None,
) -> None:
    texts = tuple(wanted.get(name) or None for name in ("condition", "hitCondition", "logMessage"))
    # Not the file's names, of which the session learns more: the hits go on counting.
    key = (wanted["id"], wanted.get("line"), wanted.get("name"), texts)
    made = Breakpoint(int(wanted["id"]), key)
    made.path = path
    made.paths = paths
    made.sha256 = sha256
    made.requested_line = int(wanted.get("line", 0))
    made.function = wanted.get("name")
    if key in kept:
        made.hits = kept[key].hits
    try:
        _compile_parts(made, *texts)
    except ValueError as error:
        made.error = str(error)
    table.add(made)


def _compile_parts(made: Breakpoint, condition: str | None, hit: str | None, log: str | None) -> None:
    if condition is not None:
        made.condition = _expression(condition, "condition")
    if hit is not None:
        made.hit_test = parse_hit_condition(hit)
    if log is not None:
        made.log = LogTemplate(log)


def _enter_filter(table: Table, name: str, condition: str | None) -> None:
    name = _FILTER_ALIASES.get(name, name)
    if name not in EXCEPTION_FILTERS:
        return  # A session has filters for other languages too; a client's own mistakes are refused before they come here.
    try:
        table.filters[name] = (
            ExceptionCondition(condition, _expression(condition, "condition")) if condition else None
        )
    except ValueError as error:
        raise RequestError(str(error)) from None


def _expression(text: str, what: str) -> CodeType:
    try:
        return compile(text.strip(), f"<{what}>", "eval", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"The {what} '{text}' is not a valid expression: {error}.") from None
