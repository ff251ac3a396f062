"""The two names of a file: the client's, and the one in this process, by a client's `pathMappings`."""

from __future__ import annotations

import os

from .errors import RequestError


class PathMap:
    """Pairs of folders. Without any, both names are the same."""

    def __init__(self, mappings: object = None) -> None:
        self._pairs: list[tuple[str, str]] = []
        entries = mappings if isinstance(mappings, list) else []
        for entry in entries:
            local, remote = (
                (entry.get("localRoot"), entry.get("remoteRoot")) if isinstance(entry, dict) else (0, 0)
            )
            if not isinstance(local, str) or not isinstance(remote, str):
                raise RequestError("Each of `pathMappings` needs the texts `localRoot` and `remoteRoot`.")
            self._pairs.append((local.rstrip("/\\"), os.path.abspath(remote)))

    def here(self, path: str) -> list[str]:
        """The names that a client's file may have in this process, best first."""
        found = []
        for local, remote in self._pairs:
            rest = _below(path, local)
            if rest is not None:
                found.append(os.path.join(remote, *rest))
        return [*found, path]

    def at_client(self, path: str) -> str:
        """The client's name of a file of this process."""
        for local, remote in self._pairs:
            rest = _below(path, remote)
            if rest is not None:
                return ("\\" if "\\" in local else "/").join([local, *rest])
        return path


def _below(path: str, folder: str) -> list[str] | None:
    """The parts of the path below the folder; nothing when it is not there. Windows' paths are compared as Windows does."""
    is_windows = "\\" in folder
    wanted, given = (text.replace("\\", "/") if is_windows else text for text in (folder, path))
    begins, prefix = given[: len(wanted) + 1], wanted + "/"
    is_inside = begins.lower() == prefix.lower() if is_windows else begins == prefix
    return given[len(wanted) + 1 :].split("/") if is_inside else None
