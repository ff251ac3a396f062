"""Looks at objects without running code of their classes."""

from __future__ import annotations

import sys
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

_MRO = type.__dict__["__mro__"]
_NAMES = sys.stdlib_module_names | {"builtins"}


def is_a(value: object, kinds: type | tuple[type, ...]) -> bool:
    """Whether a value is of one of these classes. `isinstance` would ask the value's own `__class__`, which may be any code, or a lie."""
    return issubclass(type(value), kinds)


def is_one_of(kind: type, kinds: tuple[type, ...]) -> bool:
    """Whether it is one of these very classes. `in` would ask the class's metaclass, which may compare as it likes."""
    for each in kinds:  # noqa: SIM110 - asked of every value that is shown, and `any` takes twice as long
        if kind is each:
            return True
    return False


def mro(kind: type) -> tuple[type, ...]:
    """The method resolution order, whatever the metaclass does."""
    order: tuple[type, ...] = _MRO.__get__(kind)
    return order


def class_name(kind: type) -> str:
    """The class's own name, without its metaclass's help."""
    return str(type.__getattribute__(kind, "__name__"))


def class_attribute(kind: type, name: str) -> Any:
    """An attribute as the classes hold it: descriptors stay descriptors."""
    for cls in mro(kind):
        fields = type.__getattribute__(cls, "__dict__")
        if name in fields:
            return fields[name]
    return None


def fields(value: object) -> dict[str, Any]:
    """The instance's own fields: its `__dict__` and its slots."""
    found: dict[str, Any] = {}
    for cls in reversed(mro(type(value))):
        if is_from_stdlib(cls):
            continue
        for name, member in list(type.__getattribute__(cls, "__dict__").items()):
            if type(member) is MemberDescriptorType and name != "__dict__":
                try:
                    found[name] = member.__get__(value)
                except AttributeError:
                    continue
    own = _own_dict(value)
    if own is not None:
        found.update((k, v) for k, v in list(own.items()) if type(k) is str)
    return found


def _own_dict(value: object) -> dict[Any, Any] | None:
    if is_a(value, (type, ModuleType)):
        return dict(type.__getattribute__(value, "__dict__")) if is_a(value, type) else value.__dict__
    holder = class_attribute(type(value), "__dict__")
    if holder is not None and type(holder) not in (GetSetDescriptorType, MemberDescriptorType):
        return None
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return own if isinstance(own, dict) else None


def properties(value: object) -> dict[str, str]:
    """The properties of the user's classes, by name; their values are not computed."""
    found: dict[str, str] = {}
    for cls in mro(type(value)):
        if is_from_stdlib(cls):
            continue
        for name, member in list(type.__getattribute__(cls, "__dict__").items()):
            if isinstance(member, property) or class_name(type(member)) == "cached_property":
                found.setdefault(name, class_name(type(member)))
    return found


def is_from_stdlib(kind: type) -> bool:
    """Whether the class comes with Python."""
    module = type.__getattribute__(kind, "__module__")
    return type(module) is str and module.partition(".")[0] in _NAMES


def has_python_repr(kind: type) -> bool:
    """Whether a `__repr__` written in Python would run."""
    return isinstance(class_attribute(kind, "__repr__"), FunctionType)


def computes(member: object) -> bool:
    """Whether reading this class attribute from an instance runs code, as a property's does."""
    return class_attribute(type(member), "__get__") is not None and not isinstance(member, FunctionType)
