"""The engine as a target: takes DAP messages, gives DAP messages. It knows no transport.

Requests about a stopped thread's frames run on that thread; all others on the thread that calls `handle`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import requests, unpatched
from .core import Core
from .errors import RequestError, text_of
from .paths import PathMap
from .stops import Stop
from .values.render import integers_as, limited_time

Message = dict[str, Any]


# The protocol's own word for the answer of a request that was given up.
_CANCELLED = "cancelled"


def _no_task(ident: int) -> None:
    return None


@dataclass(slots=True)
class _Handed:
    """A request that waits for its stopped thread, or runs there."""

    message: Message
    stop: Stop
    is_running: bool = False
    is_cancelled: bool = False


class Engine:
    """One process as a debug target."""

    def __init__(
        self,
        send: Callable[[Message], None],
        current_task: Callable[[int], dict[str, Any] | None] = _no_task,
        *,
        cluster: bool = True,
        host: requests.Host | None = None,
    ) -> None:
        self._send = send
        # A signal's handler may print while its thread is just sending.
        self._send_lock = unpatched.RLock()
        self._sequence = itertools.count(1)
        self._is_lost = False
        self._handed: dict[int, _Handed] = {}
        self.host = host if host is not None else requests.Host()
        self.core = Core(self.send_event, current_task, cluster=cluster)
        self.core.tell_look = self._tell_look
        self.core.tell_gone = self._refuse_rest
        self._asked: dict[int, Callable[[Message], None]] = {}
        #: What the client has said of itself.
        self.client: Message = {}
        self.paths = PathMap()
        self.client_sets = requests.ClientSets()
        self.goto_targets: dict[int, requests.GotoTarget] = {}
        self.lines_start_at_1 = True
        self.columns_start_at_1 = True

    def send_event(self, event: str, body: dict[str, Any] | None = None) -> None:
        """Tells the client that something happened."""
        message: Message = {"type": "event", "event": event}
        if body is not None:
            message["body"] = body
        self._write(message)

    def ask(self, command: str, arguments: Message, then: Callable[[Message], None]) -> None:
        """Sends a request to the client; `then` gets the response, on the thread that calls `handle`."""
        self._write({"type": "request", "command": command, "arguments": arguments}, then)

    def forward(self, request: Message, answer: Message) -> None:
        """Answers a request of the client's with what another process has answered."""
        kept: Message = {name: answer[name] for name in ("body", "message") if name in answer}
        self._write({**_response(request, success=answer.get("success") is True), **kept})

    def handle(self, message: Message) -> None:
        """Serves one message of the client. Never raises: the thread that reads the messages must outlive each of them."""
        self.core.threads.current().reads_messages = True
        if isinstance(message, dict) and message.get("type") == "response":
            self._take_response(message)
            return
        if not isinstance(message, dict) or message.get("type") != "request":
            return
        command = message.get("command")
        arguments = message.get("arguments") or {}
        try:
            request = requests.find(command)
            if not isinstance(arguments, dict):
                raise RequestError("The request's arguments are not an object.")
            if isinstance(request, requests.OnStop):
                if request.without is None or arguments.get("frameId") is not None:
                    self._hand_over(message, request, arguments)
                    return
                reply = request.without(self, arguments)
            else:
                reply = request.run(self, arguments)
        except Exception as error:
            self.refuse(message, error)
            return
        self._respond(message, reply.body)
        try:
            if reply.then is not None:
                reply.then()
        except Exception as error:
            # The answer is sent, so this can no longer be a refusal.
            text = f"What follows the request '{command}' failed in the debug engine: {text_of(error)}.\n"
            self.send_event("output", {"category": "important", "output": text})

    def _take_response(self, response: Message) -> None:
        answered = response.get("request_seq")
        then = self._asked.pop(answered, None) if isinstance(answered, int) else None
        if then is not None:
            try:
                then(response)
            except Exception as error:
                self.core.report(error)

    def on_task_start(self) -> None:
        """To be called by a worker's thread before it runs a task."""
        self.core.tracer.on_task_start()

    def close(self) -> None:
        """The client is gone: removes everything and resumes every thread."""
        self.core.release("")

    def cancel(self, sequence: int) -> None:
        """Gives up a request that waits for a stopped thread, or ends what it evaluates there."""
        with self.core.lock:
            handed = self._handed.get(sequence)
            if handed is None:
                return  # Answered already, which is no error.
            handed.is_cancelled = True
            if handed.is_running:
                handed.stop.is_cancelled = True
                handed.stop.interrupt()

    def _hand_over(self, message: Message, request: requests.OnStop, arguments: dict[str, Any]) -> None:
        with self.core.lock:
            stop = request.stop(self, arguments)
            handed = self._handed[int(message.get("seq", 0))] = _Handed(message, stop)
            stop.inbox.put(lambda: self._serve_on_stop(handed, request, arguments))

    def _serve_on_stop(self, handed: _Handed, request: requests.OnStop, arguments: dict[str, Any]) -> None:
        message, stop = handed.message, handed.stop
        with self.core.lock:
            handed.is_running = True
            stop.is_cancelled = handed.is_cancelled
        try:
            if handed.is_cancelled:
                raise RequestError(_CANCELLED)
            with integers_as(arguments.get("format")), limited_time():
                answer = request.run(self, stop, arguments)
            reply = answer if isinstance(answer, requests.Reply) else requests.Reply(answer)
        except BaseException as error:
            # Also what an expression raises to end a program, as `exit()` does: this is the program's own thread.
            self.refuse(message, RequestError(_CANCELLED) if handed.is_cancelled else error)
        else:
            self._respond(message, reply.body)
            if reply.then is not None:
                reply.then()
        finally:
            with self.core.lock:
                sequence = int(message.get("seq", 0))
                if self._handed.get(sequence) is handed:
                    del self._handed[sequence]
                stop.is_cancelled = False

    def _refuse_rest(self, stop: Stop) -> None:
        """Answers what the stop has lost: an exception that came while the thread took a request, as Ctrl-C's, ends the stop."""
        with self.core.lock:
            lost = [sequence for sequence, handed in self._handed.items() if handed.stop is stop]
            requests_lost = [self._handed.pop(sequence).message for sequence in lost]
        for message in requests_lost:
            self.refuse(message, RequestError("The thread has gone on, by an exception from outside."))

    def _tell_look(self, stop: Stop, wanted: dict[str, Any]) -> None:
        if stop.is_resuming:
            return  # The client has not waited for it.
        requests.let_pass()
        if self._look(stop, lambda: requests.stack_at(self, stop, wanted)).get("more"):
            requests.let_pass()
            self._look(stop, lambda: requests.variables_at(self, stop))

    def _look(self, stop: Stop, look: Callable[[], Message]) -> Message:
        body: Message = {"threadId": stop.thread.thread_id, "stop": stop.number}
        try:
            with integers_as(None), limited_time():
                body.update(look())
        except BaseException:
            # This is the program's own thread. Who asks for what could not be told gets the reason.
            body = {"threadId": stop.thread.thread_id, "stop": stop.number}
        self.send_event("mantaLook", body)
        return body

    def _respond(self, request: Message, body: dict[str, Any] | None) -> None:
        response = _response(request, success=True)
        if body is not None:
            response["body"] = body
        self._write(response)

    def refuse(self, request: Message, error: BaseException) -> None:
        """Answers a request with the reason why it cannot be done."""
        if isinstance(error, RequestError):
            text = str(error)
        elif isinstance(error, (KeyError, TypeError, ValueError)) and not isinstance(error, UnicodeError):
            text = f"The request '{request.get('command')}' could not be understood: {text_of(error)}."
        elif not isinstance(error, Exception):
            text = f"The expression raised {text_of(error)}, which the debugger keeps from the program."
        else:
            text = f"The request '{request.get('command')}' failed in the debug engine: {text_of(error)}."
        self._write(
            {
                **_response(request, success=False),
                "message": text,
                "body": {
                    "error": {"id": 1, "format": "{text}", "variables": {"text": text}, "showUser": False}
                },
            }
        )

    def _write(self, message: Message, then: Callable[[Message], None] | None = None) -> None:
        if self.core.is_abandoned:
            return  # This is a forked child: the connection is its parent's.
        # A thread of the program that prints comes here too. What is called below is library code, in which a pause would stop
        # the thread, and the lock with it.
        thread = self.core.threads.current()
        was_busy, thread.busy = thread.busy, True
        try:
            with self._send_lock:
                number = next(self._sequence)
                if then is not None:
                    self._asked[number] = then
                self._send({"seq": number, **message})
        except Exception as error:
            # This may be a thread of the program, which must not suffer. The reader of the transport ends the session.
            self._report_lost(error)
        finally:
            thread.busy = was_busy

    def _report_lost(self, error: Exception) -> None:
        if not self._is_lost and sys.__stderr__ is not None:
            self._is_lost = True
            sys.__stderr__.write(f"manta_debug: the debug session cannot be reached: {text_of(error)}\n")


def _response(request: Message, *, success: bool) -> Message:
    return {
        "type": "response",
        "request_seq": request.get("seq", 0),
        "success": success,
        "command": str(request.get("command")),
    }
