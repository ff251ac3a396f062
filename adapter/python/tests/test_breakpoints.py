"""Breakpoints: where they land, when they stop."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from .client import PROGRAMS, debugged, line_of

BASICS = PROGRAMS / "basics.py"


class BreakpointTest(unittest.TestCase):
    def test_a_breakpoint_set_before_the_code_exists_stops_and_becomes_verified(self) -> None:
        with debugged("basics.py") as program:
            line = line_of("basics.py", "in add")
            [state] = program.set_lines(BASICS, line)
            self.assertEqual((state["verified"], state["line"]), (True, line), "by the file's text")
            [far] = program.set_lines(BASICS, 10_000)
            self.assertEqual((far["verified"], far["reason"]), (False, "failed"))
            [nowhere] = program.set_lines("/nowhere.py", 1)
            self.assertEqual((nowhere["verified"], nowhere["reason"]), (False, "pending"))
            [state] = program.set_lines(BASICS, line)
            program.go()
            changed = program.event("breakpoint")
            self.assertTrue(changed["breakpoint"]["verified"])
            stop = program.stopped()
            self.assertEqual((stop["reason"], stop["hitBreakpointIds"]), ("breakpoint", [state["id"]]))
            self.assertEqual(
                (stop["top"]["name"], stop["top"]["line"]), ("add", line_of("basics.py", "in add"))
            )
            names = [f["name"] for f in program.stack(stop["threadId"])]
            self.assertEqual(names, ["add", "work", "<module>"])
            program.set_lines(BASICS)
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)

    def test_a_breakpoint_behind_a_step_into_code_that_is_new_stops(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file, other = Path(folder) / "enters.py", Path(folder) / "entered.py"
            file.write_text("import entered\nfirst = 1\nentered.work()\n")
            other.write_text("begun = 1\ndef work():\n    one = 1\n    two = 2\n    three = 3\n")
            with debugged(str(file), attach={"stopOnEntry": True}) as program:
                program.set_lines(file, 3)
                program.set_lines(other, 4)
                program.go()
                self.assertEqual((stop := program.stopped())["reason"], "entry")
                program.resume(stop["threadId"])
                self.assertEqual((stop := program.stopped())["top"]["line"], 3)
                program.request("stepIn", threadId=stop["threadId"])
                self.assertEqual((stop := program.stopped())["top"]["name"], "work")
                program.resume(stop["threadId"])
                stop = program.stopped()
                self.assertEqual((stop["reason"], stop["top"]["line"]), ("breakpoint", 4))
                program.resume(stop["threadId"])
                self.assertEqual(program.ended(), 0)
            text = f"namespace = {{}}\ncode = compile('a = 1\\nb = 2\\nc = 3\\n', {str(other)!r}, 'exec')\nexec(code, namespace)\n"
            file.write_text(text)
            with debugged(str(file)) as program:
                program.set_lines(file, 3)
                program.set_lines(other, 2)
                program.go()
                program.request("stepIn", threadId=(stop := program.stopped())["threadId"])
                self.assertEqual((stop := program.stopped())["top"]["line"], 1)
                program.resume(stop["threadId"])
                stop = program.stopped()
                self.assertEqual((stop["reason"], stop["top"]["line"]), ("breakpoint", 2))
                program.resume(stop["threadId"])
                self.assertEqual(program.ended(), 0)

    def test_a_condition_that_would_end_the_program_stops_instead(self) -> None:
        with debugged("basics.py") as program:
            program.set_lines(BASICS, line_of("basics.py", "in add"), condition="exit(3)")
            program.go()
            stop = program.stopped()
            self.assertEqual(stop["text"], "The condition could not be evaluated: SystemExit: 3")
            program.set_lines(BASICS)
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)

    def test_conditions_hit_counts_and_log_messages(self) -> None:
        with debugged("basics.py") as program:
            line = line_of("basics.py", "in loop")
            other = line_of("basics.py", "in add")
            answer = program.request(
                "setBreakpoints",
                source={"path": str(BASICS)},
                breakpoints=[
                    {"line": line, "condition": "number == 3"},
                    {
                        "line": other,
                        "hitCondition": "% 2",
                        "logMessage": "{left}+{right} is {{{left + right}}}",
                    },
                ],
            )
            self.assertEqual(len(answer["breakpoints"]), 2)
            program.go()
            stop = program.stopped()
            self.assertEqual(program.evaluate(stop["threadId"], "number")["result"], "3")
            program.resume(stop["threadId"])
            program.ended()
            logged = [
                m["body"]["output"]
                for m in program.all
                if m.get("event") == "output" and m["body"].get("category") == "console"
            ]
            self.assertEqual(logged, ["0+1 is {1}\n", "3+3 is {6}\n", "10+1 is {11}\n"])

    def test_a_condition_that_fails_stops_and_says_so(self) -> None:
        with debugged("basics.py") as program:
            program.set_lines(BASICS, line_of("basics.py", "before loop"), condition="nosuchname > 1")
            program.go()
            self.assertIn("NameError", program.stopped()["text"])

    def test_a_condition_that_is_no_expression_is_refused_with_its_cause(self) -> None:
        with debugged("basics.py") as program:
            [state] = program.set_lines(BASICS, 3, condition="1 +")
            self.assertEqual((state["verified"], state["reason"]), (False, "failed"))
            self.assertIn("1 +", state["message"])
            [state] = program.set_lines(BASICS, 3, hitCondition="often")
            self.assertIn("often", state["message"])

    def test_a_line_without_code_slides_to_the_next_of_its_function(self) -> None:
        with debugged("basics.py") as program:
            program.set_lines(BASICS, line_of("basics.py", "no code on this line"))
            program.go()
            stop = program.stopped()
            self.assertEqual(stop["top"]["name"], "work")
            self.assertGreater(stop["top"]["line"], line_of("basics.py", "no code on this line"))

    def test_a_statement_over_several_lines_stops_once(self) -> None:
        with debugged("basics.py") as program:
            first = line_of("basics.py", "no code on this line") + 2
            program.set_lines(BASICS, first, line_of("basics.py", "end of work"))
            program.go()
            stop = program.stopped()
            self.assertEqual(stop["top"]["line"], first)
            program.resume(stop["threadId"])
            self.assertEqual(program.stopped()["top"]["line"], line_of("basics.py", "end of work"))

    def test_every_line_that_is_verified_stops_each_time_it_is_reached(self) -> None:
        def at(marker: str) -> int:
            return line_of("lines.py", marker)

        wanted = {
            # Its `def`, and two calls.
            "one line": [at("one line")] * 3,
            "display": [at("display")],
            "closing bracket": [at("closing bracket") - 2],
            "else": [at("in else")],
            "lambda": [at("lambda")] * 3,
            "with": [at("with")],
        }
        lines = PROGRAMS / "lines.py"
        with debugged("lines.py") as program:
            states = program.set_lines(lines, *(at(marker) for marker in wanted), at("comprehension"))
            self.assertEqual([s["line"] for s in states[:-1]], [each[0] for each in wanted.values()])
            program.go()
            reached = []
            for _ in range(100):
                stop = program.next_stop()
                if stop is None:
                    break
                reached.append(stop["top"]["line"])
                program.resume(stop["threadId"])
            self.assertIn(at("comprehension"), reached, "its first events are those of the lines inside")
            expected = sorted(line for each in wanted.values() for line in each)
            self.assertEqual(sorted(n for n in reached if n != at("comprehension")), expected)

    def test_a_line_after_all_code_is_failed_once_the_file_is_loaded(self) -> None:
        with debugged("basics.py") as program:
            program.set_lines(BASICS, line_of("basics.py", "in loop"))
            program.go()
            program.stopped()
            [state] = program.set_lines(BASICS, 10_000)
            self.assertEqual((state["verified"], state["reason"]), (False, "failed"))

    def test_a_breakpoint_in_a_running_function_stops_there(self) -> None:
        with debugged("basics.py") as program:
            program.set_lines(BASICS, line_of("basics.py", "in add"))
            program.go()
            stop = program.stopped()
            [state] = program.set_lines(BASICS, line_of("basics.py", "end of work"))
            self.assertTrue(state["verified"])
            program.resume(stop["threadId"])
            self.assertEqual(program.stopped()["top"]["line"], line_of("basics.py", "end of work"))

    def test_a_function_breakpoint_stops_at_the_first_line_of_each_call(self) -> None:
        with debugged("basics.py") as program:
            asked = [{"name": "Point.__init__"}, {"name": "add", "condition": "right == 4"}]
            program.request("setFunctionBreakpoints", breakpoints=asked)
            program.go()
            stop = program.stopped()
            self.assertEqual((stop["reason"], stop["top"]["name"]), ("function breakpoint", "Point.__init__"))
            program.resume(stop["threadId"])
            stop = program.stopped()
            self.assertEqual(program.evaluate(stop["threadId"], "right")["result"], "4")
            program.resume(stop["threadId"])
            program.ended()

    def test_a_file_reached_by_a_link_is_the_same_file(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            link = Path(directory) / "other_name.py"
            link.symlink_to(BASICS)
            with debugged("basics.py") as program:
                program.set_lines(link, line_of("basics.py", "in add"))
                program.go()
                self.assertEqual(program.stopped()["top"]["name"], "add")

    def test_the_breakpoint_function_stops_in_its_caller(self) -> None:
        with debugged("calls_breakpoint.py") as program:
            program.go()
            stop = program.stopped()
            self.assertEqual(stop["top"]["line"], line_of("calls_breakpoint.py", "stops"))
            program.request("next", threadId=stop["threadId"])
            self.assertEqual(program.stopped()["top"]["line"], line_of("calls_breakpoint.py", "after"))

    def test_statements_of_a_cell_that_are_compiled_one_by_one_keep_their_lines(self) -> None:
        cell = f"{tempfile.gettempdir()}/ipykernel_1/42.py"
        with debugged("cells.py") as program:
            program.set_lines(cell, 2, 5)  # The second is a comment's.
            program.go()
            for line in (6, 2):
                stop = program.stopped()
                self.assertEqual((stop["top"]["line"], stop["top"]["source"]["path"]), (line, cell))
                source = stop["top"]["source"]
                text = program.request("source", source=source, sourceReference=source["sourceReference"])
                self.assertIn("return b * 2", text["content"])
                program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)

    def test_lines_of_a_file_that_run_under_another_name_are_shown_in_the_file(self) -> None:
        cell = f"{tempfile.gettempdir()}/ipykernel_1/42.py"
        # The cell is lines 11 to 17 of the client's file.
        piece = {"line": 11, "endLine": 17, "runtimeSource": {"path": cell}, "runtimeLine": 1}
        with debugged("cells.py") as program:
            program.set_lines("/client/work.py", 12, 30)
            program.request(
                "setPydevdSourceMap", source={"path": "/client/work.py"}, pydevdSourceMaps=[piece]
            )
            program.go()
            bound = program.event("breakpoint")["breakpoint"]
            self.assertEqual((bound["verified"], bound["line"]), (True, 12))
            stop = program.stopped()
            places = [(f["line"], f["source"]["path"]) for f in program.stack(stop["threadId"])[:2]]
            self.assertEqual(places, [(12, "/client/work.py"), (16, "/client/work.py")])
            program.request("setPydevdSourceMap", source={"path": "/client/work.py"}, pydevdSourceMaps=[])
            self.assertEqual(program.stack(stop["threadId"])[0]["source"]["path"], cell)
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)


if __name__ == "__main__":
    unittest.main()
