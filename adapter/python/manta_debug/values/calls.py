"""Functions, and calls of them that are suspended: what they carry. None is run."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

from .. import awaiting
from ..errors import RequestError
from ..evaluate import assign_local

FUNCTIONS = (FunctionType, MethodType)
# A name, a value, and the suffix by which an expression gets it, if there is one.
Part = tuple[str, Any, str | None]


def parts_of_function(function: FunctionType | MethodType) -> list[Part]:
    """What a closure has captured, what a method is bound to, and defaults."""
    if isinstance(function, MethodType):
        return [("__self__", function.__self__, ".__self__"), ("__func__", function.__func__, ".__func__")]
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    captured: list[Part] = [
        (name, cell.cell_contents, None) for name, cell in cells if awaiting.is_filled(cell)
    ]
    defaults = [(n, getattr(function, n), f".{n}") for n in ("__defaults__", "__kwdefaults__")]
    return captured + [part for part in defaults if part[1]]


def parts_of_call(call: awaiting.Suspendable) -> list[Part]:
    """The local variables of a suspended generator or coroutine, and what it waits for."""
    frame, (attribute, awaited) = awaiting.frame_of(call), awaiting.awaited_by(call)
    if frame is None:
        return []
    owner = f".{attribute.partition('_')[0]}_frame.f_locals"
    # The parameter of a generator expression has a name that no program can write.
    found = [(n, v, f"{owner}[{n!r}]") for n, v in frame.f_locals.items() if not n.startswith(".")]
    return found + ([(attribute, awaited, f".{attribute}")] if awaited is not None else [])


def assign_in_function(function: FunctionType | MethodType, name: str, value: Any) -> None:
    """Gives what a closure has captured, or an attribute of a function, a new value."""
    captured = function.__code__.co_freevars if isinstance(function, FunctionType) else ()
    if name in captured:
        (function.__closure__ or ())[captured.index(name)].cell_contents = value
    else:
        setattr(function, name, value)


def assign_in_call(call: awaiting.Suspendable, name: str, value: Any) -> None:
    """Gives a local variable of a suspended generator or coroutine a new value."""
    frame = awaiting.frame_of(call)
    if frame is None or name not in frame.f_locals:
        raise RequestError(f"{name} is no variable of {call.__qualname__} that can be set.")
    assign_local(frame, name, value)
