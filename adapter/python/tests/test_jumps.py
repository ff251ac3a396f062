"""Stepping into one of a line's calls, going on at another line, beginning a function again."""

from __future__ import annotations

import unittest

from .client import PROGRAMS, Message, Program, Refused, debugged, line_of

JUMPS = PROGRAMS / "jumps.py"


def at(marker: str) -> int:
    return line_of("jumps.py", marker)


class JumpTest(unittest.TestCase):
    def stop_at(self, program: Program, *markers: str) -> Message:
        program.set_lines(JUMPS, *(at(m) for m in markers))
        program.go()
        return program.stopped()

    def goto(self, program: Program, stop: Message, marker: str) -> Message:
        [target] = program.request("gotoTargets", source={"path": str(JUMPS)}, line=at(marker))["targets"]
        program.request("goto", threadId=stop["threadId"], targetId=target["id"])
        return program.stopped()

    def test_each_call_of_a_line_can_be_stepped_into(self) -> None:
        wanted = {
            "second": "in second",
            "first": "in first",
            "Third": "in constructor",
            "method": "in method",
            "max": "many calls",
        }
        for label, marker in wanted.items():
            with self.subTest(label), debugged("jumps.py") as program:
                stop = self.stop_at(program, "many calls")
                program.set_lines(JUMPS)
                frame = stop["top"]["id"]
                targets = program.request("stepInTargets", frameId=frame)["targets"]
                self.assertEqual([t["label"] for t in targets], ["first", "second", "Third", "method", "max"])
                [target] = [t for t in targets if t["label"] == label]
                program.request("stepIn", threadId=stop["threadId"], targetId=target["id"])
                after = program.stopped()
                self.assertEqual((after["reason"], after["top"]["line"]), ("step", at(marker)))

    def test_a_target_of_an_earlier_stop_is_refused(self) -> None:
        with debugged("jumps.py") as program:
            stop = self.stop_at(program, "many calls")
            program.set_lines(JUMPS)
            target = program.request("stepInTargets", frameId=stop["top"]["id"])["targets"][0]
            program.request("next", threadId=stop["threadId"])
            self.assertEqual(program.stopped()["top"]["line"], at("after calls"))
            with self.assertRaisesRegex(Refused, "gone on"):
                program.request("stepIn", threadId=stop["threadId"], targetId=target["id"])

    def test_going_on_at_another_line_skips_what_lies_between(self) -> None:
        with debugged("jumps.py") as program:
            stop = self.stop_at(program, "one", "last")
            landed = self.goto(program, stop, "last")
            self.assertEqual((landed["reason"], landed["top"]["line"]), ("goto", at("last")))
            self.assertEqual(program.locals(stop["threadId"])["done"]["value"], "[]")
            program.request("next", threadId=stop["threadId"])
            after = program.stopped()
            self.assertEqual((after["reason"], after["top"]["line"]), ("step", at("end")))
            self.assertEqual(program.evaluate(stop["threadId"], "(done, number)")["result"], "([], 2)")
            again = self.goto(program, after, "two")
            program.resume(again["threadId"])
            stop = program.stopped()
            self.assertEqual((stop["reason"], stop["top"]["line"]), ("breakpoint", at("last")))
            self.assertEqual(program.evaluate(stop["threadId"], "done")["result"], "['two', 'loop', 'loop']")
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)

    def test_a_breakpoint_stops_each_time_but_not_where_a_jump_ended(self) -> None:
        with debugged("jumps.py") as program:
            stop = self.stop_at(program, "in loop")
            landed = self.goto(program, stop, "one")
            program.resume(landed["threadId"])
            for _ in range(2):
                self.assertEqual(program.stopped()["top"]["line"], at("in loop"))
                program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)
        with debugged("jumps.py") as program:
            stop = self.stop_at(program, "two", "in loop")
            self.goto(program, stop, "one")
            self.goto(program, stop, "two")
            program.resume(stop["threadId"])
            for _ in range(2):
                self.assertEqual(program.stopped()["top"]["line"], at("in loop"))
                program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)

    def test_a_line_of_a_loop_that_a_jump_ended_at_stops_on_its_next_turn(self) -> None:
        for clears in (False, True):
            with self.subTest(clears), debugged("jumps.py") as program:
                stop = self.stop_at(program, "before turns", "turn")
                self.goto(program, stop, "turn")
                if clears:
                    program.set_lines(JUMPS)
                    program.set_lines(JUMPS, at("turn"))
                program.request("next", threadId=stop["threadId"])
                self.assertEqual(program.stopped()["top"]["line"], at("turn") - 1)
                program.resume(stop["threadId"])
                stop = program.stopped()
                self.assertEqual(program.evaluate(stop["threadId"], "turns")["result"], "1")
                program.resume(stop["threadId"])
                self.assertEqual(program.evaluate(program.stopped()["threadId"], "turns")["result"], "2")

    def test_a_function_begins_again_with_its_parameters_as_they_are(self) -> None:
        with debugged("jumps.py") as program:
            stop = self.stop_at(program, "end")
            program.request("restartFrame", frameId=stop["top"]["id"])
            again = program.stopped()
            self.assertEqual((again["reason"], again["top"]["line"]), ("restart", at("one") - 1))
            self.assertEqual(program.evaluate(again["threadId"], "number")["result"], "2")
            program.resume(again["threadId"])
            self.assertEqual(program.evaluate(program.stopped()["threadId"], "number")["result"], "3")

    def test_what_cpython_cannot_do_is_refused_with_the_reason(self) -> None:
        with debugged("jumps.py") as program:
            stop = self.stop_at(program, "in second", "last")
            frames = program.stack(stop["threadId"])
            self.assertEqual([f.get("canRestart") for f in frames], [None, False, False])
            with self.assertRaisesRegex(Refused, "innermost"):
                program.request("restartFrame", frameId=frames[1]["id"])
            source = {"path": str(JUMPS)}
            self.assertEqual(program.request("gotoTargets", source=source, line=at("one"))["targets"], [])
            program.request("stepOut", threadId=stop["threadId"])
            inside = program.stopped()
            [target] = program.request("gotoTargets", source=source, line=at("after calls"))["targets"]
            with self.assertRaisesRegex(Refused, "middle of a line|step once"):
                program.request("goto", threadId=stop["threadId"], targetId=target["id"])
            program.resume(inside["threadId"])
            stop = program.stopped()
            with self.assertRaisesRegex(Refused, "not in jumps"):
                program.request("goto", threadId=stop["threadId"], targetId=target["id"])
            [target] = program.request("gotoTargets", source=source, line=at("in loop"))["targets"]
            with self.assertRaisesRegex(Refused, "for"):
                program.request("goto", threadId=stop["threadId"], targetId=target["id"])
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)


if __name__ == "__main__":
    unittest.main()
