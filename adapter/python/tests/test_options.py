"""What a client says beside breakpoints: whose code a file is, and which exit codes are failures."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from .client import Refused, debugged

from manta_debug.exits import ExitCodes  # isort: skip
from manta_debug.rules import Rules  # isort: skip

EXITS = """\
import sys
try:
    sys.exit(eval(sys.argv[1]))
except SystemExit:
    pass
sys.exit(eval(sys.argv[1]))
"""
CALLS = """\
import helper
def called():
    raise RuntimeError("no")
try:
    helper.call(called)
except RuntimeError:
    pass
"""
HELPER = """\
def call(function):
    function()
"""


class OptionsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()
        for name, text in (("exits.py", EXITS), ("calls.py", CALLS), ("helper.py", HELPER)):
            (self.folder / name).write_text(text)

    def stops(
        self, script: str, *arguments: str, filters: tuple[str, ...], **attach: object
    ) -> list[tuple[str, int]]:
        """The files and lines at which a program stops for these filters."""
        found = []
        with debugged(str(self.folder / script), *arguments, attach=attach) as program:
            program.request("setExceptionBreakpoints", filters=list(filters))
            program.go()
            while (stop := program.next_stop()) is not None:
                found.append((stop["top"]["source"]["name"], stop["top"]["line"]))
                program.resume(stop["threadId"])
            program.ended()
        return found

    def test_the_exit_codes_that_stop_are_the_clients_to_choose(self) -> None:
        both, last = [("exits.py", 3), ("exits.py", 6)], [("exits.py", 6)]
        self.assertEqual(self.stops("exits.py", "0", filters=("raised",)), [])
        self.assertEqual(self.stops("exits.py", "0", filters=("raised",), breakOnSystemExitZero=True), both)
        self.assertEqual(self.stops("exits.py", "3", filters=("uncaught",)), last)
        self.assertEqual(self.stops("exits.py", "3", filters=("uncaught",), django=True), [])
        self.assertEqual(self.stops("exits.py", "2", filters=("uncaught",), breakOnSystemExit=[1]), [])

    def test_codes_are_numbers_ranges_or_texts(self) -> None:
        for options, code, is_orderly in (
            ({}, None, True),
            ({}, "a text", False),
            ({"breakOnSystemExitZero": True}, None, False),
            ({"breakOnSystemExit": []}, 1, True),
            ({"breakOnSystemExit": [{"from": 2, "to": 9}, 0]}, 5, False),
            ({"breakOnSystemExit": [{"from": 2, "to": 9}, 0]}, None, False),
            ({"breakOnSystemExit": [{"from": 2, "to": 9}, 0]}, "a text", True),
            ({"flask": True}, 3, True),
        ):
            with self.subTest(options=options, code=code):
                self.assertEqual(ExitCodes(options).is_orderly(SystemExit(code)), is_orderly)
        self.assertFalse(ExitCodes().is_orderly(ValueError()))
        with (
            self.assertRaisesRegex(Refused, "is a list"),
            debugged("prints.py", attach={"breakOnSystemExit": ["x"]}),
        ):
            pass

    def test_a_file_that_a_rule_leaves_out_is_a_librarys(self) -> None:
        out = {"path": str(self.folder / "helper.py"), "include": False}
        raised = ("raised",)
        self.assertEqual(self.stops("calls.py", filters=raised), [("calls.py", 3)])
        mine = [{"path": "**/calls.py", "include": False}]
        self.assertEqual(self.stops("calls.py", filters=raised, rules=mine), [("helper.py", 2)])
        self.assertEqual(self.stops("calls.py", filters=raised, rules=[*mine, out]), [])
        with debugged(
            str(self.folder / "calls.py"), attach={"stopOnEntry": True, "rules": [out], "justMyCode": False}
        ) as program:
            program.set_lines(self.folder / "calls.py", 5)
            program.go()
            program.resume(program.stopped()["threadId"])
            stop = program.stopped()
            program.request("stepIn", threadId=stop["threadId"])
            # Not in the helper, which is left out with libraries stepped into as well.
            self.assertEqual(program.stopped()["top"]["name"], "called")

    def test_the_first_rule_that_fits_decides(self) -> None:
        rules = Rules(
            [
                {"path": "/project/keep/*.py", "include": True},
                {"path": "/project", "include": False},
                {"module": "manta_debug", "include": True},
                {"path": "**/lib?/**", "include": False},
            ]
        )
        engine = __import__("manta_debug.rules").rules.__file__
        for path, expected in (
            ("/project/keep/a.py", True),
            ("/project/keep/deep/a.py", False),
            ("/project/a.py", False),
            ("/projector/a.py", None),
            (engine, True),
            ("/x/lib1/y/z.py", False),
            ("/x/lib/z.py", None),
        ):
            with self.subTest(path):
                self.assertEqual(rules.includes(path), expected)
        for wrong in (
            [{"path": "x"}],
            [{"include": True}],
            [{"path": "x", "module": "y", "include": True}],
            {},
            [3],
        ):
            with self.subTest(wrong), self.assertRaisesRegex(Exception, "`rules`"):
                Rules(wrong)


if __name__ == "__main__":
    unittest.main()
