"""Steps: over calls, into them and out of them, through generators, exceptions and coroutines."""

from __future__ import annotations

import unittest

from .client import PROGRAMS, Message, Program, Refused, debugged, line_of

STEPPING = PROGRAMS / "stepping.py"


def at(marker: str) -> int:
    return line_of("stepping.py", marker)


class SteppingTest(unittest.TestCase):
    def step(self, program: Program, kind: str, stop: Message) -> int:
        program.request(kind, threadId=stop["threadId"])
        after = program.stopped()
        self.assertEqual(after["reason"], "step")
        self.assertEqual(after["threadId"], stop["threadId"])
        return int(after["top"]["line"])

    def start_at(self, program: Program, marker: str) -> Message:
        program.set_lines(STEPPING, at(marker))
        program.go()
        return program.stopped()

    def walk(self, start: str, *steps: tuple[str, str]) -> None:
        with debugged("stepping.py") as program:
            stop = self.start_at(program, start)
            for kind, marker in steps:
                self.assertEqual(self.step(program, kind, stop), at(marker), f"{kind} to {marker}")
            program.set_lines(STEPPING)
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)

    def test_next_goes_over_a_call_and_returns_to_the_caller(self) -> None:
        self.walk(
            "outer call",
            ("next", "outer after"),
            ("next", "outer return"),
            ("next", "call outer"),
            ("next", "call consume"),
        )

    def test_step_in_enters_a_call_and_step_out_leaves_it(self) -> None:
        self.walk("outer call", ("stepIn", "inner body"), ("stepOut", "outer call"), ("next", "outer after"))

    def test_step_in_does_not_enter_libraries_but_enters_what_they_call(self) -> None:
        self.walk("call main", ("stepIn", "await"))

    def test_step_in_enters_a_lambda_called_from_c(self) -> None:
        with debugged("stepping.py") as program:
            stop = self.start_at(program, "sorts")
            program.set_lines(STEPPING)
            self.step(program, "stepIn", stop)
            self.assertEqual(program.stack(stop["threadId"])[0]["name"], "by_library.<locals>.<lambda>")
            self.step(program, "stepOut", stop)
            self.assertEqual(program.stack(stop["threadId"])[0]["name"], "by_library")

    def test_next_over_a_yield_goes_on_in_the_loop_that_consumes(self) -> None:
        self.walk("first yield", ("next", "consume body"), ("next", "consume loop"), ("next", "consume body"))

    def test_next_over_a_call_that_raises_stops_in_the_handler(self) -> None:
        with debugged("stepping.py") as program:
            stop = self.start_at(program, "try call")
            line = self.step(program, "next", stop)
            self.assertEqual(line, at("handler") - 1)
            self.assertEqual(self.step(program, "next", stop), at("handler"))

    def test_next_out_of_a_raising_function_stops_in_the_callers_handler(self) -> None:
        with debugged("stepping.py") as program:
            stop = self.start_at(program, "raise")
            self.assertEqual(self.step(program, "next", stop), at("handler") - 1)
            self.assertEqual(program.stack(stop["threadId"])[0]["name"], "catches")

    def test_next_over_an_await_stays_in_the_coroutine(self) -> None:
        self.walk("await", ("next", "after await"))

    def test_a_step_past_the_end_lets_the_thread_go_on(self) -> None:
        with debugged("stepping.py") as program:
            stop = self.start_at(program, "last line")
            program.request("next", threadId=stop["threadId"])
            self.assertEqual(program.ended(), 0)

    def test_a_breakpoint_in_a_stepped_over_call_stops_there(self) -> None:
        with debugged("stepping.py") as program:
            program.set_lines(STEPPING, at("outer call"), at("inner body"))
            program.go()
            stop = program.stopped()
            program.request("next", threadId=stop["threadId"])
            stop = program.stopped()
            self.assertEqual((stop["reason"], stop["top"]["line"]), ("breakpoint", at("inner body")))

    def test_the_value_that_a_step_out_returned_is_shown(self) -> None:
        with debugged("stepping.py") as program:
            stop = self.start_at(program, "inner body")
            self.step(program, "stepOut", stop)
            self.assertEqual(program.locals(stop["threadId"])["(return) inner"]["value"], "40")

    def test_what_a_line_has_called_returned_is_shown_after_the_step_over_it(self) -> None:
        with debugged("stepping.py") as program:
            stop = self.start_at(program, "calls several")
            thread = stop["threadId"]

            def returned() -> dict[str, str]:
                shown = program.locals(thread).items()
                return {n[9:]: v["value"] for n, v in shown if n.startswith("(return) ")}

            self.assertEqual(returned(), {})
            self.step(program, "next", stop)
            self.assertEqual(returned(), {"outer": "5", "inner": "8", "Kind.method": "9"})
            self.step(program, "next", stop)
            self.assertEqual(returned(), {})
            program.set_lines(STEPPING, at("after several"))
            program.request("next", threadId=thread)
            self.assertEqual(program.stopped()["reason"], "breakpoint")
            self.assertEqual(returned(), {"inner": "2"})

    def test_what_was_returned_is_not_shown_to_who_does_not_want_it(self) -> None:
        with debugged("stepping.py", attach={"showReturnValue": False}) as program:
            stop = self.start_at(program, "calls several")
            self.step(program, "next", stop)
            self.assertFalse([n for n in program.locals(stop["threadId"]) if n.startswith("(return)")])

    def test_a_second_continue_is_answered_and_a_second_step_is_refused(self) -> None:
        with debugged("stepping.py") as program:
            stop = self.start_at(program, "outer call")
            program.set_lines(STEPPING)
            asked = [program.start("continue", {"threadId": stop["threadId"]}) for _ in range(2)]
            for sequence in asked:
                self.assertEqual(program.finish(sequence), {"allThreadsContinued": False})
            with self.assertRaisesRegex(Refused, "Thread 99 is not stopped"):
                program.request("continue", threadId=99)

    def test_a_step_over_a_yield_stays_in_the_generator_where_c_code_takes_its_values(self) -> None:
        path = PROGRAMS / "yields.py"
        with debugged("yields.py") as program:
            program.set_lines(path, line_of("yields.py", "inner yields"))
            program.go()
            thread = program.stopped()["threadId"]
            program.request("next", threadId=thread)
            self.assertEqual(program.stopped()["top"]["line"], line_of("yields.py", "inner goes on"))
            program.resume(thread)
            self.assertEqual(program.ended(), 0)

    def test_a_step_through_a_library_comes_back_to_the_line_that_called_it(self) -> None:
        path = PROGRAMS / "yields.py"
        for kind in ("next", "stepIn", "stepOut"):
            with self.subTest(kind), debugged("yields.py") as program:
                program.set_lines(path, line_of("yields.py", "in opened"))
                program.go()
                thread = program.stopped()["threadId"]
                for marker in ("closes", "calls"):
                    program.request(kind, threadId=thread)
                    self.assertEqual(program.stopped()["top"]["line"], line_of("yields.py", marker))
                program.resume(thread)
                self.assertEqual(program.ended(), 0)

    def test_a_step_out_of_a_test_ends_in_the_next_one(self) -> None:
        path = PROGRAMS / "yields.py"
        with debugged("yields.py") as program:
            program.set_lines(path, line_of("yields.py", "tests a"))
            program.go()
            thread = program.stopped()["threadId"]
            program.request("next", threadId=thread)
            self.assertEqual(program.stopped()["top"]["line"], line_of("yields.py", "sets up"))
            program.resume(thread)
            self.assertEqual(program.ended(), 0)


if __name__ == "__main__":
    unittest.main()
