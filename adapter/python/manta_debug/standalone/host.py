"""What a program that is debugged alone does when its client begins and ends."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from .. import unpatched
from ..exits import ExitCodes
from ..paths import PathMap
from ..requests import Host
from ..rules import Rules
from . import output

if TYPE_CHECKING:
    from ..engine import Engine
    from .family import Family

_TERMINATION_SECONDS_MAX = 3.0


class StandaloneHost(Host):
    """Starts the program when the client is ready, and ends it if the client asks for that."""

    def __init__(self, target: str, *, is_child: bool = False) -> None:
        #: Set for good when the program may start.
        self.ready = unpatched.Event()
        #: Set while a client is there that has set its breakpoints.
        self.attended = unpatched.Event()
        self.client_left = False
        self.stops_on_entry = False
        self.name = target
        self.debugs_children = False
        self.is_launched = False
        #: The other processes of this one's session. A child of one has none: it belongs to its parent's.
        self.family: Family | None = None
        self.is_child = is_child

    def initialized(self, engine: Engine) -> None:
        """Asks the client for its breakpoints."""
        engine.send_event("initialized")

    def begin(self, engine: Engine, arguments: dict[str, Any], *, launched: bool) -> None:
        """Takes the client's wishes about libraries, paths, children and output."""
        rules, exits = Rules(arguments.get("rules")), ExitCodes(arguments)
        engine.paths = PathMap(arguments.get("pathMappings"))
        engine.core.sources.map_paths(engine.paths)
        engine.core.origins.follow(rules)
        engine.core.collects_returns = arguments.get("showReturnValue", True) is not False
        engine.client_sets.step_into_libraries = not arguments.get("justMyCode", True)
        engine.core.exits = exits
        self.is_launched = launched
        self.debugs_children = arguments.get("subProcess", True) is not False
        self.stops_on_entry = bool(arguments.get("stopOnEntry"))
        if arguments.get("redirectOutput", True):
            output.redirect(
                lambda category, text: engine.send_event("output", {"category": category, "output": text})
            )
        else:
            output.flush_at_line_ends()
        engine.core.attach()
        if self.family is not None:
            self.family.begin(engine, arguments)
        engine.send_event(
            "process",
            {
                "name": self.name,
                "systemProcessId": os.getpid(),
                "isLocalProcess": True,
                "startMethod": "launch" if launched else "attach",
            },
        )

    def configuration_done(self, engine: Engine) -> None:
        """The breakpoints are in force: the program may start."""
        self.attended.set()
        self.ready.set()

    def configured(self, sets: dict[str, Any]) -> list[dict[str, Any]]:
        """The client has changed its breakpoints: puts them in force in the children too."""
        return self.family.configure(sets) if self.family is not None else []

    def more_threads(self) -> list[dict[str, Any]]:
        """The threads of the children."""
        return self.family.threads() if self.family is not None else []

    def can_go_to(self, arguments: dict[str, Any], paths: list[str]) -> bool:
        """Whether a stopped thread of a child's stands in a function that has this line."""
        return self.family is not None and self.family.can_go_to({**arguments, "paths": paths})

    def thread_name(self, name: str) -> str:
        """A child's thread says whose it is."""
        return f"{name}, {_process_name()} ({os.getpid()})" if self.is_child else name

    def disconnect(self, engine: Engine) -> None:
        """The client leaves, and the program runs on."""
        output.restore()
        self.client_left = True
        self.ready.set()

    def ends_program(self, terminate: bool | None) -> bool:
        """A program ends with the client that launched it, or that asks for it."""
        return self.is_launched if terminate is None else terminate

    def end_program(self, engine: Engine, *, at_once: bool) -> None:
        """Sends SIGTERM, which the program may handle; where it must end at once, SIGKILL follows."""
        if self.family is not None:
            self.family.end(at_once=at_once)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            engine.send_event("terminated")
        if at_once:
            self.client_left = True
            unpatched.OwnThread("killer", _kill_late).start()
        os.kill(os.getpid(), signal.SIGTERM)
        self.ready.set()


def _kill_late() -> None:
    never = unpatched.Event()
    never.wait(_TERMINATION_SECONDS_MAX)
    os.kill(os.getpid(), signal.SIGKILL)


def _process_name() -> str:
    """What `multiprocessing` calls this process, or its program."""
    process = sys.modules.get("multiprocessing.process")
    name = process.current_process().name if process is not None else "MainProcess"
    if name != "MainProcess":
        return str(name)
    program = sys.argv[0] if sys.argv else ""
    folder, name = os.path.split(program)
    # A package that is run as a module.
    return (os.path.basename(folder) if name == "__main__.py" else name) or "python"
