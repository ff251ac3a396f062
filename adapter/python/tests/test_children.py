"""The processes that a program starts belong to its session, whatever way they are started in."""

from __future__ import annotations

import contextlib
import os
import select
import unittest

from .client import PROGRAMS, Message, Program, Refused, debugged, line_of

SPAWNS = PROGRAMS / "spawns.py"
FIRST_OF_CHILDREN = 1 << 30


def printed(program: Program) -> str:
    events = [m["body"] for m in program.all if m.get("event") == "output"]
    return "".join(body["output"] for body in events if body.get("category") == "stdout")


class ChildrenTest(unittest.TestCase):
    def stop_in_child(self, program: Program) -> Message:
        [state] = program.set_lines(SPAWNS, line_of("spawns.py", "in child"))
        self.assertTrue(state["verified"])
        program.go()
        stop = program.stopped()
        self.assertEqual((stop["top"]["name"], stop["hitBreakpointIds"]), ("work", [state["id"]]))
        self.assertGreaterEqual(stop["threadId"], FIRST_OF_CHILDREN)
        return stop

    def test_children_of_every_kind_stop_in_the_session_of_their_program(self) -> None:
        for how, code in (
            ("fork", 4),
            ("spawn", 0),
            ("forkserver", 0),
            ("subprocess", 5),
            ("shell", 5),
            ("nested", 0),
        ):
            with self.subTest(how), debugged("spawns.py", how) as program:
                stop = self.stop_in_child(program)
                threads = {t["id"]: t["name"] for t in program.request("threads")["threads"]}
                self.assertRegex(threads[stop["threadId"]], r"MainThread, .+ \(\d+\)")
                self.assertGreaterEqual(len(threads), 2)
                number = int(program.locals(stop["threadId"])["number"]["value"])
                self.assertEqual(program.evaluate(stop["threadId"], "number * 2")["result"], str(2 * number))
                program.request("next", threadId=stop["threadId"])
                after = program.stopped()
                self.assertEqual((after["reason"], after["threadId"]), ("step", stop["threadId"]))
                program.resume(stop["threadId"])
                program.event(
                    "thread",
                    lambda body, stop=stop: body == {"reason": "exited", "threadId": stop["threadId"]},
                )
                self.assertEqual(program.ended(), 0)
                self.assertIn(f"ended {code}\n", printed(program))
                if how in ("subprocess", "shell", "nested"):
                    words, kept = (["shell"], ["PYTHONPATH"]) if how == "shell" else (["a b"], [])
                    self.assertIn(f"leaf {words} {kept} False\n", printed(program))

    def test_the_children_of_a_pool_stop_one_by_one(self) -> None:
        with debugged("spawns.py", "pool") as program:
            stop: Message | None = self.stop_in_child(program)
            numbers, threads = [], set()
            while stop is not None:
                numbers.append(int(program.locals(stop["threadId"])["number"]["value"]))
                threads.add(stop["threadId"])
                program.resume(stop["threadId"])
                stop = program.next_stop()
            self.assertEqual(sorted(numbers), list(range(6)))
            self.assertTrue(all(thread >= FIRST_OF_CHILDREN for thread in threads))
            self.assertEqual(program.ended(), 0)
            self.assertIn("sum 21\n", printed(program))

    def test_what_is_set_later_holds_in_a_child_too_and_what_has_gone_is_refused(self) -> None:
        with debugged("spawns.py", "spawn") as program:
            stop = self.stop_in_child(program)
            thread = stop["threadId"]
            answer = program.request("setFunctionBreakpoints", breakpoints=[{"name": "_exit_function"}])
            self.assertTrue(answer["breakpoints"][0]["verified"])
            frame = stop["top"]["id"]
            program.resume(thread)
            after = program.stopped()
            self.assertEqual((after["reason"], after["threadId"]), ("function breakpoint", thread))
            with self.assertRaisesRegex(Refused, "has gone on since"):
                program.request("scopes", frameId=frame)
            program.request("setFunctionBreakpoints", breakpoints=[])
            program.resume(thread)
            self.assertEqual(program.ended(), 0)

    def test_goto_and_cancel_reach_a_child(self) -> None:
        with debugged("spawns.py", "spawn") as program:
            stop = self.stop_in_child(program)
            line = line_of("spawns.py", "in child")
            program.set_lines(SPAWNS)
            asked = program.start(
                "evaluate",
                {
                    "expression": "__import__('time').sleep(0.01) or [0 for _ in iter(int, 1)]",
                    "frameId": stop["top"]["id"],
                },
            )
            program.request("cancel", requestId=asked)
            with self.assertRaisesRegex(Refused, "cancelled"):
                program.finish(asked)
            for wrong in ("x", [1]):
                with self.assertRaises(Refused):
                    program.request("goto", threadId=stop["threadId"], targetId=wrong)
                with contextlib.suppress(Refused):
                    program.request("cancel", requestId=wrong)
            place = {"source": {"path": str(SPAWNS)}, "line": line - 1}
            [target] = program.request("gotoTargets", **place)["targets"]
            program.request("goto", threadId=stop["threadId"], targetId=target["id"])
            after = program.stopped()
            self.assertEqual((after["reason"], after["top"]["line"]), ("goto", line - 1))
            self.assertEqual(program.request("gotoTargets", source=place["source"], line=1)["targets"], [])
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)
            self.assertEqual(printed(program).count("child 7\n"), 2)

    def test_a_child_that_is_not_wanted_runs_by_itself(self) -> None:
        for how in ("fork", "spawn", "subprocess"):
            with self.subTest(how), debugged("spawns.py", how, attach={"subProcess": False}) as program:
                program.set_lines(SPAWNS, line_of("spawns.py", "in child"))
                program.go()
                self.assertEqual(program.ended(), 0)

    def test_a_child_goes_on_when_the_client_leaves_and_ends_with_the_program(self) -> None:
        with debugged("spawns.py", "spawn") as program:
            self.stop_in_child(program)
            program.request("disconnect", terminateDebuggee=False)
            program.process.wait()
            assert program.process.stdout is not None
            self.assertIn("ended 0\n", program.process.stdout.read())
        with debugged("spawns.py", "waits") as program:
            program.go()
            program.event("output", lambda body: "up" in body["output"])
            name = next(
                t["name"] for t in program.request("threads")["threads"] if t["id"] >= FIRST_OF_CHILDREN
            )
            child = os.pidfd_open(int(name.rpartition("(")[2].rstrip(")")))
            self.addCleanup(os.close, child)
            # It can be read when the process has ended.
            self.assertEqual(select.select([child], [], [], 0)[0], [])
            program.request("terminate")
            program.process.wait()
            self.assertEqual(select.select([child], [], [], 10)[0], [child])


if __name__ == "__main__":
    unittest.main()
