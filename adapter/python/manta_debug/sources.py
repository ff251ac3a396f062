"""DAP sources: a path where a file can be read, a reference where only this process has the text."""

from __future__ import annotations

import os
import sys
from types import CodeType, ModuleType
from typing import Any, cast

from . import limits
from .errors import RequestError
from .origins import Origin, Origins
from .paths import PathMap
from .source_maps import SourceMaps


class Sources:
    """Gives each file name of a code object its DAP `Source`. References stay valid for the engine's life."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self._known: dict[str, dict[str, Any]] = {}
        self._names: dict[int, str] = {}
        self._map = PathMap()
        #: Lines of a client's file that run under another file's name.
        self.maps = SourceMaps()

    def map_paths(self, paths: PathMap) -> None:
        """Paths are told to the client by its own names from now on."""
        self._map = paths
        self._known.clear()

    def of(self, code: CodeType) -> dict[str, Any]:
        """The source of this code."""
        return self.of_file(code.co_filename)

    def of_file(self, name: str) -> dict[str, Any]:
        """The source of this file."""
        source = self._known.get(name)
        if source is None:
            source = self._known[name] = self._make(name, self._origins.of_file(name))
        return source

    def known(self) -> list[dict[str, Any]]:
        """All sources that were named so far."""
        return list(self._known.values())

    def _make(self, name: str, origin: Origin) -> dict[str, Any]:
        source: dict[str, Any] = {"name": os.path.basename(name) or name}
        is_file_name = not name.startswith("<")
        if is_file_name:
            source["path"] = self._map.at_client(os.path.abspath(name))
        if not (is_file_name and os.path.isfile(name)) and _text_without_file(name) is not None:
            reference = len(self._names) + 1
            self._names[reference] = name
            source["sourceReference"] = reference
        if origin is not Origin.USER:
            source["presentationHint"] = "deemphasize"
            source["origin"] = "library" if origin is Origin.LIBRARY else "Manta runtime"
        return source

    def text(self, reference: int, path: str | None) -> str:
        """The text of a source that this engine has named."""
        name = self._names.get(reference)
        if name is None and path is not None:
            name = next((n for n, s in self._known.items() if s.get("path") == path), None)
        if name is None:
            raise RequestError("This process has named no such source; ask for one that a stack frame gave.")
        text = _text_without_file(name)
        if text is None:
            text = _file_text(name)
        if text is None:
            raise RequestError(f"The text of {name} is not to be had in this process.")
        return text


def _text_without_file(name: str) -> str | None:
    """The text of a source that is no file of its own."""
    text = cached_text(name)
    return text if text is not None else _archived_text(name)


def _archived_text(name: str) -> str | None:
    """The text of a module that was imported from an archive."""
    zipimport = sys.modules.get("zipimport")
    if zipimport is None:
        return None
    for module in list(sys.modules.values()):
        fields = module.__dict__ if type(module) is ModuleType else {}
        loader, spec = fields.get("__loader__"), fields.get("__spec__")
        if fields.get("__file__") == name and loader is not None and type(loader) is zipimport.zipimporter:
            return cast("str | None", loader.get_source(getattr(spec, "name", fields["__name__"])))
    return None


def cached_text(name: str) -> str | None:
    """The text that an interactive tool left in `linecache`, without reading a file."""
    linecache = sys.modules.get("linecache")
    entry = linecache.cache.get(name) if linecache is not None else None
    if entry is None or len(entry) != 4:
        return None
    return "".join(entry[2])


def _file_text(name: str) -> str | None:
    import tokenize

    try:
        if os.path.getsize(name) > limits.SOURCE_BYTES_MAX:
            raise RequestError(
                f"{name} is larger than the limit of {limits.SOURCE_BYTES_MAX} bytes for sources."
            )
        with tokenize.open(name) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None  # The caller refuses the request, by the file's name.
