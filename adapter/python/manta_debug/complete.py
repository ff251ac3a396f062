"""Completions for the debug console. Looks names up as the classes hold them, and computes nothing of the program's."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from .evaluate import Scope
from .values import static

# What is typed last: a chain of names, calls left out, with constant subscripts, and the start of a name.
_TAIL = re.compile(r"((?:[^\W\d]\w*(?:\[[^\[\]]*\])*\.)*)([^\W\d]\w*)?$")
_DEPTH_MAX = 16


@dataclass(frozen=True, slots=True)
class Completion:
    """A name that fits, what it is, and the name of its type."""

    name: str
    kind: str
    detail: str

    @property
    def order(self) -> str:
        """Public names come before private ones, and those before special ones."""
        special = self.name.startswith("__") and self.name.endswith("__")
        rank = 2 if special else 1 if self.name.startswith("_") else 0
        return f"{rank}{self.name}"


def complete(frame: Scope, typed: str, extra: Mapping[str, Any]) -> tuple[str, list[Completion]]:
    """The part of a name that was typed, and the names that begin so, in order."""
    match = _TAIL.search(typed)
    if match is None or _continues(typed[: match.start()]):
        return "", []
    path, prefix = match.group(1), match.group(2) or ""
    if not path:
        found = _in_frame(frame, extra)
    else:
        try:
            found = _in_value(_resolve(frame, path[:-1], extra))
        except LookupError:
            return prefix, []
    best: dict[str, Completion] = {}
    for each in found:
        if each.name.startswith(prefix):
            best.setdefault(each.name, each)
    return prefix, sorted(best.values(), key=lambda c: c.order)


def _continues(before: str) -> bool:
    """Whether the chain hangs on something that would have to be computed, as a call; or stands in a string."""
    return before.rstrip().endswith((".", ")")) or before.count('"') % 2 == 1 or before.count("'") % 2 == 1


def _in_frame(frame: Scope, extra: Mapping[str, Any]) -> Iterator[Completion]:
    for scope in (frame.f_locals, extra, frame.f_globals, vars(builtins)):
        for name, value in list(scope.items()):
            if type(name) is str and name.isidentifier():
                yield _completion(name, value, "variable")
    for name in keyword.kwlist:
        yield Completion(name, "keyword", "")


def _in_value(value: Any) -> Iterator[Completion]:
    for name, field in static.fields(value).items():
        if name.isidentifier():
            yield _completion(name, field, "variable" if static.is_a(value, ModuleType) else "field")
    for kind in (*(static.mro(value) if static.is_a(value, type) else ()), *static.mro(type(value))):
        for name, member in list(type.__getattribute__(kind, "__dict__").items()):
            if isinstance(name, str) and name.isidentifier():
                yield _member(name, member)


def _member(name: str, member: Any) -> Completion:
    if isinstance(member, property) or static.class_name(type(member)) == "cached_property":
        return Completion(name, "property", "property")
    if isinstance(member, (staticmethod, classmethod)) or callable(member):
        return Completion(name, "class" if isinstance(member, type) else "method", "")
    return _completion(name, member, "field")


def _completion(name: str, value: Any, otherwise: str) -> Completion:
    detail = static.class_name(type(value))
    if static.is_a(value, ModuleType):
        return Completion(name, "module", detail)
    if static.is_a(value, type):
        return Completion(name, "class", detail)
    if static.is_a(value, MethodType):
        return Completion(name, "method", detail)
    if static.is_a(value, (FunctionType, BuiltinFunctionType)):
        return Completion(name, "function", detail)
    return Completion(name, otherwise, detail)


def _resolve(frame: Scope, path: str, extra: Mapping[str, Any]) -> Any:
    """The value of a chain of names and constant subscripts; `LookupError` where it would have to be computed."""
    try:
        node = ast.parse(path, mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise LookupError(path) from None
    return _value_of(node, frame, extra, 0)


def _value_of(node: ast.expr, frame: Scope, extra: Mapping[str, Any], depth: int) -> Any:
    if depth > _DEPTH_MAX:
        raise LookupError("too deep")
    if isinstance(node, ast.Name):
        for scope in (frame.f_locals, extra, frame.f_globals, vars(builtins)):
            if node.id in scope:
                return scope[node.id]
        raise LookupError(node.id)
    if isinstance(node, ast.Attribute):
        return _attribute(_value_of(node.value, frame, extra, depth + 1), node.attr)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        owner = _value_of(node.value, frame, extra, depth + 1)
        read: tuple[tuple[Any, Any], ...] = (
            (dict, dict.__getitem__),
            (list, list.__getitem__),
            (tuple, tuple.__getitem__),
        )
        for base, get in read:
            if static.is_a(owner, base):
                try:
                    return get(owner, node.slice.value)
                except TypeError:
                    break
    raise LookupError("it would have to be computed")


def _attribute(owner: Any, name: str) -> Any:
    fields = static.fields(owner)
    if name in fields:
        return fields[name]
    for kind in ([owner] if static.is_a(owner, type) else []) + [type(owner)]:
        member = static.class_attribute(kind, name)
        if isinstance(member, (staticmethod, classmethod)):
            member = member.__func__
        if member is not None and not static.computes(member):
            return member
    raise LookupError(name)
