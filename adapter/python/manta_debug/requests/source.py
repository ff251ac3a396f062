"""`source`: the text of a source that the client cannot read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Arguments, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine


def _source(engine: Engine, arguments: Arguments) -> Reply:
    source = arguments.get("source") or {}
    reference = int(source.get("sourceReference") or arguments.get("sourceReference") or 0)
    text = engine.core.sources.text(reference, source.get("path"))
    return Reply({"content": text, "mimeType": "text/x-python"})


REQUESTS = {"source": OnClient(_source)}
