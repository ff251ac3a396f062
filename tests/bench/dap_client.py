"""A small DAP client for measuring: it blocks in one read, and keeps what it did not wait for.

It notes when a request's first byte went out and when a message's last byte had come, so that what it does with messages itself, such
as parsing them, is no part of what is measured.
"""

import collections
import contextlib
import json
import socket
import subprocess
import time


class Refused(Exception):
    """The adapter answered a request with an error."""


class DapClient:
    """One connection to an adapter, over a socket or a child's pipes."""

    def __init__(self, reader, writer, child=None):
        self.reader = reader
        self.writer = writer
        self.child = child
        self.seq = 0
        self.waiting = collections.deque()
        self.sent_at = self.received_at = 0.0

    @classmethod
    def connect(cls, address):
        host, port = address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(60)
        return cls(connection.makefile("rb"), connection.makefile("wb", buffering=0))

    @classmethod
    def start(cls, command):
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return cls(child.stdout, child.stdin, child)

    def send(self, command, arguments=None):
        self.seq += 1
        message = {"seq": self.seq, "type": "request", "command": command, "arguments": arguments or {}}
        body = json.dumps(message).encode()
        framed = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        self.sent_at = time.perf_counter()
        self.writer.write(framed)
        self.writer.flush()
        return self.seq

    def request(self, command, arguments=None):
        return self.answer(self.send(command, arguments))

    def answer(self, seq):
        response = self.find(
            lambda message: message.get("request_seq") == seq and message["type"] == "response"
        )
        if not response["success"]:
            raise Refused(f"{response['command']}: {response.get('message')} {response.get('body')}")
        return response.get("body", {})

    def event(self, name):
        return self.find(lambda message: message.get("event") == name).get("body", {})

    def find(self, wanted):
        """The first message that is wanted; `received_at` says when it had come."""
        for index, (came, message) in enumerate(self.waiting):
            if wanted(message):
                del self.waiting[index]
                self.received_at = came
                return message
        while True:
            message = self.read()
            if wanted(message):
                return message
            self.waiting.append((self.received_at, message))

    def read(self):
        length = None
        while True:
            line = self.reader.readline()
            if not line:
                raise ConnectionError("the adapter ended the connection")
            if line == b"\r\n":
                break
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        text = self.reader.read(length)
        self.received_at = time.perf_counter()
        return json.loads(text)

    def elapsed_ms(self):
        """From the last request to the message that was found last."""
        return (self.received_at - self.sent_at) * 1000

    def close(self):
        # The measuring is over, and some adapters end before they answer.
        with contextlib.suppress(ConnectionError, Refused, OSError):
            self.request("disconnect", {"terminateDebuggee": True})
        if self.child:
            self.child.kill()
            self.child.wait()
