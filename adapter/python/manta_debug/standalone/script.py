"""Runs a script or a module as `__main__`, as the interpreter itself would."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Sequence


def run(target: str, arguments: Sequence[str], *, is_module: bool) -> int:
    """Runs the program to its end and answers its exit code. An exception that nobody caught is printed as usual."""
    sys.argv = [target, *arguments]
    try:
        if is_module:
            sys.path.insert(0, os.getcwd())
            runpy.run_module(target, run_name="__main__", alter_sys=True)
        else:
            path = os.path.abspath(target)
            sys.path.insert(0, os.path.dirname(path))
            runpy.run_path(path, run_name="__main__")
    except SystemExit as error:
        return _exit_code(error)
    except BaseException as error:
        _print(error)
        return 1
    return 0


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _print(error: BaseException) -> None:
    """Prints the traceback from the program's first frame on: the frames before it are ours."""
    link = error.__traceback__
    while link is not None and _is_ours(link.tb_frame.f_code.co_filename):
        link = link.tb_next
    traceback.print_exception(type(error), error, link)


def _is_ours(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen runpy") or filename == runpy.__file__
