"""Content hashes of source files, to tell whether two files under different names are the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from . import limits

_known: dict[str, tuple[int, int, str]] = {}


def wanted_of(entry: Mapping[str, Any]) -> str | None:
    """The hash that a client gave for a source, in `mantaConfigure` or as a DAP checksum."""
    given = entry.get("sha256")
    for checksum in entry.get("source", {}).get("checksums") or ():
        if checksum.get("algorithm") == "SHA256":
            given = given or checksum.get("checksum")
    return str(given).lower() if given else None


def of_file(name: str) -> str | None:
    """The SHA-256 of a file's present content; nothing when it cannot be read here."""
    try:
        state = os.stat(name)
        known = _known.get(name)
        if known is not None and known[:2] == (state.st_mtime_ns, state.st_size):
            return known[2]
        if state.st_size > limits.SOURCE_BYTES_MAX:
            return None
        with open(name, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None
    if len(_known) >= limits.FILE_CACHE_MAX:
        _known.clear()
    _known[name] = (state.st_mtime_ns, state.st_size, digest)
    return digest
