"""Has an interpreter that the program starts load the engine before its program: by the environment that the new process gets.

The program's own environment stays as it is, so the functions that start a process are wrapped. Whatever lies in between, as a shell
does, hands the variables on. In the new process they are taken out again, before its program can see them.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from .gate import VARIABLE

#: The folder whose `sitecustomize` an interpreter imports at its start.
BOOTSTRAP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap")
# Where `_posixsubprocess.fork_exec` takes the new process's environment, and how many arguments it has at least.
_FORK_EXEC_ENVIRONMENT = 5

Place = Callable[[], "str | None"]


def install(place: Place) -> None:
    """From now on each process that is started gets the place that `place` gives at that time."""
    try:
        import _posixsubprocess
    except ImportError:
        return  # Another system, which starts processes in another way: they run by themselves.
    fork_exec = _posixsubprocess.fork_exec

    @wraps(fork_exec)
    def start(*arguments: Any) -> Any:
        return fork_exec(*_with_listed(arguments, place()))

    _posixsubprocess.fork_exec = start
    subprocess: Any = sys.modules.get("subprocess")
    if subprocess is not None and getattr(subprocess, "_fork_exec", None) is fork_exec:
        subprocess._fork_exec = start
    for name in ("posix_spawn", "posix_spawnp", "execve"):
        _wrap(name, place)
    _wrap_execv(place)
    if sys.version_info >= (3, 12):
        for name in ("fork", "forkpty"):
            _wrap_fork(name)


def _wrap_fork(name: str) -> None:
    """From 3.12 on Python warns of a fork in a process of several threads; the engine's own are none to warn of."""
    original = getattr(os, name, None)
    if original is None:
        return

    @wraps(original)
    def start() -> Any:
        if len(threading._active) > 1:  # type: ignore[attr-defined]
            return original()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", f".* multi-threaded, use of {name}", DeprecationWarning)
            return original()

    setattr(os, name, start)


def environment(given: Mapping[Any, Any] | None, place: str) -> dict[Any, Any]:
    """An environment, this process's own if none is given, with the place added; names and values may be texts or bytes."""
    given = os.environ if given is None else given
    is_bytes = any(isinstance(name, bytes) for name in given)
    path_name, variable = ("PYTHONPATH", VARIABLE)
    made = dict(given)
    if is_bytes:
        path_name, variable = os.fsencode(path_name), os.fsencode(variable)  # type: ignore[assignment]
    before = os.fsdecode(made.get(path_name) or "")
    path = BOOTSTRAP + os.pathsep + before if before else BOOTSTRAP
    made[path_name] = os.fsencode(path) if is_bytes else path
    made[variable] = os.fsencode(place) if is_bytes else place
    return made


def _with_listed(arguments: tuple[Any, ...], place: str | None) -> tuple[Any, ...]:
    """The arguments of `fork_exec`, whose environment is a list of `b"NAME=VALUE"`, or nothing for this process's own."""
    if place is None or len(arguments) <= _FORK_EXEC_ENVIRONMENT:
        return arguments
    listed = arguments[_FORK_EXEC_ENVIRONMENT]
    if listed is None:
        given: Mapping[bytes, bytes] = os.environb
    else:
        given = dict(entry.split(b"=", 1) for entry in listed if b"=" in entry)
    made = [name + b"=" + value for name, value in environment(given, place).items()]
    return (*arguments[:_FORK_EXEC_ENVIRONMENT], made, *arguments[_FORK_EXEC_ENVIRONMENT + 1 :])


def _wrap(name: str, place: Place) -> None:
    """Wraps a function of `os` whose third argument is the environment."""
    original = getattr(os, name, None)
    if original is None:
        return

    @wraps(original)
    def start(path: Any, arguments: Any, env: Any, **more: Any) -> Any:
        where = place()
        return original(path, arguments, env if where is None else environment(env, where), **more)

    setattr(os, name, start)


def _wrap_execv(place: Place) -> None:
    original = os.execv

    @wraps(original)
    def start(path: Any, arguments: Any) -> Any:
        where = place()
        if where is None:
            return original(path, arguments)
        return os.execve(path, arguments, os.environ)

    os.execv = start
