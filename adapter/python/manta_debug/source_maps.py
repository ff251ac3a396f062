"""Lines of a client's file that run under the name of another: cells of an interactive window, or code that was made from a file."""

from __future__ import annotations

import os
from dataclasses import dataclass

from . import limits
from .errors import RequestError


@dataclass(frozen=True, slots=True)
class Piece:
    """The lines from `first` to `last` of the client's file `path`, which run as those of `file` from `at` on."""

    path: str
    first: int
    last: int
    file: str
    at: int

    def here(self, line: int) -> int | None:
        """The line here for one of the client's; nothing where it is not in this piece."""
        return self.at + line - self.first if self.first <= line <= self.last else None

    def at_client(self, line: int) -> int | None:
        """The client's line for one here; nothing where it is not in this piece."""
        found = self.first + line - self.at
        return found if self.first <= found <= self.last else None


class SourceMaps:
    """All pieces that a client has named."""

    def __init__(self) -> None:
        self._by_path: dict[str, list[Piece]] = {}
        self._by_file: dict[str, list[Piece]] = {}

    def replace(self, path: str, pieces: list[Piece]) -> None:
        """Names the pieces of a client's file in the place of those before."""
        others = {name: held for name, held in self._by_path.items() if name != _normal(path)}
        if sum(map(len, others.values())) + len(pieces) > limits.SOURCE_PIECES_MAX:
            raise RequestError(
                f"There are more than {limits.SOURCE_PIECES_MAX} pieces of files that run elsewhere."
            )
        self._by_path = {**others, _normal(path): pieces}
        by_file: dict[str, list[Piece]] = {}
        for piece in (piece for held in self._by_path.values() for piece in held):
            by_file.setdefault(piece.file, []).append(piece)
        self._by_file = by_file

    def pieces_of(self, file: str) -> list[Piece]:
        """The pieces that run under a file's name."""
        return self._by_file.get(file, [])

    def piece_at(self, path: str | None, file: str, line: int) -> Piece | None:
        """The piece with a line of a client's file that runs under a file's name."""
        name = _normal(path) if path else None
        found = (p for p in self.pieces_of(file) if _normal(p.path) == name and p.here(line) is not None)
        return next(found, None)

    def at_client(self, file: str, line: int) -> tuple[str, int] | None:
        """The client's file and line for one here; nothing where they are the same."""
        for piece in self.pieces_of(file):
            found = piece.at_client(line)
            if found is not None:
                return piece.path, found
        return None


def _normal(path: str) -> str:
    return os.path.normpath(path)
