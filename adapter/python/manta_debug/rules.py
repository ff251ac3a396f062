"""A client's `rules`: which files and modules count as the user's code, whatever folder they lie in."""

from __future__ import annotations

import os
import re
import sys
from types import ModuleType

from . import limits
from .errors import RequestError


class Rules:
    """A list in which the first rule that fits a file decides."""

    def __init__(self, given: object = None) -> None:
        entries = given if isinstance(given, list) else []
        if given is not None and (not isinstance(given, list) or len(entries) > limits.RULES_MAX):
            raise RequestError(f"`rules` is a list of at most {limits.RULES_MAX} rules.")
        self._rules = [_rule(entry) for entry in entries]

    def includes(self, filename: str) -> bool | None:
        """Whether the file is the user's code; nothing where no rule is about it."""
        if not self._rules:
            return None
        path = os.path.abspath(filename)
        module: str | None = None
        for pattern, name, include in self._rules:
            if pattern is not None:
                if pattern.fullmatch(path):
                    return include
                continue
            module = _module_of(filename) if module is None else module
            if module == name or module.startswith(f"{name}."):
                return include
        return None


def _rule(entry: object) -> tuple[re.Pattern[str] | None, str, bool]:
    path, module, include = (
        (entry.get("path"), entry.get("module"), entry.get("include"))
        if isinstance(entry, dict)
        else (0, 0, 0)
    )
    if not isinstance(include, bool) or isinstance(path, str) == isinstance(module, str):
        raise RequestError(
            "Each of `rules` needs `include`, which is true or false, and one of the texts `path` and `module`."
        )
    if isinstance(path, str):
        return re.compile(_expression(path.rstrip("/\\"))), "", include
    return None, str(module), include


def _expression(path: str) -> str:
    """A regular expression for a path with `*`, `?` and `**`; a folder's fits what lies in it too."""
    parts = []
    for piece in re.split(r"(\*\*/|\*\*|\*|\?)", path):
        parts.append({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece)))
    return "".join(parts) + "(?:/.*)?"


def _module_of(filename: str) -> str:
    """The name of the module that was loaded from the file; empty where there is none."""
    for name, module in list(sys.modules.items()):
        # Not by `getattr`, which would load a module that waits for its first use.
        fields = object.__getattribute__(module, "__dict__") if isinstance(module, ModuleType) else {}
        if fields.get("__file__") == filename:
            return name
    return ""
