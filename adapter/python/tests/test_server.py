"""The engine alone, and clients of every kind: late, two at once, silent, rude; and how a program begins and ends with them."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import tempfile
import threading
import unittest
from pathlib import Path

from .client import PROGRAMS, SECONDS_MAX, Program, debugged, line_of

from manta_debug.framing import read_message, write_message  # isort: skip

ENDS = PROGRAMS / "ends.py"


def output_of(program: Program, category: str) -> str:
    events = [m["body"] for m in program.all if m.get("event") == "output"]
    return "".join(body["output"] for body in events if body.get("category") == category)


class ServerTest(unittest.TestCase):
    def connect(self, program: Program) -> socket.socket:
        other = socket.create_connection(program.address, timeout=SECONDS_MAX)
        self.addCleanup(other.close)
        return other

    def test_a_second_client_is_told_that_there_is_one_and_is_served_when_it_has_left(self) -> None:
        with debugged("ends.py", "waits") as program:
            program.set_lines(ENDS, line_of("ends.py", "stop here"))
            program.request("configurationDone")
            program.stopped()
            ask = write_message({"seq": 1, "type": "request", "command": "initialize", "arguments": {}})
            second = self.connect(program)
            second.sendall(ask)
            answer = read_message(second.makefile("rb"))
            assert answer is not None
            self.assertEqual((answer["request_seq"], answer["success"]), (1, False))
            self.assertIn("Another client debugs this process", answer["message"])
            third = self.connect(program)
            third.sendall(ask)
            program.request("disconnect", terminateDebuggee=False)
            answer = read_message(third.makefile("rb"))
            assert answer is not None
            self.assertTrue(answer["success"])

    def test_a_thread_that_gets_the_number_of_one_of_the_engines_stops(self) -> None:
        with debugged("threads.py") as program:
            # Two threads serve these clients and end; the system gives their numbers to the next threads.
            second = self.connect(program)
            program.hang_up()
            second.sendall(write_message({"seq": 1, "type": "request", "command": "initialize"}))
            self.assertIsNotNone(read_message(second.makefile("rb")))
            second.shutdown(socket.SHUT_RDWR)
            program.connect()
            program.set_lines(PROGRAMS / "threads.py", line_of("threads.py", "in work"))
            program.go()
            self.assertEqual(len({program.stopped()["threadId"] for _ in range(3)}), 3)
            names = {t["name"] for t in program.request("threads")["threads"]}
            self.assertLessEqual({"MainThread", "worker-a", "worker-b", "worker-c", "spinner"}, names)

    def test_what_is_no_dap_harms_nobody(self) -> None:
        with debugged("ends.py", "waits") as program:
            program.request("disconnect", terminateDebuggee=False)
            deep = b"[" * 200_000
            for rubbish in (
                b"GET / HTTP/1.1\r\nOrigin: http://example.org\r\n\r\n",
                b"Content-Length: 5\r\n\r\nhello",
                b"Content-Length: %d\r\n\r\n%s" % (len(deep), deep),
                b"Content-Length: 99999999999\r\n\r\n",
                b"\x00" * 20_000,
            ):
                other = self.connect(program)
                with contextlib.suppress(ConnectionError):
                    other.sendall(rubbish)
                    self.assertEqual(other.recv(1_000), b"")
            other = self.connect(program)
            other.sendall(write_message({"seq": 1, "type": "request", "command": ["x"], "arguments": 3}))
            answer = read_message(other.makefile("rb"))
            assert answer is not None
            self.assertFalse(answer["success"])

    def test_a_client_that_does_not_read_holds_nobody_up(self) -> None:
        program = Program("ends.py", "prints")
        try:
            go = threading.Event()
            program.hold = go
            program.start("configurationDone")
            assert program.process.stdout is not None and program.process.stderr is not None
            threading.Thread(target=program.process.stdout.read, daemon=True).start()
            said = program.process.stderr.readline()
            self.assertEqual(said.strip(), "printed")
            go.set()
            program.event("output", lambda body: "are not shown here" in body["output"])
            self.assertEqual(program.event("exited")["exitCode"], 3)
        finally:
            program.started = True
            program.close()

    def test_the_end_of_a_program_is_debugged_too(self) -> None:
        with debugged("ends.py") as program:
            program.set_lines(ENDS, line_of("ends.py", "at exit"))
            program.go()
            stop = program.stopped()
            self.assertEqual(stop["top"]["name"], "at_exit")
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 3)
            self.assertIn("öl\n", output_of(program, "stdout"))
            self.assertIn("left __main__ intact\n", output_of(program, "stdout"))

    def test_a_program_that_is_ended_at_a_breakpoint_runs_no_line_more(self) -> None:
        for command, arguments in (("terminate", {}), ("disconnect", {"terminateDebuggee": True})):
            with self.subTest(command), debugged("ends.py") as program:
                program.set_lines(ENDS, line_of("ends.py", "stop here"))
                program.go()
                program.stopped()
                program.request(command, **arguments)
                program.event("terminated")
                printed, _ = program.process.communicate(timeout=SECONDS_MAX)
                self.assertNotIn("ran on", printed)
                self.assertEqual(program.process.returncode, -signal.SIGTERM)

    def test_a_program_may_handle_its_end(self) -> None:
        with debugged("ends.py", "handles") as program:
            program.set_lines(ENDS, line_of("ends.py", "stop here"))
            program.go()
            program.stopped()
            program.request("terminate")
            self.assertEqual(program.ended(), 5)
            self.assertIn("handled\n", output_of(program, "stdout"))
            self.assertNotIn("ran on", output_of(program, "stdout"))

    def test_stop_on_entry_stops_at_the_first_line(self) -> None:
        with debugged("ends.py", attach={"stopOnEntry": True}) as program:
            program.go()
            stop = program.stopped()
            self.assertEqual((stop["reason"], stop["top"]["line"]), ("entry", 1))
            self.assertEqual(len(program.stack(stop["threadId"])), 1)
            program.request("next", threadId=stop["threadId"])
            self.assertEqual(program.stopped()["top"]["line"], 3)

    def test_path_mappings_translate_both_ways(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            here = shutil.copy(ENDS, Path(folder) / "ends.py")
            mapped = {"pathMappings": [{"localRoot": "C:\\work", "remoteRoot": folder}]}
            with debugged(str(here), attach=mapped) as program:
                [state] = program.set_lines("c:\\Work\\ends.py", line_of("ends.py", "stop here"))
                self.assertTrue(state["verified"])
                program.go()
                self.assertEqual(program.stopped()["top"]["source"]["path"], "C:\\work\\ends.py")


if __name__ == "__main__":
    unittest.main()
