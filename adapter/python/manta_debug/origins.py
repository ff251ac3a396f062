"""Whose code a file is: the user's, a library's, or the runtime's own."""

from __future__ import annotations

import os
import sys
from enum import Enum
from types import CodeType, FrameType

from .rules import Rules

# What a person has typed somewhere; all else that is in no file is made by some library, and has no text to step through.
_TYPED = (
    "<command line>",
    "<stdin>",
    "<console>",
    "<input",
    "<python-input",
    "<ipython-",
    "<cell",
)


class Origin(Enum):
    """Who wrote a file."""

    USER = "user"
    LIBRARY = "library"
    RUNTIME = "runtime"


_ENGINE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_BOOTSTRAP = frozenset({"<frozen runpy>", _STDLIB + "runpy.py", _STDLIB + "threading.py"})


class Origins:
    """Classifies files, and remembers."""

    def __init__(self) -> None:
        self._known: dict[str, Origin] = {}
        self._rules = Rules()

    def follow(self, rules: Rules) -> None:
        """Files that a rule fits are whose it says from now on."""
        self._rules = rules
        self._known.clear()

    def of(self, code: CodeType) -> Origin:
        """Who wrote this code."""
        return self.of_file(code.co_filename)

    def of_file(self, name: str) -> Origin:
        """Who wrote the file of this name."""
        origin = self._known.get(name)
        if origin is None:
            origin = self._known[name] = self._classify(name)
        return origin

    def is_user(self, frame: FrameType) -> bool:
        """Whether the frame runs the user's code."""
        return self.of(frame.f_code) is Origin.USER

    def is_user_code(self, code: CodeType) -> bool:
        """Whether the user wrote this code."""
        return self.of(code) is Origin.USER

    def is_runtime(self, frame: FrameType) -> bool:
        """Whether the frame runs code of the task runtime, or of the engine."""
        return self.of(frame.f_code) is Origin.RUNTIME

    def is_bootstrap(self, frame: FrameType) -> bool:
        """Whether the frame only starts a thread, a task or a script."""
        return self.is_runtime(frame) or frame.f_code.co_filename in _BOOTSTRAP

    def may_be_stepped_into(self, frame: FrameType, *, anywhere: bool) -> bool:
        """Whether a step may stop in the frame: in the user's code; `anywhere` also in libraries that no rule leaves out."""
        if not anywhere or self.is_user(frame):
            return self.is_user(frame)
        return not self.is_bootstrap(frame) and self._rules.includes(frame.f_code.co_filename) is None

    def user_caller(self, frame: FrameType | None) -> FrameType | None:
        """The nearest frame of the user's, from this one outwards."""
        while frame is not None and not self.is_user(frame):
            frame = frame.f_back
        return frame

    def _classify(self, name: str) -> Origin:
        path = os.path.abspath(name)
        if path.startswith(_ENGINE) or any(path.startswith(d) for d in _runtime_directories()):
            return Origin.RUNTIME
        included = self._rules.includes(name)
        if included is not None:
            return Origin.USER if included else Origin.LIBRARY
        if name.startswith("<") and not name.startswith(_TYPED):
            return Origin.LIBRARY
        if "/site-packages/" in path or "/dist-packages/" in path:
            return Origin.LIBRARY
        return Origin.LIBRARY if path.startswith(_STDLIB) else Origin.USER


def _runtime_directories() -> list[str]:
    """The folder of the task runtime, if it is loaded here. The engine does not import it."""
    module = sys.modules.get("manta")
    name = getattr(module, "__file__", None)
    return [os.path.dirname(os.path.abspath(name)) + os.sep] if isinstance(name, str) else []
