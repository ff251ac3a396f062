"""Forked children get sessions of their own, where the client can open some."""

from __future__ import annotations

import socket
import threading
import unittest
from typing import Any

from .client import PROGRAMS, SECONDS_MAX, Client, Program, debugged, line_of

from manta_debug.framing import read_message, write_message  # isort: skip

FORKS = PROGRAMS / "forks.py"


class Child(Client):
    """The conversation with a child, at the place that its parent has told."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        place = configuration["connect"]
        self.socket = socket.create_connection((place["host"], place["port"]), timeout=SECONDS_MAX)
        super().__init__(lambda message: self.socket.sendall(write_message(message)))
        threading.Thread(target=self._read, daemon=True).start()
        self.request("initialize", adapterID="manta", supportsStartDebuggingRequest=True)
        self.event("initialized")
        self.request("attach", **configuration)

    def _read(self) -> None:
        with self.socket.makefile("rb") as stream:
            while (message := read_message(stream)) is not None:
                self.receive(message)


class ChildrenTest(unittest.TestCase):
    def start(self, program: Program) -> None:
        program.request("initialize", adapterID="manta", supportsStartDebuggingRequest=True)
        program.go()

    def answer(self, program: Program, asked: dict[str, Any], success: bool) -> None:
        response = {
            "type": "response",
            "seq": 1_000,
            "request_seq": asked["seq"],
            "command": asked["command"],
        }
        program.socket.sendall(write_message({**response, "success": success}))

    def test_a_child_stops_in_a_session_of_its_own(self) -> None:
        with debugged("forks.py", attach={"marked": 1}) as program:
            self.start(program)
            for code in (0, 4):
                asked = program.reverse_request("startDebugging")
                self.assertEqual(asked["arguments"]["request"], "attach")
                configuration = asked["arguments"]["configuration"]
                self.assertEqual(configuration["marked"], 1)
                self.answer(program, asked, True)
                child = Child(configuration)
                self.addCleanup(child.socket.close)
                child.set_lines(FORKS, line_of("forks.py", "in child"))
                child.request("configurationDone")
                stop = child.stopped()
                self.assertEqual(stop["top"]["name"], "work")
                self.assertNotEqual(child.event("process")["systemProcessId"], program.process.pid)
                child.request("continue", threadId=stop["threadId"])
                program.event("output", lambda body, code=code: body["output"].endswith(f" {code}\n"))
                child.event("output", lambda body: body["output"].startswith("child"))
            self.assertEqual(program.ended(), 0)

    def test_a_child_that_the_client_does_not_want_runs_on(self) -> None:
        with debugged("forks.py") as program:
            self.start(program)
            for _ in range(2):
                self.answer(program, program.reverse_request("startDebugging"), False)
            self.assertEqual(program.ended(), 0)
        for attach, can in (({"subProcess": False}, True), ({}, False)):
            with self.subTest(can=can), debugged("forks.py", attach=attach) as program:
                program.request("initialize", adapterID="manta", supportsStartDebuggingRequest=can)
                program.go()
                self.assertEqual(program.ended(), 0)
                self.assertFalse([m for m in program.all if m["type"] == "request"])


if __name__ == "__main__":
    unittest.main()
