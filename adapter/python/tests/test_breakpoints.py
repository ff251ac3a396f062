"""Breakpoints: where they land, when they stop."""

from __future__ import annotations

import unittest

from .client import PROGRAMS, debugged, line_of

BASICS = PROGRAMS / "basics.py"


class BreakpointTest(unittest.TestCase):
    def test_a_breakpoint_set_before_the_code_exists_stops_and_becomes_verified(self) -> None:
        with debugged("basics.py") as program:
            [state] = program.set_lines(BASICS, line_of("basics.py", "in add"))
            self.assertEqual((state["verified"], state["reason"]), (False, "pending"))
            program.go()
            changed = program.event("breakpoint")
            self.assertTrue(changed["breakpoint"]["verified"])
            stop = program.stopped()
            self.assertEqual((stop["reason"], stop["hitBreakpointIds"]), ("breakpoint", [state["id"]]))
            self.assertEqual((stop["top"]["name"], stop["top"]["line"]), ("add", line_of("basics.py", "in add")))
            names = [f["name"] for f in program.stack(stop["threadId"])]
            self.assertEqual(names, ["add", "work", "<module>"])
            program.set_lines(BASICS)
            program.resume(stop["threadId"])
            self.assertEqual(program.ended(), 0)


if __name__ == "__main__":
    unittest.main()
