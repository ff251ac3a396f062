"""Runs a script, a module or a text as `__main__`, as the interpreter itself would."""

from __future__ import annotations

import importlib.machinery
import io
import linecache
import os
import pkgutil
import runpy
import sys
import traceback
from collections.abc import Sequence
from enum import Enum
from types import ModuleType

# As a shell counts a process that SIGINT has ended.
_INTERRUPTED = 130


class Kind(Enum):
    """What a program is named by."""

    FILE = "file"
    MODULE = "module"
    CODE = "code"


def run(target: str, arguments: Sequence[str], kind: Kind) -> int:
    """Runs the program to its end and answers its exit code. An exception that nobody caught is printed as usual.

    Its main module stays in place, as threads and handlers at the exit may use it still.
    """
    sys.argv = ["-c" if kind is Kind.CODE else target, *arguments]
    try:
        if kind is Kind.CODE:
            sys.path.insert(0, "")
            _run_text(target)
        elif kind is Kind.MODULE:
            sys.path.insert(0, os.getcwd())
            sys.modules["__main__"] = ModuleType("__main__")
            runpy._run_module_as_main(target)  # type: ignore[attr-defined]
        elif os.path.isfile(target) and not _is_archive(target):
            path = os.path.abspath(target)
            sys.path.insert(0, os.path.dirname(path))
            _run_file(path)
        elif target.endswith(".pyc"):
            runpy.run_path(os.path.abspath(target), run_name="__main__")
        else:
            # A folder or an archive with a `__main__` in it.
            sys.path.insert(0, os.path.abspath(target))
            sys.modules["__main__"] = ModuleType("__main__")
            runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]
    except SystemExit as error:
        return _exit_code(error)
    except BaseException as error:  # The program's end, as the interpreter tells it.
        return _tell(error)
    return 0


def _is_archive(path: str) -> bool:
    return path.endswith(".pyc") or pkgutil.get_importer(path) is not None


def _run_file(path: str) -> None:
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    main = ModuleType("__main__")
    main.__dict__.update(
        __file__=path,
        __cached__=None,
        __builtins__=sys.modules["builtins"],
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
    )
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _run_text(text: str) -> None:
    # The interpreter calls it `<string>`, as much else that is nobody's file; under this name the text is shown, and is the user's.
    name = "<command line>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    code = compile(text, name, "exec", dont_inherit=True)
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=sys.modules["builtins"], __loader__=importlib.machinery.BuiltinImporter)
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _tell(error: BaseException) -> int:
    """Gives an exception that nobody caught to `sys.excepthook`, with the traceback from the program's first frame on: the frames
    before it are ours. Answers the exit code."""
    link = error.__traceback__
    while link is not None and _is_ours(link.tb_frame.f_code.co_filename):
        link = link.tb_next
    error = error.with_traceback(link)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, link
    sys.last_exc = error
    try:
        sys.excepthook(type(error), error, link)
    except SystemExit as wanted:
        return _exit_code(wanted)
    except BaseException as failure:  # The program's own hook, which may raise anything.
        print("Error in sys.excepthook:", file=sys.stderr)
        traceback.print_exception(failure)
        print("\nOriginal exception was:", file=sys.stderr)
        traceback.print_exception(error)
    return _INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _is_ours(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen runpy") or filename == runpy.__file__
