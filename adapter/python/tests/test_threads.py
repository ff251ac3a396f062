"""Only the thread stops: the others run on, and several may be stopped at once."""

from __future__ import annotations

import sys
import unittest

from .client import PROGRAMS, Refused, debugged, line_of

THREADS = PROGRAMS / "threads.py"


class ThreadsTest(unittest.TestCase):
    def test_a_program_with_a_trace_function_of_its_own(self) -> None:
        with debugged("traces_itself.py") as program:
            program.set_lines(PROGRAMS / "traces_itself.py", line_of("traces_itself.py", "in work"))
            program.go()
            program.resume(program.stopped()["threadId"])
            if sys.version_info >= (3, 12):
                program.resume(program.stopped()["threadId"])
            else:
                told = program.event("output", lambda body: body["category"] == "important")
                self.assertRegex(
                    told["output"], r"<module> .*traces_itself.py\) has set a trace function of its own"
                )
            self.assertEqual(program.ended(), 0)

    def test_three_threads_stop_at_once_each_with_its_own_context_while_a_fourth_runs(self) -> None:
        with debugged("threads.py") as program:
            program.set_lines(THREADS, line_of("threads.py", "in work"))
            program.go()
            stops = [program.stopped() for _ in range(3)]
            self.assertEqual(len({s["threadId"] for s in stops}), 3)
            self.assertTrue(all(s["allThreadsStopped"] is False for s in stops))
            for stop in stops:
                thread = stop["threadId"]
                name = program.evaluate(thread, "name")["result"]
                self.assertEqual(
                    program.evaluate(thread, "(where.get(), local.name)")["result"], f"({name}, {name})"
                )
                self.assertEqual([f["name"] for f in program.stack(thread)], ["work"])
            named = {t["name"]: t["id"] for t in program.request("threads")["threads"]}
            self.assertLessEqual({"MainThread", "worker-a", "worker-b", "worker-c", "spinner"}, named.keys())
            self.assertFalse([n for n in named if n.startswith("manta")])
            # The fourth still runs: it can be paused, steps, and its count rises.
            program.request("pause", threadId=named["spinner"])
            stop = program.stopped()
            self.assertEqual((stop["threadId"], stop["reason"]), (named["spinner"], "pause"))
            program.evaluate(stop["threadId"], "go_on.set()")
            program.resume(stop["threadId"])
            for stop in stops[:2]:
                program.resume(stop["threadId"])
            with self.assertRaisesRegex(Refused, "not stopped"):
                program.request("continue", threadId=stops[0]["threadId"])
            self.assertRegex(program.evaluate(stops[2]["threadId"], "name.upper()")["result"], "'[ABC]'")
            program.resume(stops[2]["threadId"])
            self.assertEqual(program.ended(), 0)

    def test_a_thread_that_prints_is_paused_in_its_own_code(self) -> None:
        with debugged("prints.py") as program:
            program.go()
            program.event("output")
            threads = {t["name"]: t["id"] for t in program.request("threads")["threads"]}
            program.request("pause", threadId=threads["MainThread"])
            # The engine's own work for the print, in which the thread is most of the time, is no place to stop.
            stop = program.stopped()
            self.assertEqual(program.stack(stop["threadId"])[0]["line"], line_of("prints.py", "after"))
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)

    def test_a_client_that_vanishes_leaves_the_program_running(self) -> None:
        with debugged("threads.py") as program:
            program.set_lines(THREADS, line_of("threads.py", "in work"))
            program.go()
            for _ in range(3):
                stop = program.stopped()
            program.evaluate(stop["threadId"], "go_on.set()")
            program.socket.shutdown(2)
            self.assertEqual(program.process.wait(20), 0)
            self.assertIn("joined", program.process.communicate()[0])

    def test_disconnect_answers_and_the_program_ends_as_if_undisturbed(self) -> None:
        with debugged("threads.py") as program:
            program.set_lines(THREADS, line_of("threads.py", "in work"))
            program.go()
            stop = program.stopped()
            program.evaluate(stop["threadId"], "go_on.set()")
            program.request("disconnect")
            self.assertEqual(program.process.wait(20), 0)


if __name__ == "__main__":
    unittest.main()
