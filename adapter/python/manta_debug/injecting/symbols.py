"""Where a running process has the functions of its interpreter: its mapped files, and the names that they export."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_MAP = re.compile(r"([0-9a-f]+)-[0-9a-f]+ \S+ ([0-9a-f]+) \S+ \d+ +(/.*)")
# The files that may export what is looked for.
_FILES = re.compile(r"/(?:python[^/]*|libpython[^/]*\.so[^/]*|libc[.-][^/]*|ld-musl[^/]*)$")
_SHT_DYNSYM = 11
_PT_LOAD = 1
_FILE_BYTES_MAX = 512 * 1024 * 1024


class NotFound(Exception):
    """A process that is no Python, or one that hides its functions."""


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    offset: int
    size: int
    link: int


class Images:
    """The files that a process has mapped, by which the addresses of functions are found."""

    def __init__(self, process_id: int) -> None:
        self._process_id = process_id
        self._found: dict[str, int] = {}
        with open(f"/proc/{process_id}/maps") as file:
            lines = file.readlines()
        starts: dict[str, int] = {}
        for line in lines:
            match = _MAP.match(line)
            if match is not None and int(match[2], 16) == 0:
                starts.setdefault(match[3], int(match[1], 16))
        program = _link(process_id)
        for path, start in starts.items():
            if path == program or _FILES.search(path):
                self._read(path, start)

    def find(self, name: str) -> int:
        """The address of a function."""
        if name not in self._found:
            raise NotFound(f"it is no Python, or one that does not show its functions: it has no {name}")
        return self._found[name]

    def _read(self, path: str, start: int) -> None:
        try:
            with open(f"/proc/{self._process_id}/root{path}", "rb") as file:
                data = file.read(_FILE_BYTES_MAX)
        except OSError:
            return  # Replaced since it was mapped; what was looked for is missed then, and said.
        if data[:6] != b"\x7fELF\x02\x01":
            return
        base = start - _first_address(data)
        for name, value in _exported(data):
            self._found.setdefault(name, base + value)


def _link(process_id: int) -> str:
    import os

    return os.readlink(f"/proc/{process_id}/exe")


def _first_address(data: bytes) -> int:
    """The address that the file's beginning was linked for."""
    table, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    for number in range(count):
        kind, _, offset, address = struct.unpack_from("<IIQQ", data, table + number * size)
        if kind == _PT_LOAD and offset == 0:
            return int(address)
    return 0


def _exported(data: bytes) -> list[tuple[str, int]]:
    table = struct.unpack_from("<Q", data, 40)[0]
    size, count = struct.unpack_from("<HH", data, 58)
    sections = []
    for number in range(count):
        _, kind, _, _, offset, length, link = struct.unpack_from("<IIQQQQI", data, table + number * size)
        sections.append(_Section(kind, offset, length, link))
    found = []
    for section in sections:
        if section.kind != _SHT_DYNSYM:
            continue
        names = sections[section.link].offset
        for at in range(section.offset, section.offset + section.size, 24):
            name, _, _, index, value = struct.unpack_from("<IBBHQ", data, at)
            if index and value:
                found.append(
                    (data[names + name : data.index(b"\0", names + name)].decode("ascii", "replace"), value)
                )
    return found
