"""Finds code that is loaded already: in modules, in frames that run, and in a file's text for an honest answer."""

from __future__ import annotations

import ast
import functools
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from . import limits, templates
from .codes import CodeTree
from .sources import cached_text
from .table import Breakpoint, Table

_CLASS_DEPTH_MAX = 4


def running_codes() -> Iterator[CodeType]:
    """The code of every frame on every thread's stack."""
    seen: set[int] = set()
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            if id(frame.f_code) not in seen:
                templates.lines_of(
                    frame.f_code, frame.f_globals
                )  # Remembered: who gets the code has no frame of it.
                seen.add(id(frame.f_code))
                yield frame.f_code
            frame = frame.f_back


def loaded_codes(table: Table) -> Iterator[CodeType]:
    """The functions of loaded modules that may concern a breakpoint."""
    names = table.function_names()
    for module in _modules():
        filename = vars(module).get("__file__")
        if isinstance(filename, str) and table.in_file(filename):
            yield from _codes_in(vars(module), vars(module).get("__name__"))
        for name in names:
            yield from _named(module, name)


def is_loaded(table: Table, breakpoint: Breakpoint) -> bool:
    """Whether a loaded module comes from the breakpoint's file."""
    for module in _modules():
        filename = vars(module).get("__file__")
        if isinstance(filename, str) and breakpoint in table.in_file(filename):
            return True
    return False


def line_in_text(breakpoint: Breakpoint) -> int | None:
    """The line that the file's present text has code on, at or after the wanted one; `ValueError` if it cannot be read."""
    tree = _tree_of_text(breakpoint.paths)
    if tree is None:
        raise ValueError("no text")
    line, owners = tree.owners(max(breakpoint.requested_line, 1))
    return line if owners else None


def slides(module: CodeType, wanted: int, line: int) -> bool:
    """Whether a breakpoint on a line without code lands on this one, by the whole text that the module's code may be a part of."""
    name = module.co_filename
    text = cached_text(name)
    try:
        tree = _tree_of_text([name]) if text is None else _compiled_text(text, name)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        tree = None
    return tree is None or tree.owners(wanted)[0] == line


def lines_of_file(paths: list[str]) -> frozenset[int]:
    """The lines of a file that can stop: of its text where it can be read here, else of its code that is loaded."""
    tree = _tree_of_text(paths)
    if tree is not None:
        trees = [tree]
    else:
        table = Table()
        table.add(Breakpoint.of_paths(paths))
        codes = {
            id(code): code
            for code in (*running_codes(), *loaded_codes(table))
            if table.in_file(code.co_filename)
        }
        trees = [CodeTree(code) for code in codes.values()]
    return frozenset(line for tree in trees for each in tree.walk() for line in _lines_shown(each))


def _lines_shown(tree: CodeTree) -> Iterable[int]:
    lines = templates.lines_of(tree.code)
    return tree.lines if lines is None else lines.starts.values()


def codes_to_look_at(table: Table) -> Iterable[CodeType]:
    """The code of this process that may own breakpoints of the table."""
    return itertools.chain(running_codes(), loaded_codes(table)) if table.has_breakpoints else ()


def _tree_of_text(paths: Iterable[str]) -> CodeTree | None:
    """The code of a file's present text."""
    for path in paths:
        try:
            state = os.stat(path)
            return _compiled(path, state.st_mtime_ns, state.st_size)
        except (OSError, SyntaxError, ValueError, MemoryError, RecursionError):
            continue
    return None


@functools.lru_cache(maxsize=limits.TEXTS_COMPILED_MAX)
def _compiled(path: str, changed_ns: int, size: int) -> CodeTree:
    import tokenize
    import warnings

    with tokenize.open(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The program's own compilation says them.
        return CodeTree(compile(file.read(limits.SOURCE_BYTES_MAX), path, "exec", dont_inherit=True))


@functools.lru_cache(maxsize=limits.TEXTS_COMPILED_MAX)
def _compiled_text(text: str, name: str) -> CodeTree:
    return CodeTree(compile(text, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True))


def _modules() -> list[ModuleType]:
    return [m for m in list(sys.modules.values()) if type(m) is ModuleType]


def _codes_in(namespace: dict[str, Any], module: Any, depth: int = 0) -> Iterator[CodeType]:
    for value in list(namespace.values()):
        for function in _functions(value):
            yield function.__code__
        if (
            isinstance(value, type)
            and depth < _CLASS_DEPTH_MAX
            and value.__dict__.get("__module__") == module
        ):
            yield from _codes_in(dict(value.__dict__), module, depth + 1)


def _functions(value: Any) -> Iterator[FunctionType]:
    """The functions behind a value: itself, what it wraps, and the accessors of a property."""
    for _ in range(8):
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, property):
            yield from (f for f in (value.fget, value.fset, value.fdel) if isinstance(f, FunctionType))
            return
        if isinstance(value, FunctionType):
            yield value
            value = value.__dict__.get("__wrapped__")
            continue
        fields = _plain_fields(value)
        yield from (f for f in fields.values() if isinstance(f, FunctionType))
        return


def _plain_fields(value: Any) -> dict[str, Any]:
    """The fields of a decorator's object, without running code of its class."""
    if isinstance(value, (type, ModuleType)):
        return {}
    try:
        fields = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return dict(fields) if type(fields) is dict and len(fields) < 64 else {}


def _named(module: ModuleType, name: str) -> Iterator[CodeType]:
    parts = name.split(".")
    for start in range(len(parts)):
        prefix = ".".join(parts[:start])
        if prefix and prefix != module.__name__:
            continue
        value: Any = module
        for part in parts[start:]:
            fields = value.__dict__ if isinstance(value, (ModuleType, type)) else {}
            value = fields.get(part)
        for function in _functions(value):
            yield function.__code__
