"""A DAP client for random runs: it keeps what comes, waits with a deadline, and takes every refusal as an answer."""

import collections
import contextlib
import json
import os
import queue
import socket
import subprocess
import threading
import time

SECONDS_MAX = float(os.environ.get("MANTA_TEST_SECONDS", "60"))
MESSAGES_KEPT = 60


class Wrong(Exception):
    """What may never happen, whatever the client does."""


class Refused(Exception):
    """A request was answered with a sentence."""


class Gone(Exception):
    """The other end has closed the connection."""


class Client:
    """One connection to a debug adapter."""

    def __init__(self, reader, writer, close):
        self._reader = reader
        self._writer = writer
        self._close = close
        self._incoming = queue.SimpleQueue()
        self._sequence = 0
        self.log = collections.deque(maxlen=MESSAGES_KEPT)
        self.events = collections.deque()
        # Answers to requests that nobody has waited for yet.
        self._answers = {}
        threading.Thread(target=self._read, daemon=True).start()

    @classmethod
    def connect(cls, address, until=None):
        """Connects, and tries again until somebody listens."""
        until = until or time.monotonic() + SECONDS_MAX
        while True:
            try:
                connection = socket.create_connection(address, timeout=SECONDS_MAX)
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise Wrong(f"nobody listens at {address}: {error}") from error
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def close():
            with contextlib.suppress(OSError):  # The other end was faster.
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

        return cls(connection.makefile("rb"), connection.makefile("wb", buffering=0), close)

    @classmethod
    def of_child(cls, child: subprocess.Popen):
        """Speaks with a child over its pipes."""
        return cls(child.stdout, child.stdin, child.stdin.close)

    def _read(self):
        try:
            while True:
                length = None
                while (line := self._reader.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                if length is None:
                    break
                self._incoming.put(json.loads(self._reader.read(length)))
        except (OSError, ValueError) as error:
            self.log.append(f"the connection broke: {error}")
        self._incoming.put(None)

    def send(self, command, arguments=None):
        """Sends a request and does not wait."""
        self._sequence += 1
        message = {"seq": self._sequence, "type": "request", "command": command, "arguments": arguments or {}}
        self.log.append("> " + json.dumps(message)[:300])
        body = json.dumps(message).encode()
        try:
            self._writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            self._writer.flush()
        except (OSError, ValueError) as error:
            raise Gone(f"{command} could not be sent: {error}") from error
        return self._sequence

    def _next(self, until):
        try:
            message = self._incoming.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None
        if message is None:
            self._incoming.put(None)
            raise Gone("the adapter closed the connection")
        self.log.append("< " + json.dumps(message)[:300])
        return message

    def request(self, command, arguments=None):
        """Sends a request and gives the body of its answer."""
        return self.answer(self.send(command, arguments), command)

    def answer(self, sequence, command):
        """Waits for the answer to a request that was sent."""
        until = time.monotonic() + SECONDS_MAX
        while sequence not in self._answers:
            if not self._keep(self._next(until)):
                raise Wrong(f"{command} was not answered")
        message = self._answers.pop(sequence)
        if message["success"]:
            return message.get("body", {})
        if not message.get("message"):
            raise Wrong(f"{command} was refused without a sentence: {message}")
        raise Refused(message["message"])

    def _keep(self, message):
        if message is None:
            return False
        if message["type"] == "response":
            self._answers[message["request_seq"]] = message
        else:
            self.events.append(message)
        return True

    def take_events(self, seconds=0.0):
        """The events that have come, or come within a moment: stops at the first one that does."""
        until = time.monotonic() + seconds
        while self._keep(self._next(until if not self.events else 0.0)):
            pass
        taken, self.events = self.events, collections.deque()
        return taken

    def event(self, name):
        """Waits for an event."""
        until = time.monotonic() + SECONDS_MAX
        while True:
            for message in list(self.events):
                if message["event"] == name:
                    self.events.remove(message)
                    return message.get("body", {})
            if not self._keep(self._next(until)):
                raise Wrong(f"the event {name} did not come")

    def close(self):
        """Is gone, without a goodbye."""
        self._close()
