"""The shapes that all requests share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop

Arguments = dict[str, Any]
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what to do once it is sent."""

    body: Body | None = None
    then: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class OnClient:
    """A request that runs on the thread which reads the client's messages."""

    run: Callable[[Engine, Arguments], Reply]


@dataclass(frozen=True, slots=True)
class OnStop:
    """A request that runs on the stopped thread which `stop` finds; or on the client's, by `without`, when it names no frame."""

    stop: Callable[[Engine, Arguments], Stop]
    run: Callable[[Engine, Stop, Arguments], Reply | Body | None]
    without: Callable[[Engine, Arguments], Reply] | None = None


class Host:
    """What the process around the engine does when a client begins and ends. The default is a process that just runs on."""

    def initialized(self, engine: Engine) -> None:
        """The answer to `initialize` was sent."""

    def begin(self, engine: Engine, arguments: Arguments, *, launched: bool) -> None:
        """The client attached or launched."""

    def configuration_done(self, engine: Engine) -> None:
        """The client has sent its breakpoints."""

    def configured(self, sets: Body) -> list[Body]:
        """A whole set of breakpoints is in force here; answers their states in other processes of the session."""
        return []

    def more_threads(self) -> list[Body]:
        """The threads of other processes of the session."""
        return []

    def can_go_to(self, arguments: Arguments, paths: list[str]) -> bool:
        """Whether a thread of another process of the session may go on at the place that `gotoTargets` asks about."""
        return False

    def thread_name(self, name: str) -> str:
        """What a thread of this process is called in the session."""
        return name

    def disconnect(self, engine: Engine) -> None:
        """The client leaves, and the program runs on."""

    def ends_program(self, terminate: bool | None) -> bool:
        """Whether the program ends with a client that says so, or says nothing."""
        return False

    def end_program(self, engine: Engine, *, at_once: bool) -> None:
        """Ends the program; in order, or soon whatever it does."""


@dataclass(frozen=True, slots=True)
class GotoTarget:
    """A line that a stopped thread may be told to go on at."""

    filename: str
    line: int


@dataclass(slots=True)
class ClientSets:
    """The breakpoints of a stand-alone client, which sends them file by file."""

    sources: dict[str, Body] = field(default_factory=dict)
    functions: list[Body] = field(default_factory=list)
    filters: list[str] = field(default_factory=list)
    options: list[Body] = field(default_factory=list)
    step_into_libraries: bool = False
    generation: int = 0
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    known: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def id_of(self, *key: Any) -> int:
        """The id of a breakpoint, the same as long as it is asked for at the same place."""
        if key not in self.known:
            self.known[key] = next(self.ids)
        return self.known[key]

    def arguments(self) -> Arguments:
        """The whole set, as `mantaConfigure` has it."""
        self.generation += 1
        return {
            "generation": self.generation,
            "sources": list(self.sources.values()),
            "functionBreakpoints": self.functions,
            "exceptionFilters": self.filters,
            "exceptionOptions": self.options,
            "stepIntoFramework": self.step_into_libraries,
        }


def of_frame(engine: Engine, arguments: Arguments) -> Stop:
    """The stop of `frameId`."""
    return engine.core.stop_of_frame(int(arguments["frameId"]))


def of_handle(engine: Engine, arguments: Arguments) -> Stop:
    """The stop of `variablesReference`."""
    return engine.core.stop_of_handle(int(arguments["variablesReference"]))


def of_thread(engine: Engine, arguments: Arguments) -> Stop:
    """The stop of `threadId`."""
    return engine.core.stop_of_thread(int(arguments["threadId"]))


def extra_names(stop: Stop) -> dict[str, Any] | None:
    """Names that expressions may use beside the frame's own."""
    return {"__exception__": stop.exception} if stop.exception is not None else None
