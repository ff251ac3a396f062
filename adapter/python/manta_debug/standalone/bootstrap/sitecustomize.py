"""Imported by an interpreter that a debugged program has started: joins the program's session, before any code of its own runs.

It must load on every Python, also on those that the engine does not know, and leave no trace in what the program sees.
"""

import os
import sys


def _begin():  # type: ignore[no-untyped-def]
    here = os.path.dirname(os.path.abspath(__file__))
    place = os.environ.pop("MANTA_DEBUG_JOIN", None)
    path = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p != here]
    if any(path):
        os.environ["PYTHONPATH"] = os.pathsep.join(path)
    else:
        os.environ.pop("PYTHONPATH", None)
    sys.path[:] = [p for p in sys.path if p != here]
    if place is None or sys.version_info < (3, 11) or sys.implementation.name != "cpython":
        return
    root = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    sys.path.insert(0, root)
    try:
        from manta_debug.standalone import started
    except Exception as error:
        sys.stderr.write(f"manta_debug: this child process runs undebugged: {error}\n")
        return
    finally:
        sys.path.remove(root)
    started.begin(place)


_begin()  # type: ignore[no-untyped-call]

# The module of this name that this one has hidden, if there is one.
del sys.modules["sitecustomize"]
try:
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
except ImportError as _error:
    if _error.name != "sitecustomize":
        raise
    sys.modules["sitecustomize"] = sys.__class__("sitecustomize")
