"""What must not hang, crash or grow without bound."""

from __future__ import annotations

import sys
import unittest

from .client import PROGRAMS, Refused, debugged, line_of

AWKWARD = PROGRAMS / "awkward.py"


def at(marker: str) -> int:
    return line_of("awkward.py", marker)


class AwkwardTest(unittest.TestCase):
    def test_values_are_bounded_and_call_nothing(self) -> None:
        with debugged("awkward.py") as program:
            program.set_lines(AWKWARD, at("values are there"))
            program.go()
            thread = program.stopped()["threadId"]
            found = program.locals(thread)
            self.assertTrue(all(len(v["value"]) <= 1_100 for v in found.values()))
            expected = {
                "pair": "Pair(left=1, right=Pair(left=2, right=None))",
                "colour": "Colour.RED",
                "mine": "MyList([1, 2])",
                "named": "Named(first=1, second='b')",
                "when": "datetime.date(2020, 1, 2)",
                "where": "PosixPath('/tmp')",
                "error": "ValueError('bad', 3)",
                "queue": "deque([1, 2, 3])",
                "huge": "<int of 100001 bits>",
                "captured": "5",
            }
            self.assertEqual({name: found[name]["value"] for name in expected}, expected)
            self.assertIn("1000000 in all", found["big"]["value"])
            self.assertIn("1000000 characters", found["text"]["value"])
            self.assertRegex(
                found["hangs"]["value"], r"^Hangs\(.*\) <its __repr__ was cut off: it did not end in time>$"
            )
            # It waits for a lock for ever. Nothing else is kept from an answer, and it is not asked once more.
            self.assertIn("did not end in time>", program.evaluate(thread, "[hangs]")["result"])
            with self.assertRaisesRegex(Refused, "text was not made in time"):
                program.evaluate(thread, "hangs", "clipboard")
            self.assertEqual(found["worded"]["value"], "3 apples")
            self.assertTrue(
                found["spins"]["value"].endswith("> <its __repr__ was cut off: it did not end in time>")
            )
            self.assertEqual(found["lies"]["value"], "Lies(entries=1)")
            self.assertEqual(found["numbers_of_c"]["value"], "array('d', [0.0, 1.0, 2.0])")
            page = program.children(
                found["entries"]["variablesReference"], filter="indexed", start=4_990, count=100
            )
            self.assertEqual(len(page), 10)
            self.assertEqual(page["[4999]"]["value"], "'4999'")
            past = program.children(
                found["big"]["variablesReference"], filter="indexed", start=2_000_000, count=5
            )
            self.assertEqual(past, {})
            whole = program.children(found["big"]["variablesReference"])
            self.assertIn("2000", whole["…"]["value"])
            self.assertEqual(program.evaluate(thread, "captured + 1", "watch")["result"], "6")

    def test_functions_and_suspended_calls_open_to_what_they_carry(self) -> None:
        with debugged("awkward.py") as program:
            program.set_lines(AWKWARD, at("values are there"))
            program.go()
            thread = program.stopped()["threadId"]
            found = program.locals(thread)

            def inside(name: str) -> dict[str, tuple[str, str | None]]:
                children = program.children(found[name]["variablesReference"])
                return {n: (v["value"], v.get("evaluateName")) for n, v in children.items()}

            def put(owner: str, name: str, value: str) -> None:
                reference = found[owner]["variablesReference"]
                program.request("setVariable", variablesReference=reference, name=name, value=value)

            self.assertEqual(
                inside("count"),
                {"start": ("10", None), "step": ("2", None), "__defaults__": ("(3,)", "count.__defaults__")},
            )
            name = "counter.<locals>.count"
            self.assertEqual(found["fresh"]["value"], f"<generator {name} not started>")
            self.assertEqual(
                found["begun"]["value"], f"<generator {name} suspended at awkward.py:{at('counts')}>"
            )
            self.assertEqual(inside("begun")["i"], ("0", "begun.gi_frame.f_locals['i']"))
            self.assertEqual(
                found["awaits"]["value"], f"<coroutine sleeps suspended at awkward.py:{at('sleeps')}>"
            )
            self.assertEqual(list(inside("awaits")), ["seconds", "cr_await"])
            self.assertEqual(
                program.evaluate(thread, "awaits.close(); awaits")["result"], "<coroutine sleeps finished>"
            )
            put("count", "start", "100")
            put("begun", "step", "5")
            put("begun", "i", "1000")
            put("count", "__defaults__", "(1,)")
            with self.assertRaisesRegex(Refused, "cr_await is no variable of sleeps"):
                put("awaits", "cr_await", "1")
            self.assertEqual(
                program.evaluate(thread, "list(begun), list(fresh)")["result"],
                "([105, 110], [100, 105, 110])",
            )
            self.assertEqual(program.evaluate(thread, "list(count())")["result"], "[100]")

    def test_closures_generators_and_a_forked_child(self) -> None:
        with debugged("awkward.py") as program:
            program.set_lines(AWKWARD, at("in inner"), at("resumed"))
            program.go()
            stop = program.stopped()
            self.assertEqual(stop["top"]["name"], "work.<locals>.inner")
            program.evaluate(stop["threadId"], "captured = 10")
            program.resume(stop["threadId"])
            self.assertIn("11", program.event("output")["output"])
            stop = program.stopped()
            self.assertEqual(stop["top"]["name"], "work.<locals>.inner")
            self.assertEqual(program.evaluate(stop["threadId"], "captured")["result"], "5")
            program.resume(stop["threadId"])
            program.event("output", lambda body: body["output"] == "child ran on\n")
            stop = program.stopped()
            self.assertEqual((stop["top"]["name"], stop["top"]["line"]), ("generator", at("resumed")))
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 3)

    def test_a_stop_close_to_the_recursion_limit_is_served_and_leaves_the_limit(self) -> None:
        deep = PROGRAMS / "deep.py"
        with debugged("deep.py") as program:
            program.set_lines(deep, line_of("deep.py", "bottom"))
            if sys.version_info >= (3, 12):
                # On 3.11 the interpreter takes a trace function away that meets the limit itself.
                program.request("setExceptionBreakpoints", filters=["raised"])
            program.go()
            thread = program.stopped()["threadId"]
            self.assertEqual(program.locals(thread)["left"]["value"], "0")
            self.assertEqual(program.evaluate(thread, "sorted([2, 1], key=lambda n: n)")["result"], "[1, 2]")
            program.resume(thread)
            if sys.version_info >= (3, 12):
                stop = program.stopped()
                self.assertEqual((stop["reason"], stop["top"]["name"]), ("exception", "endless"))
                self.assertIn("RecursionError", stop["text"])
                program.resume(thread)
            self.assertEqual(program.ended(), 0)
            told = "".join(m["body"]["output"] for m in program.all if m.get("event") == "output")
            self.assertEqual(told, "True True\ntoo deep\n")

    def test_a_breakpoint_reaches_a_generator_that_was_suspended_before(self) -> None:
        with debugged("awkward.py") as program:
            program.set_lines(AWKWARD, at("before the child"))
            program.go()
            stop = program.stopped()
            program.set_lines(AWKWARD, at("resumed"))
            program.resume(stop["threadId"])
            self.assertEqual(program.stopped()["top"]["line"], at("resumed"))


if __name__ == "__main__":
    unittest.main()
