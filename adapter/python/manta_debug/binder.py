"""Joins the table to code objects: which lines of which code must stop. Knows no tracing mechanism."""

from __future__ import annotations

import weakref
from types import CodeType
from typing import Any

from . import locate, templates
from .codes import CodeTree, first_line, first_traceable_offset, is_reentry, start_line
from .table import Breakpoint, Table


class Binding:
    """What one code object must stop at."""

    __slots__ = ("reference", "lines", "entry", "_reentries")

    def __init__(self, reference: weakref.ref[CodeType]) -> None:
        self.reference = reference
        self.lines: dict[int, list[Breakpoint]] = {}
        self.entry: tuple[int, list[Breakpoint]] | None = None
        self._reentries: dict[int, bool] = {}

    def stops_at_start(self, code: CodeType) -> bool:
        """Whether a breakpoint is on the very line where the code begins, as in a function of one line."""
        return bool(self.lines) and start_line(code) in self.lines

    def add(self, line: int, breakpoint: Breakpoint) -> None:
        """Enters a breakpoint at a line of this code, once."""
        at = self.lines.setdefault(line, [])
        if breakpoint not in at:
            at.append(breakpoint)

    def at(self, code: CodeType, line: int, offset: int) -> list[Breakpoint]:
        """The breakpoints that a line event at this offset hits."""
        hit = self.lines.get(line, [])
        if self.entry is None:
            return [] if hit and self._reentry(code, offset) else hit
        first, on_entry = self.entry
        return [b for b in hit if (offset == first if b in on_entry else not self._reentry(code, offset))]

    def _reentry(self, code: CodeType, offset: int) -> bool:
        known = self._reentries.get(offset)
        if known is None:
            known = self._reentries[offset] = is_reentry(code, offset)
        return known


class Binder:
    """The bindings of the present table. Callers hold the engine's lock."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.bindings: dict[int, Binding] = {}
        self._changed: dict[int, Breakpoint] = {}

    def find(self, code: CodeType) -> Binding | None:
        """The binding of this very code object. Equal code objects are not the same one."""
        binding = self.bindings.get(id(code))
        return binding if binding is not None and binding.reference() is code else None

    def consider(self, code: CodeType, names: dict[str, Any] | None = None) -> list[CodeType]:
        """Binds a code object and all nested in it; answers those that own a line and were not bound before.

        `names` are the globals of a frame that runs it, where there is one.
        """
        if self.find(code) is not None:
            return []
        tree = CodeTree(code)
        fresh = [t.code for t in tree.walk() if self.find(t.code) is None]
        for inner in fresh:
            self._enter(inner)
        template = templates.lines_of(code, names)
        for breakpoint in self.table.in_file(code.co_filename):
            if template is not None:
                self._bind_in_template(breakpoint, tree, template)
                continue
            piece = self.table.source_maps.piece_at(
                breakpoint.path, code.co_filename, breakpoint.requested_line
            )
            if piece is None and self.table.source_maps.pieces_of(code.co_filename):
                continue
            here = None if piece is None else piece.here(breakpoint.requested_line)
            wanted = breakpoint.requested_line if here is None else here
            line, owners = tree.owners(wanted)
            # One statement of a cell, each of which is compiled by itself, begins at line 1 like a whole file.
            if line != wanted and code.co_name == "<module>" and not locate.slides(code, wanted, line):
                continue
            shown = line if piece is None else piece.at_client(line)
            if shown is None:
                continue
            for owner in owners:
                self.bindings[id(owner.code)].add(line, breakpoint)
                self._bound(breakpoint, shown, code)
        for inner in fresh:
            self._bind_functions(inner)
        return [inner for inner in fresh if self.bindings[id(inner)].lines]

    def _bind_in_template(self, breakpoint: Breakpoint, tree: CodeTree, whole: templates.Lines) -> None:
        line = whole.line_from(breakpoint.requested_line)
        if line is None:
            return
        for inner in tree.walk():
            lines = templates.lines_of(inner.code)
            for at in lines.places(line) if lines is not None else ():
                self.bindings[id(inner.code)].add(at, breakpoint)
                self._bound(breakpoint, line, inner.code)

    def take_changed(self) -> list[Breakpoint]:
        """The breakpoints that were bound since the last call."""
        changed = list(self._changed.values())
        self._changed.clear()
        return changed

    def _enter(self, code: CodeType) -> None:
        key = id(code)
        bindings = self.bindings

        def forget(reference: weakref.ref[CodeType]) -> None:
            held = bindings.get(key)
            if held is not None and held.reference is reference:
                del bindings[key]

        bindings[key] = Binding(weakref.ref(code, forget))

    def _bind_functions(self, code: CodeType) -> None:
        wanted = self.table.on_function(code)
        line = first_line(code) if wanted else None
        if line is None:
            return
        binding = self.bindings[id(code)]
        binding.entry = (first_traceable_offset(code), wanted)
        for breakpoint in wanted:
            binding.add(line, breakpoint)
            self._bound(breakpoint, line, code)

    def _bound(self, breakpoint: Breakpoint, line: int, code: CodeType) -> None:
        if breakpoint.bound_line is None:
            breakpoint.bound_line = line
            breakpoint.bound_file = code.co_filename
            self._changed[breakpoint.id] = breakpoint
