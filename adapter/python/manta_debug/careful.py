"""The value of an expression where nothing of the program may run, as when the mouse rests on it.

Names, fields, elements of what Python itself provides, and arithmetic on plain numbers and texts. All else could have effects, and
is refused.
"""

from __future__ import annotations

import ast
import builtins
import sys
from array import array
from collections import deque, namedtuple
from collections.abc import Mapping
from enum import Enum
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from .errors import RequestError
from .evaluate import Scope
from .values import arrays, static

_PLAIN = (int, float, complex, str, bytes, bool, type(None))
_SEQUENCES: tuple[Any, ...] = (list, tuple, str, bytes, bytearray, range, deque, array, memoryview)
# Whose length and truth are Python's own; a class derived from one may have others.
_SIZED = (list, tuple, dict, set, frozenset, str, bytes, bytearray, range, deque, array)
# How a named tuple finds its fields, by their places.
_TUPLE_FIELD: Any = type(vars(namedtuple("_Any", "field"))["field"])
_C_METHODS = (type(str.join), type(int.__add__))


def look(frame: Scope, text: str, extra: Mapping[str, Any] | None) -> Any:
    """The value of the expression. `RequestError` when it is not one that can be looked at without running anything."""
    return _Look(frame, extra).value(ast.parse(text.strip(), mode="eval").body)


class _Look:
    """The evaluation of one expression in a frame."""

    def __init__(self, frame: Scope, extra: Mapping[str, Any] | None) -> None:
        self._names = (extra or {}, frame.f_locals, frame.f_globals, vars(builtins))

    def value(self, node: ast.expr) -> Any:
        """The value of a part of the expression."""
        visit = getattr(self, f"_{type(node).__name__.lower()}", None)
        if visit is None:
            raise _runs("calls something")
        return visit(node)

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        for names in self._names:
            if node.id in names:
                return names[node.id]
        raise NameError(f"name '{node.id}' is not defined")

    def _tuple(self, node: ast.Tuple) -> Any:
        return tuple(self.value(each) for each in node.elts)

    def _list(self, node: ast.List) -> Any:
        return [self.value(each) for each in node.elts]

    def _attribute(self, node: ast.Attribute) -> Any:
        return _attribute_of(self.value(node.value), node.attr)

    def _slice(self, node: ast.Slice) -> Any:
        parts = (
            self.value(part) if part is not None else None for part in (node.lower, node.upper, node.step)
        )
        return slice(*(_plain(part) for part in parts))

    def _subscript(self, node: ast.Subscript) -> Any:
        return _element_of(self.value(node.value), self.value(node.slice))

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return not _truth(value)
        return _operate(ast.UnaryOp(node.op, _operand(0)), [value])

    def _call(self, node: ast.Call) -> Any:
        """The length of one of Python's own containers; no other call."""
        is_length = isinstance(node.func, ast.Name) and self.value(node.func) is len
        if not is_length or len(node.args) != 1 or node.keywords:
            raise _runs("calls something")
        value = self.value(node.args[0])
        if not static.is_one_of(type(value), _SIZED):
            raise _runs("runs code of the program")
        return len(value)

    def _binop(self, node: ast.BinOp) -> Any:
        values = [self.value(node.left), self.value(node.right)]
        makes_much = isinstance(node.op, (ast.Pow, ast.LShift)) or any(
            type(v) in (str, bytes) for v in values
        )
        if makes_much and not isinstance(node.op, ast.Add):
            raise _runs("may take long")
        return _operate(ast.BinOp(_operand(0), node.op, _operand(1)), values)

    def _compare(self, node: ast.Compare) -> Any:
        values = [self.value(each) for each in (node.left, *node.comparators)]
        is_identity = all(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops)
        others: list[ast.expr] = [_operand(at) for at in range(1, len(values))]
        return _operate(ast.Compare(_operand(0), node.ops, others), values, is_any=is_identity)

    def _boolop(self, node: ast.BoolOp) -> Any:
        result: Any = None
        for each in node.values:
            result = self.value(each)
            if _truth(result) is isinstance(node.op, ast.Or):
                break
        return result

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self.value(node.body if _truth(self.value(node.test)) else node.orelse)


def _runs(what: str) -> RequestError:
    return RequestError(f"Not evaluated on hover, because it {what}; use the debug console.")


def _plain(value: Any) -> Any:
    if not static.is_one_of(type(value), _PLAIN):
        raise _runs("runs code of the program")
    return value


def _truth(value: Any) -> bool:
    return bool(value if static.is_one_of(type(value), _SIZED) else _plain(value))


def _operand(at: int) -> ast.Name:
    return ast.Name(f"v{at}", ast.Load())


def _operate(node: ast.expr, values: list[Any], *, is_any: bool = False) -> Any:
    names = {f"v{at}": value if is_any else _plain(value) for at, value in enumerate(values)}
    tree = ast.fix_missing_locations(ast.Expression(node))
    return eval(compile(tree, "<hover>", "eval"), {"__builtins__": {}}, names)


def _attribute_of(owner: Any, name: str) -> Any:
    if static.is_a(owner, ModuleType):
        if name in vars(owner):
            return vars(owner)[name]
        raise AttributeError(f"the module has no attribute '{name}' yet")
    if static.is_a(owner, type):
        member, bound = static.class_attribute(owner, name), None
        if member is None:
            member, bound = static.class_attribute(type(owner), name), owner
    else:
        member, bound = static.class_attribute(type(owner), name), owner
        # Data descriptors come before the instance's own fields, as in Python.
        fields = static.fields(owner)
        if name in fields and not static.is_a(member, (property,)):
            return fields[name]
    if member is None:
        if static.class_attribute(type(owner), "__getattr__") is not None:
            raise _runs("runs code of the program")
        raise AttributeError(f"'{static.class_name(type(owner))}' object has no attribute '{name}'")
    if static.is_a(owner, Enum) and name in ("name", "value") and member is Enum.__dict__[name]:
        return static.fields(owner)[f"_{name}_"]
    return _bound(member, owner, bound)


def _bound(member: Any, owner: Any, bound: Any) -> Any:
    kind = type(member)
    if kind is staticmethod:
        return member.__func__
    if kind is classmethod:
        return MethodType(member.__func__, owner if bound is None else type(owner))
    if kind is FunctionType:
        return member if bound is None else MethodType(member, bound)
    if bound is not None and static.is_one_of(
        kind, (GetSetDescriptorType, MemberDescriptorType, _TUPLE_FIELD, *_C_METHODS)
    ):
        return member.__get__(bound)
    if static.class_attribute(kind, "__get__") is not None and bound is not None:
        raise _runs("computes a property")
    return member


def _element_of(owner: Any, key: Any) -> Any:
    if static.is_a(owner, dict):
        hash_ok = static.is_one_of(type(key), _PLAIN) or (
            type(key) is tuple and all(static.is_one_of(type(part), _PLAIN) for part in key)
        )
        if not hash_ok:
            raise _runs("runs code of the program")
        if not dict.__contains__(owner, key):
            raise KeyError(key)  # A dictionary may make what it lacks, and would keep it.
        return dict.__getitem__(owner, key)
    for base in _SEQUENCES:
        if static.is_a(owner, base):
            return base.__getitem__(owner, _index(key))
    if arrays.is_numpy(owner):
        return owner[tuple(_index(part) for part in key) if type(key) is tuple else _index(key)]
    raise _runs("runs code of the program")


def _index(key: Any) -> Any:
    if type(key) is slice or type(key) is int:
        return key
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(key, numpy.integer):
        return int(key)
    raise _runs("runs code of the program")
