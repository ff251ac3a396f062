"""Evaluating expressions and statements in a frame, and writing its variables."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Coroutine, Mapping
from types import CodeType, FrameType, ModuleType
from typing import Any, Final, Protocol

from .codes import CO_COROUTINE, CO_OPTIMIZED
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


class OtherScope(Protocol):
    """What shows a frame by other names than its code's, and writes back what is set."""

    @property
    def f_code(self) -> CodeType: ...
    @property
    def f_globals(self) -> dict[str, Any]: ...
    @property
    def f_locals(self) -> dict[str, Any]: ...
    def write_back(self) -> None:
        """Gives the frame what its variables were set to."""


Scope = FrameType | MainScope | OtherScope
Drive = Callable[[Coroutine[Any, Any, Any]], Any]


def evaluate_code(frame: Scope, code: CodeType, extra: Mapping[str, Any] | None = None) -> Any:
    """The value of a compiled expression in a frame. What the expression raises comes out."""
    names = frame.f_locals
    if extra or _has_nested_code(code):
        # Lambdas and comprehensions see only globals: they get one dictionary with everything.
        return eval(code, {**frame.f_globals, **names, **(extra or {})})
    return eval(code, frame.f_globals, names)


def evaluate(
    frame: Scope,
    text: str,
    *,
    statements: bool,
    extra: Mapping[str, Any] | None = None,
    drive: Drive | None = None,
) -> Any:
    """The value of an expression; with `statements`, also runs statements: their value is that of a last expression, or `NOTHING`.

    With `drive`, which runs a coroutine to its end, `await` may stand in them.
    """
    text = text.strip()
    try:
        code = compile(text, _NAME, "eval", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        if not statements:
            raise _without_await(error) from None
        return _run(frame, text, extra, drive)
    result = evaluate_code(frame, code, extra)
    if ":=" in text:
        write_back(frame)
    return result


def _run(frame: Scope, text: str, extra: Mapping[str, Any] | None, drive: Drive | None) -> Any:
    module = ast.parse(text, _NAME)
    last = module.body.pop() if module.body and isinstance(module.body[-1], ast.Expr) else None
    code = _compiled(module, "exec", drive)
    # All is compiled before anything runs.
    rest = _compiled(ast.Expression(last.value), "eval", drive) if isinstance(last, ast.Expr) else None
    execute(frame, code, extra, drive)
    if rest is None:
        return NOTHING
    if rest.co_flags & CO_COROUTINE:
        return _run_on_copy(frame, rest, extra, drive)
    result = evaluate_code(frame, rest, extra)
    write_back(frame)
    return result


def _compiled(tree: ast.Module | ast.Expression, mode: str, drive: Drive | None) -> CodeType:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if drive is not None else 0
    try:
        code: CodeType = compile(tree, _NAME, mode, flags=flags, dont_inherit=True)
    except SyntaxError as error:
        raise _without_await(error) from None
    return code


def _without_await(error: Exception) -> Exception:
    """The error, in other words where it is about awaiting."""
    if isinstance(error, SyntaxError) and str(error.msg).startswith(
        ("'await' outside", "asynchronous comprehension")
    ):
        return RequestError(
            "`await` works in the debug console of a stopped frame alone, as other tasks of its event loop run on meanwhile."
        )
    return error


def execute(
    frame: Scope, code: CodeType, extra: Mapping[str, Any] | None = None, drive: Drive | None = None
) -> None:
    """Runs statements in a frame; what they bind stays bound."""
    if not extra and not _has_nested_code(code) and not code.co_flags & CO_COROUTINE:
        exec(code, frame.f_globals, frame.f_locals)
        write_back(frame)
        return
    _run_on_copy(frame, code, extra, drive)


def _run_on_copy(frame: Scope, code: CodeType, extra: Mapping[str, Any] | None, drive: Drive | None) -> Any:
    """Runs code on one dictionary with all that the frame sees, and then gives the frame what was bound there."""
    before = {**frame.f_globals, **frame.f_locals, **(extra or {})}
    after = dict(before)
    result = eval(code, after)
    if code.co_flags & CO_COROUTINE and drive is not None:
        result = drive(result)
    bound = {
        name: value
        for name, value in after.items()
        if name not in (extra or {}) and name != "__builtins__" and before.get(name, _MISSING) is not value
    }
    if bound:
        # Looked at anew: what has run meanwhile may have changed other variables.
        names = frame.f_locals
        for name, value in bound.items():
            if name in names or name not in frame.f_globals:
                names[name] = value
            else:
                frame.f_globals[name] = value
        write_back(frame)
    return result


def assign_local(frame: Scope, name: str, value: Any) -> None:
    """Gives a local variable of a frame a new value."""
    names = frame.f_locals
    names[name] = value
    write_back(frame)


def write_back(frame: Scope) -> None:
    """Before 3.13, `f_locals` of a function is a copy, which must be written back before it is looked at again."""
    if not isinstance(frame, (FrameType, MainScope)):
        frame.write_back()
        return
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
