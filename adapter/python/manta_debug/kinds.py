"""The condition of an exception filter: classes by name, or any expression about the exception."""

from __future__ import annotations

import re
from types import CodeType, FrameType

from .evaluate import evaluate_code
from .values import static

_NAMES = re.compile(r"\s*\(?\s*[^\W\d][\w.]*(\s*,\s*[^\W\d][\w.]*)*\s*,?\s*\)?\s*")


class ExceptionCondition:
    """A condition, compiled once. Names of classes need not be known where the exception is raised."""

    __slots__ = ("_code", "_names")

    def __init__(self, text: str, code: CodeType) -> None:
        self._code = code
        names = text.strip().strip("()").split(",") if _NAMES.fullmatch(text) else []
        self._names = frozenset(name.strip() for name in names if name.strip())

    def holds(self, frame: FrameType, error: BaseException) -> bool:
        """Whether the exception is one of the classes, or the expression is true. What the expression raises comes out."""
        try:
            value = evaluate_code(frame, self._code, {"exception": error, "__exception__": error})
        except (NameError, AttributeError):
            if not self._names:
                raise
            return self._has_name(type(error))
        if isinstance(value, type) or (isinstance(value, tuple) and all(isinstance(v, type) for v in value)):
            return isinstance(error, value) or self._has_name(type(error))
        return bool(value)

    def _has_name(self, kind: type) -> bool:
        for cls in static.mro(kind):
            full = f"{cls.__module__}.{cls.__qualname__}"
            if any(full == name or full.endswith("." + name) for name in self._names):
                return True
        return False
