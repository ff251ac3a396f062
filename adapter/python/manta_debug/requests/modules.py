"""`modules`: the Python modules that are loaded."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import limits
from ..origins import Origin
from .base import Arguments, Body, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine


def loaded() -> list[tuple[str, ModuleType, str]]:
    """Every loaded module that has a file: its name, itself and its file."""
    found = []
    for name, module in sorted(list(sys.modules.items()), key=lambda item: str(item[0])):
        file = vars(module).get("__file__") if type(module) is ModuleType else None
        if isinstance(file, str):
            found.append((str(name), module, file))
    return found


def _modules(engine: Engine, arguments: Arguments) -> Reply:
    start = max(0, int(arguments.get("startModule") or 0))
    count = int(arguments.get("moduleCount") or 0) or limits.MODULES_PAGE_MAX
    found = loaded()
    page = found[start : start + min(count, limits.MODULES_PAGE_MAX)]
    return Reply({"modules": [_describe(engine, *entry) for entry in page], "totalModules": len(found)})


def _describe(engine: Engine, name: str, module: ModuleType, file: str) -> Body:
    described: dict[str, Any] = {
        "id": name,
        "name": name,
        "path": os.path.abspath(file),
        "isUserCode": engine.core.origins.of_file(file) is Origin.USER,
    }
    version = vars(module).get("__version__")
    if type(version) is str:
        described["version"] = version[: limits.STRING_CHARS_MAX]
    return described


REQUESTS = {"modules": OnClient(_modules)}
