"""`await` in the debug console: by the event loop of the stopped thread, which runs on meanwhile, or by one of its own."""

from __future__ import annotations

import unittest

from .client import PROGRAMS, Program, Refused, debugged, line_of

AWAITS = PROGRAMS / "awaits.py"


class AwaitsTest(unittest.TestCase):
    def stop(self, program: Program, marker: str) -> int:
        program.set_lines(AWAITS, line_of("awaits.py", marker))
        program.go()
        thread = int(program.stopped()["threadId"])
        program.set_lines(AWAITS)
        return thread

    def end(self, program: Program, thread: int, printed: str) -> None:
        program.resume(thread)
        program.event("output", lambda body: body["output"].strip() == printed)
        self.assertEqual(program.ended(), 0)

    def test_the_loop_of_the_stopped_task_runs_on_for_what_is_awaited(self) -> None:
        with debugged("awaits.py") as program:
            thread = self.stop(program, "in main")
            self.assertEqual(program.evaluate(thread, "await asks(questions, 4)")["result"], "8")
            several = "[await asks(questions, n) for n in range(3)]"
            self.assertEqual(program.evaluate(thread, several)["result"], "[0, 2, 4]")
            statements = (
                "import asyncio\nasync with asyncio.timeout(9):\n  seen = await asks(questions, 5)\nseen"
            )
            self.assertEqual(program.evaluate(thread, statements)["result"], "10")
            with self.assertRaisesRegex(Refused, "LookupError: nothing there"):
                program.evaluate(thread, "await fails()")
            self.assertEqual(
                program.evaluate(thread, "asyncio.current_task().get_name()")["result"], "'Task-1'"
            )
            self.end(program, thread, "1 True 42 10")

    def test_calls_that_the_loop_was_about_to_make_are_made_once(self) -> None:
        with debugged("awaits.py") as program:
            thread = self.stop(program, "in counts")
            program.evaluate(thread, "await asyncio.sleep(0.01)")
            self.assertEqual(program.evaluate(thread, "len(numbers)")["result"], "19")
            self.end(program, thread, "1 True 42 0")

    def test_one_that_never_ends_is_given_up_by_cancel_or_when_the_thread_goes_on(self) -> None:
        with debugged("awaits.py") as program:
            thread = self.stop(program, "in main")
            frame = program.stack(thread)[0]["id"]
            endless = "print('waits', flush=True)\nawait asyncio.Event().wait()"
            for _ in range(2):
                running = program.start(
                    "evaluate", {"expression": endless, "frameId": frame, "context": "repl"}
                )
                program.event("output", lambda body: "waits" in body["output"])
                program.request("cancel", requestId=running)
                with self.assertRaisesRegex(Refused, "^cancelled$"):
                    program.finish(running)
            running = program.start("evaluate", {"expression": endless, "frameId": frame, "context": "repl"})
            program.event("output", lambda body: "waits" in body["output"])
            self.end(program, thread, "1 True 42 0")
            with self.assertRaisesRegex(Refused, "did not end in time"):
                program.finish(running)

    def test_where_no_loop_runs_one_is_made(self) -> None:
        with debugged("awaits.py") as program:
            thread = self.stop(program, "without loop")
            self.assertEqual(
                program.evaluate(thread, "seen = await asyncio.sleep(0, 7)\nseen")["result"], "7"
            )
            frame = program.stack(thread)[0]["id"]
            endless = "print('waits', flush=True)\nawait asyncio.sleep(600)"
            running = program.start("evaluate", {"expression": endless, "frameId": frame, "context": "repl"})
            program.event("output", lambda body: "waits" in body["output"])
            program.request("cancel", requestId=running)
            with self.assertRaisesRegex(Refused, "^cancelled$"):
                program.finish(running)
            self.end(program, thread, "7 True 42 0")

    def test_only_the_console_awaits(self) -> None:
        with debugged("awaits.py") as program:
            thread = self.stop(program, "in main")
            for context in ("watch", "clipboard"):
                with self.assertRaisesRegex(Refused, "debug console of a stopped frame alone"):
                    program.evaluate(thread, "await asks(questions, 4)", context)
            with self.assertRaisesRegex(Refused, "debug console of a stopped frame alone"):
                program.request("evaluate", expression="await asyncio.sleep(0)", context="repl")
            self.end(program, thread, "1 True 42 0")


if __name__ == "__main__":
    unittest.main()
