"""Which lines of a code object can stop, and which code objects own a line. Pure: looks, changes nothing."""

from __future__ import annotations

import dis
import opcode
import sys
from collections.abc import Iterator
from types import CodeType

_RESUME = opcode.opmap["RESUME"]
_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})

CO_OPTIMIZED = 0x1
CO_VARARGS = 0x4
CO_VARKEYWORDS = 0x8
CO_GENERATOR = 0x20
CO_COROUTINE = 0x80
CO_ASYNC_GENERATOR = 0x200


def first_traceable_offset(code: CodeType) -> int:
    """The offset of the first instruction after the prologue, which makes no line event."""
    opcodes = code.co_code[::2]
    at = opcodes.find(_RESUME)
    return 2 * (at + 1) if at >= 0 else 0


def start_line(code: CodeType) -> int | None:
    """The line of the prologue's end, where a function begins."""
    last = first_traceable_offset(code) - 1
    return next((line for start, end, line in code.co_lines() if start <= last < end), None)


def first_line(code: CodeType) -> int | None:
    """The line of the first instruction that makes a line event."""
    first = first_traceable_offset(code)
    return next((line for _, end, line in code.co_lines() if line and end > first), None)


def traceable_lines(code: CodeType) -> frozenset[int]:
    """The lines of this code object alone that give a line event."""
    first = first_traceable_offset(code)
    return frozenset(
        line for _, end, line in code.co_lines() if line is not None and line > 0 and end > first
    )


def nested(code: CodeType) -> Iterator[CodeType]:
    """The code objects directly inside this one."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant


class CodeTree:
    """A code object with all that is nested in it, and the lines of each."""

    __slots__ = ("code", "lines", "children", "last_line")

    def __init__(self, code: CodeType, parent: CodeType | None = None) -> None:
        self.code = code
        self.lines = traceable_lines(code)
        if parent is not None and not code.co_flags & CO_OPTIMIZED:
            self.lines -= {first_line(code)}  # The `class` statement itself runs in the code around it.
        self.children = [CodeTree(child, code) for child in nested(code)]
        ends = (end_line for _, end_line, _, _ in code.co_positions() if end_line is not None)
        self.last_line: int = max(
            [code.co_firstlineno, *self.lines, *ends, *(child.last_line for child in self.children)]
        )

    def walk(self) -> Iterator[CodeTree]:
        """This one and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def covers(self, line: int) -> bool:
        """Whether the line lies in this code's text."""
        return self.code.co_firstlineno <= line <= self.last_line

    def owners(self, line: int) -> tuple[int, list[CodeTree]]:
        """The line that a breakpoint on `line` lands on, and the code objects to watch; an empty list when none."""
        if not self.covers(line):
            return line, []
        exact = self._with_line(line)
        if exact:
            return line, exact
        inner = self
        while True:
            deeper = next(
                (c for c in inner.children if c.covers(line) and c.code.co_name not in _COMPREHENSIONS), None
            )
            if deeper is None:
                break
            inner = deeper
        following = min((at for tree in inner.walk() for at in tree.lines if at > line), default=None)
        around = _expression_around(inner.code, line)
        if around is not None and around[0] in inner.lines and (following is None or following > around[1]):
            following = around[
                0
            ]  # Behind the last operand, as on a closing bracket: the statement's own line.
        return (following, inner._with_line(following)) if following is not None else (line, [])

    def _with_line(self, line: int) -> list[CodeTree]:
        found = [tree for tree in self.walk() if line in tree.lines]
        plain = [tree for tree in found if tree.code.co_name not in _COMPREHENSIONS]
        return plain or found


def _expression_around(code: CodeType, line: int) -> tuple[int, int] | None:
    """The first and last line of the smallest expression that goes on over this line, which has no code of its own."""
    statements = set()
    spans = []
    for instruction in dis.get_instructions(code):
        place = instruction.positions
        if place is None or place.lineno is None or place.end_lineno is None:
            continue
        if instruction.opname in _STATEMENTS:
            statements.add(place)
        elif place.lineno < line <= place.end_lineno and instruction.opname.startswith(_EXPRESSIONS):
            spans.append((place.end_lineno - place.lineno, place.lineno, place.end_lineno, place))
    found = [(size, start, end) for size, start, end, place in spans if place not in statements]
    return min(found)[1:] if found else None


_EXPRESSIONS = (
    "BINARY_",
    "BUILD_",
    "CALL",
    "COMPARE_OP",
    "CONTAINS_OP",
    "DICT_",
    "FORMAT_",
    "LIST_",
    "LOAD_ATTR",
    "LOAD_CONST",
    "MAP_ADD",
    "RETURN_VALUE",
    "SET_",
    "UNARY_",
)
# Their place in the text is that of a statement with its body.
_STATEMENTS = {"LOAD_BUILD_CLASS", "MAKE_FUNCTION", "NOP"}
if sys.version_info < (3, 12):
    _STATEMENTS |= {
        "BEFORE_ASYNC_WITH",
        "BEFORE_WITH",
        "FOR_ITER",
        "GET_AITER",
        "GET_ANEXT",
        "GET_ITER",
        "SEND",
    }


def is_reentry(code: CodeType, offset: int) -> bool:
    """Whether control comes back to a line in the middle of a statement that spans several lines.

    The call of `f(` newline `x)` belongs to the first line, and makes a second line event there after the arguments.
    A breakpoint must count that statement once, and a `with` when it begins. The first event of a line always counts: a display
    as `x = [` newline `f()]` comes to its own line only after its elements.
    """
    if offset == _first_offset(code, offset):
        return False
    if _leaves_with(code, offset):
        return True
    positions = list(code.co_positions())
    at = offset // 2
    if not 0 < at < len(positions):
        return False
    (line, end_line, column, end_column), before = positions[at], positions[at - 1]
    if None in (line, end_line, column, end_column, *before):
        return False
    if end_line == line or before[0] == line:
        return False
    starts = (line, column) <= (before[0], before[2])
    ends = (before[1], before[3]) <= (end_line, end_column)
    return bool(starts and ends)


def _leaves_with(code: CodeType, offset: int) -> bool:
    """Whether this is the end of a `with`, which has the place of its beginning."""
    opened = set()
    for instruction in dis.get_instructions(code):
        if instruction.offset >= offset:
            return instruction.positions in opened
        if instruction.opname in ("BEFORE_WITH", "BEFORE_ASYNC_WITH"):
            opened.add(instruction.positions)
    return False


def _first_offset(code: CodeType, offset: int) -> int | None:
    """Where the line of this offset has its first instruction."""
    first = first_traceable_offset(code)
    starts = [(start, end, line) for start, end, line in code.co_lines() if line is not None and end > first]
    line = next((line for start, end, line in starts if start <= offset < end), None)
    return next((max(start, first) for start, _, at in starts if at == line), None)


def leaves_by_exception(code: CodeType, offset: int) -> bool:
    """Whether a frame that ends at this offset ends by an exception: the instruction there is no return or yield."""
    return opcode.opname[code.co_code[offset]] not in _EXITS


_EXITS = frozenset(
    {"RETURN_VALUE", "RETURN_CONST", "RETURN_GENERATOR", "YIELD_VALUE", "SEND", "ASYNC_GEN_WRAP"}
)


def yields(code: CodeType, offset: int) -> bool:
    """Whether a frame that is left at this offset will be resumed."""
    return opcode.opname[code.co_code[offset]] in {"YIELD_VALUE", "SEND"}
