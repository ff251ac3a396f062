"""Coroutines: await chains as frames, the other tasks of a stopped event loop, steps that stay in a coroutine."""

from __future__ import annotations

import unittest

from .client import PROGRAMS, Message, Program, debugged, line_of

COROUTINES = PROGRAMS / "coroutines.py"


def at(marker: str) -> int:
    return line_of("coroutines.py", marker)


class CoroutineTest(unittest.TestCase):
    def start_at(self, program: Program, marker: str) -> Message:
        program.set_lines(COROUTINES, at(marker))
        program.go()
        return program.stopped()

    def own_frames(self, program: Program, thread: int) -> list[tuple[str, int]]:
        """The frames of the program and the labels between them."""
        return [
            (f["name"], f["line"]) for f in program.stack(thread) if f.get("presentationHint") != "subtle"
        ]

    def test_the_stack_goes_on_with_the_tasks_that_await(self) -> None:
        with debugged("coroutines.py") as program:
            thread = self.start_at(program, "inner body")["threadId"]
            frames = self.own_frames(program, thread)
            child = [("inner", at("inner body")), ("middle", at("middle awaits"))]
            self.assertEqual(frames[:2], child)
            self.assertRegex(frames[2][0], "^awaited by Task-1$")
            self.assertEqual(frames[3], ("awaits_task", at("awaits task")))
            self.assertEqual([n for n, _ in frames[4:]], ["main", "<module>"])
            depth = [f["name"] for f in program.stack(thread)].index("awaits_task")
            self.assertEqual(program.evaluate(thread, "task.get_name()", depth=depth)["result"], "'child'")
            self.assertIn("task", program.locals(thread, depth))
            label = [f["name"] for f in program.stack(thread)].index("awaited by Task-1")
            self.assertEqual(program.stack(thread)[label]["presentationHint"], "label")
            for awaiting in ("awaits_gather", "awaits_group"):
                program.resume(thread)
                program.stopped()
                frames = self.own_frames(program, thread)
                self.assertEqual(
                    [n for n, _ in frames], ["inner", "middle", "awaited by Task-1", *_group(awaiting)]
                )
            program.resume(thread)
            self.assertEqual(program.ended(), 0)

    def test_the_other_tasks_of_the_loop_are_listed_with_their_coroutines(self) -> None:
        with debugged("coroutines.py") as program:
            stop = self.start_at(program, "inner body")
            scopes = program.request("scopes", frameId=stop["top"]["id"])["scopes"]
            self.assertEqual([s["name"] for s in scopes], ["Locals", "Globals", "Asyncio tasks"])
            tasks = program.children(scopes[2]["variablesReference"])
            self.assertLessEqual({"Task-1", "child", "idler", "consumer"}, tasks.keys())
            self.assertIn("it is the one that stopped", tasks["child"]["value"])
            idler = program.children(tasks["idler"]["variablesReference"])
            self.assertEqual(idler["sleeps"]["value"], f"coroutines.py:{at('sleeps')}")
            held = program.children(idler["sleeps"]["variablesReference"])
            self.assertEqual((held["seconds"]["value"], held["note"]["value"]), ("60", "'sleeps 60'"))
            consumer = program.children(tasks["consumer"]["variablesReference"])
            self.assertEqual([n for n in consumer if n != "sleep"], ["numbers", "consumes"])
            self.assertEqual(consumer["numbers"]["value"], f"coroutines.py:{at('in generator')}")

    def test_stepping_over_an_await_that_waits_stays_in_the_coroutine(self) -> None:
        for marker, after in (
            ("really waits", "inner body"),
            ("middle awaits", "after task"),
            ("awaits task", "after task"),
        ):
            with self.subTest(marker), debugged("coroutines.py") as program:
                stop = self.start_at(program, marker)
                program.set_lines(COROUTINES)
                program.request("next", threadId=stop["threadId"])
                self.assertEqual(program.stopped()["top"]["line"], at(after))

    def test_stepping_out_of_a_task_stops_in_the_coroutine_that_awaits_it(self) -> None:
        for kind in ("stepOut", "next"):
            with self.subTest(kind), debugged("coroutines.py") as program:
                stop = self.start_at(program, "inner return")
                program.set_lines(COROUTINES)
                for marker in ("middle awaits", "after task"):
                    program.request(kind, threadId=stop["threadId"])
                    self.assertEqual(program.stopped()["top"]["line"], at(marker))


def _group(name: str) -> list[str]:
    return [name, "main", "<module>"]


if __name__ == "__main__":
    unittest.main()
