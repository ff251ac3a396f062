"""A program and its children in one session: which process a request is about, and what all of them are told.

The program's own ids stay as they are; those of its children get numbers above all of them.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from .. import limits, unpatched
from ..errors import RequestError
from .gate import Gate
from .link import FIRST_ID, Answered, Link, Message

if TYPE_CHECKING:
    from ..engine import Engine

_ANSWER_SECONDS_MAX = 2.0
_NAMES = ("threadId", "frameId", "variablesReference")
_GONE = "This belongs to a child process that has ended, or whose thread has gone on since."


class Family:
    """The children that have joined a program's session. Its client's requests pass here first."""

    def __init__(self) -> None:
        self._gate: Gate | None = None
        self._lock = unpatched.RLock()
        self._ids = itertools.count(FIRST_ID)
        self._links: list[Link] = []
        self._engine: Engine | None = None
        self._arguments: Message = {}
        #: Each id of a child's that the client knows: whose it is, and what it is there.
        self._places: dict[int, tuple[Link, int]] = {}

    @property
    def place(self) -> str | None:
        """Where children join; nothing while the client wants none."""
        return self._gate.place if self._gate is not None else None

    def begin(self, engine: Engine, arguments: Message) -> None:
        """A client has come, with these arguments; unless it wants none, the children that are started from now on join it."""
        self._engine, self._arguments = engine, {**arguments, "stopOnEntry": False}
        if arguments.get("subProcess", True) is not False and self._gate is None:
            self._gate = Gate(self._join)

    def abandon(self) -> None:
        """In a forked child: its parent's family is not its own."""
        if self._gate is not None:
            self._gate.abandon()
        for link in self._links:
            link.abandon()

    def release(self) -> None:
        """The client is gone: the children run on by themselves."""
        with self._lock:
            gate, self._gate, self._engine = self._gate, None, None
            links = list(self._links)
        if gate is not None:
            gate.close()
        for link in links:
            link.close()

    def end(self, *, at_once: bool) -> None:
        """The program is to end, and its children with it."""
        for link in list(self._links):
            if at_once:
                link.ask("disconnect", {"terminateDebuggee": True})
            else:
                link.ask("terminate", {})

    def configure(self, sets: Message) -> list[Message]:
        """Puts a whole set of breakpoints in force in every child, and answers their states there."""
        answers = self._ask_all(lambda link, then: link.configure(sets, then))
        return [state for body in answers for state in body.get("breakpoints", ())]

    def threads(self) -> list[Message]:
        """The threads of all children."""
        return [
            thread
            for body in self._ask_all(lambda link, then: link.ask("threads", {}, then))
            for thread in body.get("threads", ())
        ]

    def can_go_to(self, arguments: Message) -> bool:
        """Whether a child has a target for `goto` there."""
        answers = self._ask_all(lambda link, then: link.ask("gotoTargets", arguments, then))
        return any(body.get("targets") for body in answers)

    def takes(self, engine: Engine, message: Message) -> bool:
        """Passes a message of the client's on to the child that it is about; answers whether it was about one."""
        try:
            return self._takes(engine, message)
        except Exception as error:
            engine.refuse(message, error)
            return True

    def _takes(self, engine: Engine, message: Message) -> bool:
        arguments = message.get("arguments")
        if not self._links or message.get("type") != "request" or not isinstance(arguments, dict):
            return self._is_stale(engine, message)
        if message.get("command") == "cancel":
            return any(link.cancel(arguments.get("requestId")) for link in self._links) and _answer(
                engine, message
            )
        with self._lock:
            found = [self._places.get(number) for number in _foreign(arguments)]
        if not found:
            return False
        if found[0] is None:
            engine.refuse(message, RequestError(_GONE))
            return True
        link = found[0][0]
        if message.get("command") == "goto" and self._goto(engine, link, message, arguments):
            return True
        link.forward(message, self.at_child(link, arguments), lambda answer: engine.forward(message, answer))
        return True

    def at_child(self, link: Link, arguments: Message) -> Message:
        """The arguments of a request with the child's own ids."""
        with self._lock:
            own = {
                name: self._places[value][1]
                for name, value in arguments.items()
                if _is_foreign(value) and self._places.get(value, (None, 0))[0] is link
            }
        return {**arguments, **own}

    def number(self, link: Link, local: int) -> int:
        """The client's number for an id of a child's."""
        with self._lock:
            number = next(self._ids)
            self._places[number] = (link, local)
        return number

    def forget(self, numbers: list[int]) -> None:
        """These ids are no longer there."""
        with self._lock:
            for number in numbers:
                self._places.pop(number, None)

    def tell(self, event: str, body: Message) -> None:
        """Tells the client something of a child's."""
        engine = self._engine
        if engine is not None:
            engine.send_event(event, body)

    def _is_stale(self, engine: Engine, message: Message) -> bool:
        arguments = message.get("arguments")
        if message.get("type") != "request" or not isinstance(arguments, dict) or not _foreign(arguments):
            return False
        engine.refuse(message, RequestError(_GONE))
        return True

    def _goto(self, engine: Engine, link: Link, message: Message, arguments: Message) -> bool:
        """The targets of `gotoTargets` are the program's own, as that request names no thread: the child is asked for its own."""
        target = engine.goto_targets.get(int(arguments.get("targetId") or 0))
        if target is None:
            return False
        source = {"path": target.filename}
        line = target.line - (0 if engine.lines_start_at_1 else 1)

        def go(answer: Message) -> None:
            targets = (answer.get("body") or {}).get("targets") or [{"id": 0}]
            own = self.at_child(link, {**arguments, "targetId": targets[0]["id"]})
            link.forward(message, own, lambda last: engine.forward(message, last))

        link.ask("gotoTargets", {"source": source, "paths": [target.filename], "line": line}, go)
        return True

    def _join(self, connection: socket.socket, stream: BinaryIO, hello: Message) -> None:
        with self._lock:
            engine = self._engine
            if engine is None:
                return
            if len(self._links) >= limits.CHILDREN_MAX:
                text = f"No more than {limits.CHILDREN_MAX} child processes are debugged: {hello.get('processId')} is not.\n"
                engine.send_event("output", {"category": "important", "output": text})
                return
            link = Link(self, connection, int(hello.get("processId") or 0))
            self._links.append(link)
        try:
            link.begin(engine, self._arguments)
            link.read(stream)
        finally:
            with self._lock:
                self._links.remove(link)
            link.end()

    def _ask_all(self, ask: Callable[[Link, Answered], object]) -> list[Message]:
        """The answers of all children that answer in time."""
        links = list(self._links)
        if not links:
            return []
        answered = unpatched.Semaphore(0)
        bodies: list[Message] = []

        def take(answer: Message) -> None:
            if answer.get("success"):
                bodies.append(answer.get("body") or {})
            answered.release()

        for link in links:
            ask(link, take)
        deadline = time.monotonic() + _ANSWER_SECONDS_MAX
        for _ in links:
            if not answered.acquire(max(0.0, deadline - time.monotonic())):
                break
        return list(bodies)


def _foreign(arguments: Message) -> list[int]:
    return [arguments[name] for name in _NAMES if _is_foreign(arguments.get(name))]


def _is_foreign(value: object) -> bool:
    return isinstance(value, int) and value >= FIRST_ID


def _answer(engine: Engine, message: Message) -> bool:
    engine.forward(message, {"success": True})
    return True
