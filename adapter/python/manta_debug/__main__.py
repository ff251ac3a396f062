"""`python -m manta_debug`, and `python FOLDER` for an interpreter that has not installed it."""

from __future__ import annotations

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an adapter may be told to launch with any.
    sys.exit(f"manta_debug: Python 3.11 or later is needed, and {sys.executable} is {sys.version.split()[0]}")
if not __package__:
    # The folder itself is on the path, and its modules must not be found by their own names.
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != folder]
    sys.path.insert(0, os.path.dirname(folder))
    try:
        from manta_debug.command_line import main
    finally:
        sys.path.pop(0)
else:
    from .command_line import main

if __name__ == "__main__":
    sys.exit(main())
