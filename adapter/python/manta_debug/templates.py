"""Templates of Jinja2, which compiles each into Python code of its own: the template's lines for that code's, and its variables.

The code's file name is the template's. What lines of it stand for which of the template's is told by a text that the compiler leaves
in the code, so nothing of the library is called or imported.
"""

from __future__ import annotations

import bisect
import builtins
import dis
import gc
import re
import weakref
from types import CodeType, FrameType, FunctionType
from typing import Any

from . import limits
from .codes import CO_OPTIMIZED, nested, traceable_lines
from .evaluate import Scope, assign_local

_TABLE = re.compile(r"\d+=\d+(?:&\d+=\d+)*")
_VARIABLE = re.compile(r"l_(\d+)_(.+)")

Entries = tuple[tuple[int, int], ...]
"""Pairs of a line of the code and the template's line that begins there, in the code's order."""


class Lines:
    """The lines of one function of a template's code."""

    __slots__ = ("entries", "starts", "_codes")

    def __init__(self, code: CodeType, entries: Entries) -> None:
        self.entries = entries
        #: Where in this very function a line of the template begins.
        self.starts = _starts(code, entries) if code.co_flags & CO_OPTIMIZED else {}
        self._codes = sorted(self.starts)

    def shown(self, line: int) -> int:
        """The template's line that a line of the code belongs to."""
        at = bisect.bisect_right(self._codes, line)
        if at:
            return self.starts[self._codes[at - 1]]
        return self.starts[self._codes[0]] if self._codes else 1

    def places(self, line: int) -> list[int]:
        """The lines of the code where this line of the template begins."""
        return [at for at, text in self.starts.items() if text == line]

    def line_from(self, line: int) -> int | None:
        """The first line of the whole template, from this one on, that has code."""
        return min((text for _, text in self.entries if text >= line), default=None)


class TemplateScope:
    """A frame of a template's code as one who writes templates sees it: with the template's variables."""

    f_code = compile("", "<template>", "exec")

    def __init__(self, frame: FrameType) -> None:
        self._frame = frame
        held = frame.f_locals
        context = held.get("context")
        fields = {name: _dictionary(context, name) for name in ("parent", "vars")}
        environment = _dictionary(frame.f_globals.get("environment"), "globals")
        self.f_globals: dict[str, Any] = {**environment, "__builtins__": builtins}
        given = {n: v for n, v in fields["parent"].items() if environment.get(n, _MISSING) is not v}
        self._vars = fields["vars"]
        self._mangled = _mangled(frame)
        self.f_locals: dict[str, Any] = {
            **given,
            **self._vars,
            **{name: held[local] for name, local in self._mangled.items()},
        }
        self._before = dict(self.f_locals)

    def write_back(self) -> None:
        """Gives the template's code what its variables were set to."""
        for name, value in self.f_locals.items():
            if self._before.get(name, _MISSING) is value:
                continue
            local = self._mangled.get(name)
            if local is not None:
                assign_local(self._frame, local, value)
            else:
                self._vars[name] = value
            self._before[name] = value


_MISSING = object()
_known: dict[int, tuple[weakref.ref[CodeType], Lines | None]] = {}


def may_be(code: CodeType) -> bool:
    """Whether the code's file is not Python's own kind."""
    return not code.co_filename.endswith(".py") and not code.co_filename.startswith("<")


def lines_of(code: CodeType, names: dict[str, Any] | None = None) -> Lines | None:
    """The lines of a template's code; nothing for all other code. `names` are the globals of a frame that runs it."""
    if not may_be(code):
        return None
    known = _known.get(id(code))
    if known is not None and known[0]() is code:
        return known[1]
    entries = _entries(code, names)
    if entries is None:
        return _remember(code, None)
    return learn(code, entries)


def learn(code: CodeType, entries: Entries) -> Lines:
    """Remembers the lines of a template's code, and of all code nested in it."""
    for inner in nested(code):
        learn(inner, entries)
    lines = Lines(code, entries)
    _remember(code, lines)
    return lines


def _remember(code: CodeType, lines: Lines | None) -> Lines | None:
    if len(_known) >= limits.CODE_CACHE_MAX:
        _known.clear()
    _known[id(code)] = (weakref.ref(code), lines)
    return lines


