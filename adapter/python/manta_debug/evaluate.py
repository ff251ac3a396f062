"""Evaluating expressions and statements in a frame, and writing its variables."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from types import CodeType, FrameType, ModuleType
from typing import Any, Final

from .codes import CO_OPTIMIZED
from .errors import RequestError

_WRITES_THROUGH = sys.version_info >= (3, 13)


class MainScope:
    """The main module, where an expression finds the parts of a frame that it needs."""

    f_code = compile("", "<main>", "exec")

    def __init__(self, names: dict[str, Any]) -> None:
        self.f_globals = self.f_locals = names

    @staticmethod
    def find() -> MainScope | None:
        """The program's main module; nothing before the program runs."""
        main = sys.modules.get("__main__")
        names = main.__dict__ if type(main) is ModuleType else {}
        is_ours = str(names.get("__package__") or "").partition(".")[0] == __package__
        return MainScope(names) if names and not is_ours else None


Scope = FrameType | MainScope


def evaluate_code(frame: Scope, code: CodeType, extra: Mapping[str, Any] | None = None) -> Any:
    """The value of a compiled expression in a frame. What the expression raises comes out."""
    names = frame.f_locals
    if extra or _has_nested_code(code):
        # Lambdas and comprehensions see only globals: they get one dictionary with everything.
        return eval(code, {**frame.f_globals, **names, **(extra or {})})
    return eval(code, frame.f_globals, names)


def evaluate(frame: Scope, text: str, *, statements: bool, extra: Mapping[str, Any] | None = None) -> Any:
    """The value of an expression; with `statements`, also runs statements: their value is that of a last expression, or `NOTHING`."""
    text = text.strip()
    try:
        code = compile(text, _NAME, "eval", dont_inherit=True)
    except (SyntaxError, ValueError):
        if not statements:
            raise
        return _run(frame, text, extra)
    result = evaluate_code(frame, code, extra)
    if ":=" in text:
        write_back(frame)
    return result


def _run(frame: Scope, text: str, extra: Mapping[str, Any] | None) -> Any:
    module = ast.parse(text, _NAME)
    last = module.body.pop() if module.body and isinstance(module.body[-1], ast.Expr) else None
    execute(frame, compile(module, _NAME, "exec", dont_inherit=True), extra)
    if not isinstance(last, ast.Expr):
        return NOTHING
    result = evaluate_code(
        frame, compile(ast.Expression(last.value), _NAME, "eval", dont_inherit=True), extra
    )
    write_back(frame)
    return result


def execute(frame: Scope, code: CodeType, extra: Mapping[str, Any] | None = None) -> None:
    """Runs statements in a frame; what they bind stays bound."""
    names = frame.f_locals
    if not extra and not _has_nested_code(code):
        exec(code, frame.f_globals, names)
        write_back(frame)
        return
    before = {**frame.f_globals, **names, **(extra or {})}
    after = dict(before)
    exec(code, after)
    for name, value in after.items():
        if name in (extra or {}) or name == "__builtins__" or before.get(name, _MISSING) is value:
            continue
        if name in names or name not in frame.f_globals:
            names[name] = value
        else:
            frame.f_globals[name] = value
    write_back(frame)


def assign_local(frame: FrameType, name: str, value: Any) -> None:
    """Gives a local variable of a frame a new value."""
    names = frame.f_locals
    names[name] = value
    write_back(frame)


def write_back(frame: Scope) -> None:
    """Before 3.13, `f_locals` of a function is a copy, which must be written back before it is looked at again."""
    if _WRITES_THROUGH or not frame.f_code.co_flags & CO_OPTIMIZED:
        return
    try:
        import ctypes
    except ImportError:
        raise RequestError("Locals cannot be set: this Python was built without ctypes.") from None
    ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))


def _has_nested_code(code: CodeType) -> bool:
    return any(isinstance(constant, CodeType) for constant in code.co_consts)


_MISSING = object()
_NAME = "<evaluation>"
NOTHING: Final = object()
"""The value of statements that end with no expression."""
