"""One child in its parent's session: the conversation with its engine, and the client's numbers for its ids."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from .. import unpatched
from ..framing import FramingError, read_message, write_message

if TYPE_CHECKING:
    from ..engine import Engine
    from .family import Family

Message = dict[str, Any]
Answered = Callable[[Message], None]

#: Ids from here on are those of children. The program's own count up from 1.
FIRST_ID: Final = 1 << 30

_SEND_SECONDS_MAX = 5

_RESUMES = frozenset({"continue", "next", "stepIn", "stepOut", "goto", "restartFrame"})
# The lists in answers whose entries have an id.
_LISTS = {"threads": "thread", "stackFrames": "frame", "targets": "target"}
_FIELDS = {"threadId": "thread", "variablesReference": "variable"}


class Link:
    """A connection to a child's engine, for which this is the client."""

    def __init__(self, family: Family, connection: socket.socket, process: int) -> None:
        self.process = process
        self._family = family
        self._connection = connection
        if sys.platform == "linux":
            # A child that was stopped by a signal must not hold the session up.
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS_MAX, 0)
            )
        self._lock = unpatched.Lock()
        self._configuring = unpatched.Lock()
        self._generation = 0
        self._sequence = itertools.count(1)
        self._asked: dict[int, Answered] = {}
        #: The requests of the client's that wait here for their answer, by the client's numbers.
        self._forwarded: dict[int, int] = {}
        self._numbers: dict[tuple[str, int], int] = {}
        self._stopped: set[int] = set()
        self._is_gone = False

    def begin(self, engine: Engine, arguments: Message) -> None:
        """Tells the child what the client wants, and lets it run."""
        self.ask("initialize", engine.client)
        self.ask("attach", arguments)
        self.configure(engine.client_sets.arguments())
        self.ask("configurationDone", {})
        self.ask("threads", {}, self._tell_started)

    def configure(self, sets: Message, then: Answered | None = None) -> None:
        """Puts a set of breakpoints in force, if the child has none that is newer."""
        with self._configuring:
            is_newer = sets["generation"] > self._generation
            if is_newer:
                self._generation = sets["generation"]
                self.ask("mantaConfigure", sets, then)
        if not is_newer and then is not None:
            then({"success": True})

    def ask(
        self, command: str, arguments: Message, then: Answered | None = None, asked: int | None = None
    ) -> None:
        """Sends a request, for the client's one of the number `asked` if so; `then` gets the answer, also when the child has ended."""
        with self._lock:
            number = next(self._sequence)
            if asked is not None:
                self._forwarded[asked] = number
            if then is not None:
                self._asked[number] = then
            is_gone = self._is_gone
            if not is_gone:
                request = {"seq": number, "type": "request", "command": command, "arguments": arguments}
                try:
                    self._connection.sendall(write_message(request))
                except OSError:
                    self.close()  # It is gone, or does not read: the reader notices, and answers for it.
        if is_gone:
            self._refuse_all()

    def forward(self, message: Message, arguments: Message, then: Answered) -> None:
        """Passes a request of the client's on; `then` gets the answer, in the client's numbers."""
        asked = int(message.get("seq") or 0)
        command = str(message.get("command"))
        thread = arguments.get("threadId")

        def take(answer: Message) -> None:
            self._forwarded.pop(asked, None)
            if command in _RESUMES and answer.get("success") and isinstance(thread, int):
                self._resumed(thread)
            then(answer)

        self.ask(command, arguments, take, asked)

    def cancel(self, asked: Any) -> bool:
        """Gives up a request of the client's, if it waits here."""
        number = self._forwarded.get(asked)
        if number is None:
            return False
        self.ask("cancel", {"requestId": number})
        return True

    def read(self, stream: BinaryIO) -> None:
        """Takes what the child says, until it ends."""
        while (message := self._next(stream)) is not None:
            if message.get("type") == "response":
                then = self._asked.pop(int(message.get("request_seq") or 0), None)
                if then is not None:
                    body = message.get("body")
                    then({**message, "body": self._at_client(body)} if body is not None else message)
            elif message.get("type") == "event":
                self._take_event(str(message.get("event")), message.get("body") or {})

    def _next(self, stream: BinaryIO) -> Message | None:
        """The child's next message; nothing at its end, however that came."""
        try:
            return read_message(stream)
        except OSError:
            return None  # It was killed, and its threads leave the client's list.
        except FramingError as error:
            text = f"The debug engine of the child process {self.process} cannot be understood, so it is left alone: {error}\n"
            self._family.tell("output", {"category": "important", "output": text})
            return None

    def end(self) -> None:
        """The child is gone: what waits for it is refused, and its threads leave the client's list."""
        with self._lock:
            self._is_gone = True
        self._refuse_all()
        threads = [number for (kind, _), number in self._numbers.items() if kind == "thread"]
        self._family.forget(list(self._numbers.values()))
        for number in threads:
            self._family.tell("thread", {"reason": "exited", "threadId": number})

    def close(self) -> None:
        """The child runs on by itself."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """In a forked child: gives its share of the connection up."""
        self._connection.close()

    def _refuse_all(self) -> None:
        with self._lock:
            left = [self._asked.pop(number) for number in list(self._asked)]
        for then in left:
            then({"success": False, "message": f"The child process {self.process} has ended."})

    def _tell_started(self, answer: Message) -> None:
        for thread in (answer.get("body") or {}).get("threads", ()):
            self._family.tell("thread", {"reason": "started", "threadId": thread["id"]})

    def _take_event(self, event: str, body: Message) -> None:
        thread = body.get("threadId")
        if event == "stopped" and isinstance(thread, int):
            self._stopped.add(thread)
        elif event == "continued" and isinstance(thread, int):
            self._resumed(thread)
        elif event == "breakpoint":
            # Where the program itself has not bound it, the child's place is the one to show; what it lacks says nothing.
            if not body.get("breakpoint", {}).get("verified"):
                return
        elif event != "output":
            return
        self._family.tell(event, self._at_client(body))

    def _resumed(self, thread: int) -> None:
        """Frames and variables of a thread die when it goes on; they are forgotten when none is left that is stopped."""
        self._stopped.discard(thread)
        if self._stopped:
            return
        stale = [key for key in self._numbers if key[0] != "thread"]
        self._family.forget([self._numbers.pop(key) for key in stale])

    def _number(self, kind: str, local: Any) -> Any:
        if not isinstance(local, int) or local == 0:
            return local
        number = self._numbers.get((kind, local))
        if number is None:
            number = self._numbers[kind, local] = self._family.number(self, local)
        return number

    def _at_client(self, value: Any) -> Any:
        """A body with the client's numbers in place of the child's ids."""
        if isinstance(value, list):
            return [self._at_client(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        made = {}
        for name, entry in value.items():
            if name in _FIELDS:
                made[name] = self._number(_FIELDS[name], entry)
            elif name in _LISTS and isinstance(entry, list):
                kind = _LISTS[name]
                made[name] = [
                    {**self._at_client(each), "id": self._number(kind, each.get("id"))} for each in entry
                ]
            else:
                made[name] = self._at_client(entry)
        return made
