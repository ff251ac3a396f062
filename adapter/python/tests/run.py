"""Runs the tests on every Python from 3.11 on that is found: on PATH, and among pyenv's versions.

Usage: `python adapter/python/tests/run.py [-v] [TEST ...]`. Needs nothing but those interpreters.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINORS = range(11, 20)
PROBE = "import sys; print(*sys.version_info[:2], sys.executable)"


def interpreters() -> dict[tuple[int, int], str]:
    """One interpreter for each version."""
    names = [sys.executable, *(f"python3.{minor}" for minor in MINORS)]
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    names += sorted(glob.glob(f"{pyenv}/versions/3.*/bin/python3"))
    found: dict[tuple[int, int], str] = {}
    for name in names:
        path = shutil.which(name)
        if path is None:
            continue
        probe = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False)
        if probe.returncode != 0:
            continue  # A pyenv shim for a version that is not chosen here.
        major, minor, executable = probe.stdout.split(maxsplit=2)
        if int(minor) in MINORS:
            found.setdefault((int(major), int(minor)), executable.strip())
    return dict(sorted(found.items()))


def main() -> int:
    """Runs them all; answers 1 when any failed."""
    arguments = sys.argv[1:]
    chosen = [a for a in arguments if not a.startswith("-")]
    flags = [a for a in arguments if a.startswith("-")]
    which = [*flags, *chosen] if chosen else ["discover", *flags, "-t", ".", "-s", "tests"]
    command = ["-m", "unittest", *which]
    failed = []
    for (major, minor), executable in interpreters().items():
        print(f"manta_debug on Python {major}.{minor} ({executable})", flush=True)
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        if subprocess.run([executable, *command], cwd=ROOT, env=environment, check=False).returncode != 0:
            failed.append(f"{major}.{minor}")
    if failed:
        print(f"failed on Python {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
