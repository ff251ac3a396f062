"""`loadedSources`: the files of the loaded modules, and all other sources that frames have named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import limits
from .base import Arguments, OnClient, Reply
from .modules import loaded

if TYPE_CHECKING:
    from ..engine import Engine


def _loaded_sources(engine: Engine, arguments: Arguments) -> Reply:
    sources = engine.core.sources
    for _, _, file in loaded():
        if file.endswith(".py"):
            sources.of_file(file)
    return Reply({"sources": sources.known()[: limits.SOURCES_LISTED_MAX]})


REQUESTS = {"loadedSources": OnClient(_loaded_sources)}
