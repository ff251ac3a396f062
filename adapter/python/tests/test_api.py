"""The debugger from within a program that was started without it."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest

from .client import PROGRAMS, ROOT, SECONDS_MAX, Program, line_of

FILE = PROGRAMS / "listens.py"


class Within(Program):
    """A program that calls `listen()` itself, and says where on its first line."""

    def __init__(self, how: str) -> None:
        self.path = FILE
        self.started, self.hold = True, None
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(FILE), how],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        host, port = self.process.stdout.readline().split()
        self.address = host, int(port)
        super(Program, self).__init__(self._write)

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()


class ApiTest(unittest.TestCase):
    def program(self, how: str) -> Within:
        program = Within(how)
        self.addCleanup(program.process.wait, SECONDS_MAX)
        for stream in (program.process.stdin, program.process.stdout, program.process.stderr):
            assert stream is not None
            self.addCleanup(stream.close)
        self.addCleanup(program.process.kill)
        self.addCleanup(lambda: program.socket.close())
        return program

    def test_a_program_waits_for_its_client_and_stops(self) -> None:
        program = self.program("waits")
        self.assertEqual(program.says(), "again: RuntimeError: This process is a debug target already")
        self.assertEqual(program.says(), "passed without a client")
        program.connect()
        program.set_lines(FILE, line_of("listens.py", "in work"))
        program.go()
        stop = program.stopped()
        self.assertEqual((stop["reason"], stop["top"]["name"]), ("breakpoint", "work"))
        self.assertEqual(program.evaluate(stop["threadId"], "1 + 1")["result"], "2")
        program.resume(stop["threadId"])
        stop = program.stopped()
        self.assertEqual(stop["top"]["line"], line_of("listens.py", "stops here"))
        program.request("setExceptionBreakpoints", filters=["uncaught"])
        for _ in range(2):
            program.resume(stop["threadId"])
            stop = program.stopped()
            self.assertEqual((stop["reason"], stop["text"]), ("exception", "ValueError: said"))
            frames = [(frame["name"], frame["line"]) for frame in program.stack(stop["threadId"])]
            self.assertEqual(frames[0], ("fails", line_of("listens.py", "raises")))
            self.assertEqual([name for name, _ in frames], ["fails", "<module>"])
            # The second is shown whatever the client has asked for.
            program.request("setExceptionBreakpoints", filters=[])
        program.resume(stop["threadId"])
        program.event("terminated")
        self.assertFalse(program.has_event("exited"), "the program alone knows what it ends with")
        self.assertEqual(program.process.wait(SECONDS_MAX), 3)

    def test_clients_come_and_go_while_it_runs(self) -> None:
        program = self.program("runs")
        for _ in range(2):
            program.connect()
            program.set_lines(FILE, line_of("listens.py", "in turn"))
            program.request("configurationDone")
            stop = program.stopped()
            self.assertEqual(
                program.evaluate(stop["threadId"], "manta.is_client_connected()")["result"], "True"
            )
            program.request("disconnect")
            program.socket.close()
        program.tell("end")
        self.assertEqual(program.process.wait(SECONDS_MAX), 0)

    def test_a_thread_that_began_before_asks_for_it(self) -> None:
        program = self.program("threads")
        program.connect()
        program.set_lines(FILE, line_of("listens.py", "in thread"))
        program.request("configurationDone")
        program.tell("go")
        stop = program.stopped()
        self.assertEqual(stop["top"]["name"], "done")
        program.resume(stop["threadId"])
        program.event("terminated")


if __name__ == "__main__":
    unittest.main()
