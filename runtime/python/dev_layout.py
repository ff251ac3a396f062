"""Lays the Python packages out as an installation would: PYTHONPATH=target/python then imports `manta` and `manta_debug`.

Usage: python dev_layout.py REPOSITORY [PROFILE]      (PROFILE: debug, the default, or release)

The Python files are symbolic links, so that an edit needs no second run. The extension module is a copy that is put in place in one
step: a process that has it loaded keeps the old one.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def lay_out(repository: Path, profile: str) -> Path:
    """Makes or refreshes the layout, and answers with the folder for PYTHONPATH."""
    extension = repository / "target" / profile / "lib_manta.so"
    if not extension.is_file():
        flag = " --release" if profile == "release" else ""
        raise SystemExit(f"{extension} does not exist; build it with 'cargo build --workspace{flag}'")
    folder = repository / "target" / "python"
    package = folder / "manta"
    package.mkdir(parents=True, exist_ok=True)
    source = repository / "runtime" / "python" / "manta"
    wanted = {entry.name for entry in source.iterdir() if entry.name not in ("__pycache__", "bin")}
    for entry in package.iterdir():
        if entry.is_symlink() and entry.name not in wanted:
            entry.unlink()
    for name in wanted:
        link(package / name, source / name)
    link(folder / "manta_debug", repository / "adapter" / "python" / "manta_debug")
    copy(extension, package / "_manta.abi3.so")
    return folder


def link(path: Path, target: Path) -> None:
    """Makes `path` a symbolic link to `target` in one step, whatever it was before."""
    if path.is_symlink() and os.readlink(path) == str(target):
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.symlink_to(target)
    temporary.replace(path)


def copy(source: Path, target: Path) -> None:
    """Copies `source` to `target` in one step, unless it is there already."""
    made = source.stat()
    if (
        target.exists()
        and target.stat().st_mtime_ns == made.st_mtime_ns
        and target.stat().st_size == made.st_size
    ):
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(source, temporary)
    temporary.replace(target)


def main(arguments: list[str]) -> int:
    """The command line."""
    if not 1 <= len(arguments) <= 2 or (len(arguments) == 2 and arguments[1] not in ("debug", "release")):
        print(__doc__, file=sys.stderr)
        return 2
    print(lay_out(Path(arguments[0]).resolve(), arguments[1] if len(arguments) == 2 else "debug"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
