"""Pickling of what the extension module does not encode itself: the slow path, and the search for what is to blame.

The extension calls `dumps` for each value that is not a plain number, text or bytes. The C pickler is tried first; cloudpickle
takes what it refuses (lambdas, local classes) and whatever lives in `__main__`, which a worker cannot import.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import logging
import pickle
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

PROTOCOL = 5
# What a function may have with all that it refers to, and from where on that is worth a word.
FUNCTION_BYTES_MAX = 60 * 1024 * 1024
FUNCTION_BYTES_LARGE = 10 * 1024 * 1024
# The place of the file's name among the arguments of `types.CodeType`.
_CODE_FILENAME = 10
_SEARCH_DEPTH_MAX = 4
_SEARCH_CHILDREN_MAX = 200


def dumps(value: Any, keep_buffer: Callable[[pickle.PickleBuffer], Any]) -> bytes | None:
    """Pickles with the C pickler, or answers None where only `dumps_by_value` gives what a worker can load."""
    try:
        data = pickle.dumps(value, PROTOCOL, buffer_callback=keep_buffer)
    except Exception:  # `dumps_by_value` comes next and reports what it meets.
        return None
    return None if b"__main__" in data else data


def dumps_by_value(value: Any, keep_buffer: Callable[[pickle.PickleBuffer], Any]) -> bytes:
    """Pickles with cloudpickle."""
    return _by_value(value, keep_buffer)


def dumps_function(function: Callable[..., Any], name: str) -> bytes:
    """Pickles a task's function, by value unless it can be imported."""
    try:
        code = _by_value(function, None)
    except Exception as error:
        raise TypeError(_blame_function(function, name, error)) from error
    size = f"{name} has {len(code) / 2**20:.0f} MiB with what it refers to"
    instead = (
        "does it refer to a large array or model? Pass that as an argument, or put() it and pass the ref"
    )
    if len(code) > FUNCTION_BYTES_MAX:
        raise ValueError(f"{size}, and {FUNCTION_BYTES_MAX / 2**20:.0f} MiB is the most: {instead}")
    if len(code) > FUNCTION_BYTES_LARGE:
        logging.getLogger("manta").warning("%s, which every worker that runs it gets: %s", size, instead)
    return code


def load_ahead() -> None:
    """Reads cloudpickle in the background, so that a program that is about to need it need not wait for it."""

    def load() -> None:
        # Who needs it says that it is missing.
        with contextlib.suppress(ImportError):
            _by_value_pickler()

    threading.Thread(target=load, name="manta-load", daemon=True).start()


def _by_value(value: Any, keep_buffer: Callable[[pickle.PickleBuffer], Any] | None) -> bytes:
    """Pickles with cloudpickle, but for the files of code."""
    file = io.BytesIO()
    _by_value_pickler()(file, protocol=PROTOCOL, buffer_callback=keep_buffer).dump(value)
    return file.getvalue()


@functools.cache
def _by_value_pickler() -> Any:
    """cloudpickle's pickler, which from 3.1.3 on gives all code one file's name in place of its own.

    With it no traceback of a worker would name the user's file, and no breakpoint in that file would be found.
    """
    import cloudpickle

    reducers = cloudpickle.Pickler.dispatch_table

    def reduce_code(code: types.CodeType) -> tuple[Any, ...]:
        make, arguments = reducers[types.CodeType](code)
        return make, (*arguments[:_CODE_FILENAME], code.co_filename, *arguments[_CODE_FILENAME + 1 :])

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar[Any] = collections.ChainMap({types.CodeType: reduce_code}, reducers)

    return Pickler


def explain(value: Any, what: str, error: BaseException) -> TypeError:
    """The error for a value that cannot be pickled; `what` names it, for instance "argument 'x' of task 'f'"."""
    found = _blame(value, "")
    path, culprit, cause = found if found is not None else ("", value, error)
    place = f"{what}, at {path.lstrip('.')}," if path else what
    return TypeError(
        f"{place} is a {_type_name(culprit)}, which cannot be sent to another process ({cause}). "
        "Create it inside the task, or pass what is needed to create it."
    )


def blame(value: Any, depth: int) -> tuple[str, Any, Any, BaseException] | None:
    """What in `value` cannot be pickled: the path to it, the thing, what holds it, and the error; None when all of it can."""
    import cloudpickle

    try:
        cloudpickle.dumps(value, protocol=PROTOCOL)
        return None
    except Exception as error:
        found: tuple[str, Any, Any, BaseException] = ("", value, value, error)
    for _ in range(depth):
        holder, path = found[1], found[0]
        for step, child in _children(holder):
            inner = _blame(child, path + step, _SEARCH_DEPTH_MAX)
            if inner is not None:
                # One level at a time, so that the holder is known.
                found = (path + step, child, holder, inner[2])
                break
        else:
            break
    return found


def _blame_function(function: Callable[..., Any], name: str, error: BaseException) -> str:
    for kind, variable, value in _captured(function):
        found = _blame(value, variable)
        if found is not None:
            path, culprit, cause = found
            return (
                f"the function '{name}' cannot be sent to a worker: its {kind} variable '{path}' is a "
                f"{_type_name(culprit)}, which cannot be pickled ({cause}). Create it inside the function, or pass it as an argument."
            )
    return f"the function '{name}' cannot be sent to a worker: {error}. Create what it needs inside the function."


def _captured(function: Any) -> Iterator[tuple[str, str, Any]]:
    code = getattr(function, "__code__", None)
    if code is None:
        return
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield "captured", variable, cell.cell_contents
        except ValueError:
            continue  # A cell that is not filled yet.
    names = set(_names(code))
    for variable in sorted(names):
        if variable in function.__globals__:
            yield "global", variable, function.__globals__[variable]
    defaults = function.__defaults__ or ()
    for parameter, value in zip(
        code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True
    ):
        yield "default of the", parameter, value


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _blame(value: Any, path: str, depth: int = 0) -> tuple[str, Any, BaseException] | None:
    """The innermost part of `value` that cannot be pickled, with the path to it; None when all of it can."""
    import cloudpickle

    try:
        cloudpickle.dumps(value, protocol=PROTOCOL)
        return None
    except Exception as error:
        if depth < _SEARCH_DEPTH_MAX:
            for step, child in _children(value):
                found = _blame(child, path + step, depth + 1)
                if found is not None:
                    return found
        return path, value, error


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        found = [(f"[{key!r}]", child) for key, child in list(value.items())[:_SEARCH_CHILDREN_MAX]]
    elif isinstance(value, (list, tuple)):
        found = [(f"[{index}]", child) for index, child in enumerate(value[:_SEARCH_CHILDREN_MAX])]
    elif isinstance(value, (types.ModuleType, type)):
        found = []
    elif isinstance(value, types.FunctionType):
        found = [(f".{variable}", child) for _, variable, child in _captured(value)]
    else:
        found = [
            (f".{name}", child)
            for name, child in list(getattr(value, "__dict__", {}).items())[:_SEARCH_CHILDREN_MAX]
        ]
    return found


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
