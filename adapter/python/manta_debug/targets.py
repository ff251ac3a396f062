"""The calls of a line, each of which a step can enter on its own. Pure: looks at code and frames, changes nothing."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FrameType

from . import limits

_CALLS = frozenset({"CALL", "CALL_KW", "CALL_FUNCTION_EX"})
_NAMED = frozenset(
    {
        "LOAD_NAME",
        "LOAD_GLOBAL",
        "LOAD_FAST",
        "LOAD_FAST_CHECK",
        "LOAD_DEREF",
        "LOAD_ATTR",
        "LOAD_METHOD",
        "LOAD_SUPER_ATTR",
    }
)

_Place = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class CallTarget:
    """One call in a frame, known by its place in the text."""

    frame: FrameType
    place: _Place
    label: str

    def is_running(self, callee: FrameType) -> bool:
        """Whether `callee` runs, directly or through a library, because the frame stands in this call."""
        outer = callee.f_back
        while outer is not None:
            if outer is self.frame:
                return _place_at(outer.f_code, outer.f_lasti) == self.place
            outer = outer.f_back
        return False


def call_targets(frame: FrameType) -> list[CallTarget]:
    """The calls that the frame's present line has still to make, in the order in which they run."""
    found: list[CallTarget] = []
    for offset, place, label in _calls(frame.f_code):
        if offset >= frame.f_lasti and place[0] == frame.f_lineno and len(found) < limits.CALL_TARGETS_MAX:
            found.append(CallTarget(frame, place, label))
    return found


def _calls(code: CodeType) -> Iterator[tuple[int, _Place, str]]:
    names: list[tuple[_Place, str]] = []
    for instruction in dis.get_instructions(code):
        place = _place_at(code, instruction.offset)
        if place is None:
            continue
        if instruction.opname in _NAMED:
            names.append((place, _name_of(instruction)))
        elif instruction.opname in _CALLS:
            callee = _callee(place, names)
            if callee is not None:
                yield instruction.offset, place, callee
            names.append((place, f"{callee or ''}()"))


def _callee(call: _Place, names: list[tuple[_Place, str]]) -> str | None:
    """What the call's text begins with: of all that starts where the call does, what is longest and still ends before it."""
    inside = [
        (p[1], p[3], at)
        for at, (p, _) in enumerate(names)
        if p[0] == call[0] and p[2] == call[2] and _ends(p, call)
    ]
    return names[max(inside)[2]][1] if inside else None


def _ends(inner: _Place, outer: _Place) -> bool:
    return (inner[1], inner[3]) < (outer[1], outer[3])


def _name_of(instruction: dis.Instruction) -> str:
    name = instruction.argval
    return str(name[-1] if isinstance(name, tuple) else name)


def _place_at(code: CodeType, offset: int) -> _Place | None:
    if offset < 0:
        return None
    for at, (line, end_line, column, end_column) in enumerate(code.co_positions()):
        if at == offset // 2:
            if line is None or end_line is None or column is None or end_column is None:
                return None
            return line, end_line, column, end_column
    return None
