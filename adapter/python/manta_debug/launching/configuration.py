"""What a client's `launch` and `attach` say, checked and made into a command. Pure but for looking at the file system."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import RequestError

Arguments = Mapping[str, Any]

#: The folder of the engine, which any Python of 3.11 and later can run.
ENGINE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

CONSOLES = ("internalConsole", "integratedTerminal", "externalTerminal")
_TITLE = "Python debug console"


@dataclass(frozen=True, slots=True)
class Launch:
    """A program to start."""

    name: str
    #: The interpreter and its own options.
    python: list[str]
    #: What names the program, and its arguments.
    program: list[str]
    folder: str | None
    #: What the environment has beside the adapter's own; nothing for a variable that is taken out.
    environment: dict[str, str | None]
    console: str
    title: str
    is_debugged: bool
    shows_output: bool

    @staticmethod
    def of(arguments: Arguments) -> Launch:
        """Reads the arguments of `launch`. Raises `RequestError` for what cannot be meant."""
        folder = _text(arguments, "cwd")
        name, program, own_folder = _program(arguments, folder)
        console = _text(arguments, "console") or CONSOLES[0]
        if console not in CONSOLES:
            raise RequestError(f"There is no `console` named '{console}'; there are {', '.join(CONSOLES)}.")
        return Launch(
            name=name,
            python=_python(arguments),
            program=[*program, *_words(arguments, "args")],
            folder=folder or own_folder,
            environment=_environment(arguments),
            console=console,
            title=_text(arguments, "consoleTitle") or _text(arguments, "consoleName") or _TITLE,
            is_debugged=not arguments.get("noDebug"),
            shows_output=console == CONSOLES[0],
        )

    def command(self) -> list[str]:
        """The command that starts it, under the engine if it is debugged."""
        if not self.is_debugged:
            return [*self.python, *self.program]
        return [*self.python, ENGINE, "--join", *_after_options(self.program)]

    def engine_arguments(self, arguments: Arguments) -> dict[str, Any]:
        """What the engine is told: it has nothing to show where the adapter reads all that the program prints."""
        told = {**arguments, "cwd": self.folder}
        told["redirectOutput"] = not self.shows_output and bool(arguments.get("redirectOutput", False))
        return told


def process_id(arguments: Arguments) -> int | None:
    """The running process that `attach` names, if it does. Raises `RequestError` for what is none."""
    given = arguments.get("processId")
    if given is None:
        return None
    if isinstance(given, str) and given.isdigit():
        given = int(given)  # What a client's list of processes gives.
    if not isinstance(given, int) or isinstance(given, bool) or given <= 0:
        raise RequestError("`processId` is the number of a process.")
    if arguments.get("connect") is not None or arguments.get("listen") is not None:
        raise RequestError("`attach` takes one of `processId`, `connect` and `listen`.")
    return given


def connection(arguments: Arguments) -> tuple[str, int]:
    """The address that `attach` names. Raises `RequestError` for what is none."""
    place = arguments.get("connect")
    return _address(arguments if place is None else place, "connect")


def listening(arguments: Arguments) -> tuple[str, int] | None:
    """The address where `attach` waits for a program, if it does. Raises `RequestError` for what is none."""
    place = arguments.get("listen")
    if place is not None and arguments.get("connect") is not None:
        raise RequestError("`attach` takes `connect` or `listen`, not both.")
    return None if place is None else _address(place, "listen")


def _address(place: object, name: str) -> tuple[str, int]:
    host, port = (place.get("host"), place.get("port")) if isinstance(place, dict) else (None, None)
    if isinstance(port, str) and port.isdigit():
        port = int(port)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise RequestError(f'`attach` needs `{name}` as {{"host": "127.0.0.1", "port": 5678}}.')
    if host is not None and not isinstance(host, str):
        raise RequestError(f"The `host` of `{name}` is a text.")
    return host or "127.0.0.1", port


def _program(arguments: Arguments, folder: str | None) -> tuple[str, list[str], str | None]:
    """The program's name, the words that name it on a command line, and the folder that it lies in."""
    file, module, code = (arguments.get(name) for name in ("program", "module", "code"))
    if sum(entry is not None for entry in (file, module, code)) != 1:
        raise RequestError("`launch` needs one of `program`, `module` and `code`.")
    if code is not None:
        text = "\n".join(code) if isinstance(code, list) and all(isinstance(c, str) for c in code) else code
        if not isinstance(text, str):
            raise RequestError("`code` is a text, or a list of lines.")
        return "-c", ["-c", text], None
    if module is not None:
        return _needed(module, "module"), ["-m", _needed(module, "module")], None
    path = os.path.join(os.path.abspath(folder or os.getcwd()), _needed(file, "program"))
    if not os.path.exists(path):
        raise RequestError(f"There is no program '{path}'.")
    return path, [path], os.path.dirname(path)


def _python(arguments: Arguments) -> list[str]:
    name = "python" if arguments.get("python") is not None else "pythonPath"
    given = arguments.get(name)
    words = [given] if isinstance(given, str) else [sys.executable] if given is None else given
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise RequestError("`python` is the path of an interpreter, or a list of it and its options.")
    return [*words, *_words(arguments, "pythonArgs")]


def _after_options(program: list[str]) -> list[str]:
    """The words behind `--`, where they could be taken for options of the engine's."""
    return program if program[0] in ("-m", "-c") else ["--", *program]


def _environment(arguments: Arguments) -> dict[str, str | None]:
    given = arguments.get("env") or {}
    if not isinstance(given, dict) or not all(
        isinstance(v, (str, int, float, type(None))) for v in given.values()
    ):
        raise RequestError("`env` is an object whose values are texts; null takes a variable out.")
    return {name: value if value is None else str(value) for name, value in given.items()}


def _words(arguments: Arguments, name: str) -> list[str]:
    given = arguments.get(name)
    if given is None:
        return []
    if isinstance(given, str):
        return shlex.split(given)
    if not isinstance(given, list) or not all(isinstance(word, (str, int, float)) for word in given):
        raise RequestError(f"`{name}` is a list of texts.")
    return [str(word) for word in given]


def _text(arguments: Arguments, name: str) -> str | None:
    given = arguments.get(name)
    if given is None or given == "":
        return None
    return _needed(given, name)


def _needed(given: object, name: str) -> str:
    if not isinstance(given, str) or not given:
        raise RequestError(f"`{name}` is a text that is not empty.")
    return given
