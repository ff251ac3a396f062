"""A small DAP client for measuring: it blocks in one read, and keeps what it did not wait for."""

import collections
import json
import socket
import subprocess


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

    @classmethod
    def connect(cls, address):
        host, port = address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(60)
        return cls(connection.makefile("rb"), connection.makefile("wb", buffering=0))

    @classmethod
    def start(cls, command):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return cls(child.stdout, child.stdin, child)

    def send(self, command, arguments=None):
        self.seq += 1
        message = {"seq": self.seq, "type": "request", "command": command, "arguments": arguments or {}}
        body = json.dumps(message).encode()
        self.writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.writer.flush()
        return self.seq

    def request(self, command, arguments=None):
        return self.answer(self.send(command, arguments))

    def answer(self, seq):
        response = self.find(lambda message: message.get("request_seq") == seq and message["type"] == "response")
        if not response["success"]:
            raise Refused(f"{response['command']}: {response.get('message')} {response.get('body')}")
        return response.get("body", {})

    def event(self, name):
        return self.find(lambda message: message.get("event") == name).get("body", {})

    def find(self, wanted):
        for index, message in enumerate(self.waiting):
            if wanted(message):
                del self.waiting[index]
                return message
        while True:
            message = self.read()
            if wanted(message):
                return message
            self.waiting.append(message)

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
        return json.loads(self.reader.read(length))

    def close(self):
        try:
            self.request("disconnect", {"terminateDebuggee": True})
        except (ConnectionError, Refused, OSError):
            # The measuring is over, and some adapters end before they answer.
            pass
        if self.child:
            self.child.kill()
            self.child.wait()
