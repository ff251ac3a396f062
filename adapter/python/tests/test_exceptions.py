"""Exception filters, and what is told of an exception."""

from __future__ import annotations

import unittest

from .client import PROGRAMS, Refused, debugged, line_of

RAISES = PROGRAMS / "raises.py"


def at(marker: str) -> int:
    return line_of("raises.py", marker)


class ExceptionTest(unittest.TestCase):
    def test_raised_stops_once_for_each_exception_where_the_program_first_sees_it(self) -> None:
        with debugged("raises.py") as program:
            program.request("setExceptionBreakpoints", filters=["raised"])
            program.go()
            lines = []
            for _ in range(4):
                stop = program.stopped()
                self.assertEqual(stop["reason"], "exception")
                lines.append(stop["top"]["line"])
                program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 1)
            markers = ("raised and caught", "library raises", "cause", "bottom")  # Not `sys.exit(0)`.
            self.assertEqual(lines, [at(marker) for marker in markers])
            self.assertFalse(program.has_event("stopped"))

    def test_uncaught_stops_with_all_frames_and_their_locals(self) -> None:
        with debugged("raises.py") as program:
            program.request("setExceptionBreakpoints", filters=["uncaught"])
            program.go()
            stop = program.stopped()
            thread = stop["threadId"]
            self.assertIn("at the bottom", stop["text"])
            frames = program.stack(thread)
            self.assertEqual(
                [(f["name"], f["line"]) for f in frames],
                [
                    ("deep", at("bottom")),
                    ("deep", at("deeper")),
                    ("deep", at("deeper")),
                    ("<module>", at("call deep")),
                ],
            )
            self.assertEqual(program.evaluate(thread, "level", depth=1)["result"], "1")
            info = program.request("exceptionInfo", threadId=thread)
            self.assertEqual((info["exceptionId"], info["breakMode"]), ("RuntimeError", "unhandled"))
            self.assertEqual(info["description"], "at the bottom")
            [cause] = info["details"]["innerException"]
            self.assertEqual(
                (cause["typeName"], cause["evaluateName"]), ("ValueError", "__exception__.__cause__")
            )
            self.assertIn(
                "invalid literal", program.evaluate(thread, cause["evaluateName"], "watch")["result"]
            )
            self.assertEqual(program.evaluate(thread, "str(__exception__)")["result"], "'at the bottom'")
            program.resume(thread)
            self.assertEqual(program.ended(), 1)

    def test_a_filter_condition_chooses_by_class_or_by_truth(self) -> None:
        for condition in (
            "(KeyError, OSError)",
            "'inner' in str(exception)",
            "KeyError, some.module.NotLoaded",
            "NotLoaded, KeyError",
            "builtins.LookupError",
        ):
            with self.subTest(condition), debugged("raises.py") as program:
                program.request(
                    "setExceptionBreakpoints",
                    filters=[],
                    filterOptions=[{"filterId": "raised", "condition": condition}],
                )
                program.go()
                stop = program.stopped()
                self.assertEqual(stop["top"]["line"], at("raised and caught"))
                program.resume(stop["threadId"])
                self.assertEqual(program.ended(), 1)
                self.assertFalse(program.has_event("stopped"))

    def test_the_filter_of_exceptions_that_reach_a_library_has_two_names(self) -> None:
        for name in ("userUncaught", "userUnhandled"):
            with self.subTest(name), debugged("groups.py") as program:
                program.request("setExceptionBreakpoints", filters=[name])
                program.go()
                stop = program.stopped()
                self.assertEqual(stop["top"]["line"], line_of("groups.py", "leaves to a library"))
                info = program.request("exceptionInfo", threadId=stop["threadId"])
                self.assertEqual(info["breakMode"], "userUnhandled")
                program.resume(stop["threadId"])
                self.assertEqual(program.ended(), 0)

    def test_the_members_of_a_group_are_told_with_their_causes(self) -> None:
        with debugged("groups.py") as program:
            program.request(
                "setExceptionBreakpoints",
                filters=[],
                filterOptions=[{"filterId": "raised", "condition": "ExceptionGroup"}],
            )
            program.go()
            stop = program.stopped()
            inner = program.request("exceptionInfo", threadId=stop["threadId"])["details"]["innerException"]
            self.assertEqual([i["typeName"] for i in inner], ["KeyError", "OSError"])
            self.assertEqual(inner[1]["evaluateName"], "__exception__.exceptions[1]")
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)

    def test_an_unknown_filter_is_refused_by_name(self) -> None:
        with debugged("raises.py") as program, self.assertRaisesRegex(Refused, "sometimes"):
            program.request("setExceptionBreakpoints", filters=["sometimes"])


if __name__ == "__main__":
    unittest.main()
