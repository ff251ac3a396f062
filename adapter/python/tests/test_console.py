"""What a client asks around the debug console: completions, giving requests up; and what of the program is loaded."""

from __future__ import annotations

import unittest
from typing import Any

from .client import PROGRAMS, Program, Refused, debugged, line_of

BASICS = PROGRAMS / "basics.py"


class ConsoleTest(unittest.TestCase):
    def stop(self, program: Program, marker: str = "before loop") -> int:
        program.set_lines(BASICS, line_of("basics.py", marker))
        program.go()
        return int(program.stopped()["threadId"])

    def complete(self, program: Program, thread: int, text: str, **more: Any) -> dict[str, dict[str, Any]]:
        frame = program.stack(thread)[0]["id"]
        column = more.pop("column", len(text) + 1)
        answer = program.request("completions", frameId=frame, text=text, column=column, **more)
        return {t["label"]: t for t in answer["targets"]}

    def test_without_a_frame_the_main_module_answers_while_the_program_runs(self) -> None:
        with debugged("threads.py") as program:
            with self.assertRaisesRegex(Refused, "without a stack frame"):
                program.request("evaluate", expression="1", context="repl")
            program.set_lines(PROGRAMS / "threads.py", line_of("threads.py", "in work"))
            program.go()
            program.stopped()
            self.assertEqual(program.request("evaluate", expression="__name__")["result"], "'__main__'")
            program.request("evaluate", expression="seen = 3", context="repl")
            self.assertEqual(program.request("evaluate", expression="seen", context="hover")["result"], "3")
            labels = [t["label"] for t in program.request("completions", text="see", column=4)["targets"]]
            self.assertEqual(labels, ["seen"])
            with self.assertRaisesRegex(Refused, "did not end in time"):
                program.request("evaluate", expression="while True: pass", context="repl")
            program.request("disconnect", terminateDebuggee=True)  # It would spin on.

    def test_what_fails_without_a_frame_is_refused_while_every_exception_stops(self) -> None:
        with debugged("threads.py") as program:
            program.request("setExceptionBreakpoints", filters=["raised"])
            program.set_lines(PROGRAMS / "threads.py", line_of("threads.py", "in work"))
            program.go()
            stops = [program.stopped() for _ in range(3)]
            # A thread that waits to be paused has the engine told of every call, also of the first ones of a thread of its own.
            named = {t["name"]: t["id"] for t in program.request("threads")["threads"]}
            program.request("pause", threadId=named["MainThread"])
            with self.assertRaisesRegex(Refused, "NameError: name 'nothing' is not defined"):
                program.request("evaluate", expression="nothing", context="repl")
            self.assertFalse(program.has_event("stopped"))
            self.assertEqual(len(program.stack(stops[0]["threadId"])), 1)
            program.request("disconnect", terminateDebuggee=True)  # It would spin on.

    def test_a_frames_name_has_what_the_client_asks_for(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program, "in add")
            wanted = {"parameters": True, "parameterNames": True, "parameterValues": True, "module": True}
            answer = program.request("stackTrace", threadId=thread, levels=1, format=wanted)
            self.assertEqual(answer["stackFrames"][0]["name"], "__main__.add(left=0, right=0)")

    def test_what_no_python_can_do_is_refused_with_the_reason(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            frame = program.stack(thread)[0]["id"]
            info = program.request("dataBreakpointInfo", name="count", frameId=frame)
            self.assertIsNone(info["dataId"])
            self.assertIn("cannot be watched", info["description"])
            self.assertEqual(program.request("setDataBreakpoints", breakpoints=[]), {"breakpoints": []})
            for command, reason in (
                ("setInstructionBreakpoints", "machine code"),
                ("stepBack", "backwards"),
                ("terminateThreads", "cannot be ended"),
                ("nothingKnown", "does not know the request"),
            ):
                with self.subTest(command), self.assertRaisesRegex(Refused, reason):
                    program.request(command)

    def test_completions_know_names_and_types_and_call_nothing(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            found = self.complete(program, thread, "nu")
            self.assertEqual(
                found["numbers"],
                {
                    "label": "numbers",
                    "type": "variable",
                    "start": 1,
                    "length": 2,
                    "sortText": "0numbers",
                    "detail": "list",
                },
            )
            kinds = {n: t["type"] for n, t in self.complete(program, thread, "x = account.").items()}
            self.assertEqual(
                (kinds["owner"], kinds["doubled"], kinds["_hidden"]), ("field", "property", "field")
            )
            self.assertNotIn("total", kinds)
            self.assertEqual(self.complete(program, thread, "point.x + po")["point"]["start"], 11)
            self.assertIn("append", self.complete(program, thread, "names['b'].app"))
            self.assertIn("upper", self.complete(program, thread, "account.owner.up"))
            everything = self.complete(program, thread, "")
            self.assertLessEqual({"numbers", "add", "Point", "len", "while"}, everything.keys())
            self.assertEqual(
                [everything[n]["type"] for n in ("add", "Point", "os", "while")],
                ["function", "class", "module", "keyword"],
            )
            for nothing in ("work(3).", "account.doubled.", "nosuch.", "numbers[0", "'nu", "1.", ")."):
                self.assertEqual(self.complete(program, thread, nothing + "zz"), {}, nothing)

    def test_completions_count_columns_in_utf16_and_take_the_line_that_was_asked_for(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            [found] = self.complete(program, thread, "'𝔘' + numb", column=11).values()
            self.assertEqual((found["label"], found["start"], found["length"]), ("numbers", 8, 3))
            found = self.complete(program, thread, "import os\nnumb", column=5, line=2)["numbers"]
            self.assertEqual((found["start"], found["length"]), (1, 4))

    def test_a_cancelled_evaluation_ends_and_the_thread_stays(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            frame = program.stack(thread)[0]["id"]
            endless = "print('busy', flush=True)\nwhile True: pass"
            running = program.start("evaluate", {"expression": endless, "frameId": frame, "context": "repl"})
            waiting = program.start("evaluate", {"expression": "count", "frameId": frame, "context": "repl"})
            program.event("output", lambda body: "busy" in body["output"])
            program.request("cancel", requestId=waiting)
            program.request("cancel", requestId=running)
            for given_up in (running, waiting):
                with self.assertRaisesRegex(Refused, "^cancelled$"):
                    program.finish(given_up)
            program.request("cancel", requestId=running)
            self.assertEqual(program.evaluate(thread, "count")["result"], "5")

    def test_modules_sources_and_lines_that_can_stop(self) -> None:
        with debugged("basics.py") as program:
            self.stop(program)
            answer = program.request("modules")
            self.assertEqual(answer["totalModules"], len(answer["modules"]))
            modules = {m["id"]: m for m in answer["modules"]}
            self.assertFalse(modules["os"]["isUserCode"])
            second = program.request("modules", startModule=1, moduleCount=1)["modules"]
            self.assertEqual(second, answer["modules"][1:2])
            sources = program.request("loadedSources")["sources"]
            self.assertIn(modules["os"]["path"], [s.get("path") for s in sources])
            first, last = line_of("basics.py", "before loop"), line_of("basics.py", "end of work")
            answer = program.request(
                "breakpointLocations", source={"path": str(BASICS)}, line=first, endLine=last
            )
            lines = [b["line"] for b in answer["breakpoints"]]
            self.assertIn(line_of("basics.py", "in loop"), lines)
            self.assertNotIn(first + 3, lines)
            self.assertEqual((lines[0], lines[-1]), (first, last))


if __name__ == "__main__":
    unittest.main()
