"""A program whose library has replaced threads, locks and sockets by its own; the engine waits by the interpreter's."""

from __future__ import annotations

import socket
import unittest

from .client import PROGRAMS, SECONDS_MAX, debugged, line_of

from manta_debug.framing import read_message, write_message  # isort: skip

PATCHED = PROGRAMS / "patched.py"


class PatchedTest(unittest.TestCase):
    def test_a_stop_lets_nothing_else_of_the_thread_run(self) -> None:
        with debugged("patched.py") as program:
            program.set_lines(PATCHED, line_of("patched.py", "stop here"))
            program.go()
            for _ in range(2):
                stop = program.stopped()
                thread = stop["threadId"]
                self.assertEqual(
                    program.locals(thread)["slow"]["value"], "slow", "on a thread of the engine's"
                )
                self.assertEqual(program.evaluate(thread, "1 + 1", "watch")["result"], "2")
                names = [t["name"] for t in program.request("threads")["threads"]]
                self.assertEqual(names, ["MainThread"])
                program.request("next", threadId=thread)
                self.assertEqual(program.stopped()["reason"], "step")
                # Another client is accepted and answered by threads of the engine's, too.
                with socket.create_connection(program.address, timeout=SECONDS_MAX) as other:
                    other.sendall(write_message({"seq": 1, "type": "request", "command": "initialize"}))
                    answer = read_message(other.makefile("rb"))
                    assert answer is not None
                    self.assertIn("Another client debugs this process", answer["message"])
                program.resume(thread)
            self.assertEqual(program.ended(), 0)
            out, _ = program.process.communicate()
            self.assertEqual(out, "threads 1 used []\n")


if __name__ == "__main__":
    unittest.main()