def line_of(frame: FrameType, line: int) -> int:
    """The line to show for a line of the frame's code."""
    lines = lines_of(frame.f_code, frame.f_globals)
    return line if lines is None else lines.shown(line)


def begins_line(frame: FrameType, left: tuple[FrameType, int] | None) -> bool:
    """Whether a frame stands where a line of a template begins, other than the one that a step has left. Always for other code."""
    lines = lines_of(frame.f_code, frame.f_globals)
    if lines is None:
        return True
    line = frame.f_lineno or 0
    if line not in lines.starts:
        return False
    is_same = left is not None and left[0] is frame and lines.shown(left[1]) == lines.starts[line]
    # The other way it is the next turn of a loop.
    return not (is_same and left is not None and line > left[1])


def scope_of(frame: FrameType) -> Scope:
    """Where expressions about a frame find their names."""
    return frame if lines_of(frame.f_code, frame.f_globals) is None else TemplateScope(frame)


def name_of(frame: FrameType) -> str | None:
    """What a template's author calls the part of it that a frame runs; nothing for other code."""
    if lines_of(frame.f_code, frame.f_globals) is None:
        return None
    name = frame.f_code.co_name
    return "template" if name == "root" else name.replace("_", " ", 1) if name.startswith("block_") else name


def _entries(code: CodeType, names: dict[str, Any] | None) -> Entries | None:
    if code.co_name == "<module>":
        table = _stored(code) if {"debug_info", "blocks", "root"} <= set(code.co_names) else None
    else:
        names = _globals_of(code) if names is None else names
        table = names.get("debug_info") if type(names.get("blocks")) is dict and "root" in names else None
    if type(table) is not str or _TABLE.fullmatch(table) is None:
        return None
    pairs = (entry.split("=") for entry in table.split("&"))
    return tuple(sorted((int(at), int(text)) for text, at in pairs))


def _stored(module: CodeType) -> object:
    """What a module gives the name `debug_info`."""
    value: object = None
    for instruction in dis.get_instructions(module):
        if instruction.opname == "LOAD_CONST":
            value = instruction.argval
        elif instruction.opname == "STORE_NAME" and instruction.argval == "debug_info":
            return value
    return None


def _globals_of(code: CodeType) -> dict[str, Any]:
    """The globals of a function that has this code."""
    for owner in gc.get_referrers(code):
        if type(owner) is FunctionType and owner.__code__ is code:
            return owner.__globals__
    return {}


def _starts(code: CodeType, entries: Entries) -> dict[int, int]:
    own = sorted(traceable_lines(code))
    inner = [(child.co_firstlineno, max(traceable_lines(child), default=0)) for child in nested(code)]
    starts: dict[int, int] = {}
    for number, (at, text) in enumerate(entries):
        end = entries[number + 1][0] if number + 1 < len(entries) else None
        if not own or at > own[-1] or at < code.co_firstlineno:
            continue
        if any(first < at <= last for first, last in inner):
            continue
        lines = [line for line in own if line >= at and (end is None or line < end)]
        if not lines:
            continue
        begins = _first_output(code, lines) if at == code.co_firstlineno else None
        starts.setdefault(lines[0] if begins is None else begins, text)
    return starts


def _first_output(code: CodeType, lines: list[int]) -> int | None:
    """Where a block gives its first piece of text, behind what only fetches its variables."""
    line = None
    for instruction in dis.get_instructions(code):
        place = instruction.positions
        if place is not None and place.lineno is not None:
            line = place.lineno
        if instruction.opname == "YIELD_VALUE" and line in lines:
            return line
    return None


def _mangled(frame: FrameType) -> dict[str, str]:
    """The local variable of the code for each variable of the template, the innermost of each name."""
    missing = frame.f_globals.get("missing", _MISSING)
    found: dict[str, tuple[int, str]] = {}
    for local, value in frame.f_locals.items():
        match = _VARIABLE.fullmatch(local)
        if match is None or value is missing:
            continue
        level, name = int(match[1]), match[2]
        if name not in found or found[name][0] < level:
            found[name] = (level, local)
    return {name: local for name, (_, local) in found.items()}


def _dictionary(owner: object, field: str) -> dict[str, Any]:
    """A field of the library's that is a dictionary."""
    held = getattr(owner, field, None)
    return held if type(held) is dict else {}
