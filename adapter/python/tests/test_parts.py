"""The pure parts: hit conditions, log messages, framing, the lines of code."""

from __future__ import annotations

import io
import sys
import unittest
from typing import Any

from .client import Message

from manta_debug import limits  # isort: skip
from manta_debug.origins import Origin, Origins

from manta_debug.codes import CodeTree  # isort: skip
from manta_debug.errors import text_of  # isort: skip
from manta_debug.framing import FramingError, read_message, write_message  # isort: skip
from manta_debug.hit import parse_hit_condition  # isort: skip
from manta_debug.logpoint import LogTemplate  # isort: skip
from manta_debug.tracing.settrace import _Interest  # isort: skip


class HitConditionTest(unittest.TestCase):
    def test_each_sign(self) -> None:
        for text, holds in (
            ("3", [3]),
            ("== 3", [3]),
            ("=3", [3]),
            ("> 3", [4, 5]),
            (">=3", [3, 4, 5]),
            ("<3", [1, 2]),
            ("<= 3", [1, 2, 3]),
            ("% 2", [2, 4]),
        ):
            with self.subTest(text):
                test = parse_hit_condition(text)
                self.assertEqual([n for n in range(1, 6) if test(n)], holds)

    def test_what_is_no_hit_condition(self) -> None:
        for text in ("", "x", "3 3", ">", "% 0", "-1", "1.5"):
            with self.subTest(text), self.assertRaises(ValueError):
                parse_hit_condition(text)


class LogTemplateTest(unittest.TestCase):
    def render(self, text: str) -> str:
        return LogTemplate(text).render(lambda code: eval(code, {"x": 3, "s": "é"}), repr, text_of)

    def test_expressions_and_plain_braces(self) -> None:
        self.assertEqual(self.render("a {x} b {x + 1}"), "a 3 b 4")
        self.assertEqual(self.render("{{x}} }} {{"), "{x} } {")
        self.assertEqual(self.render("{ {'k}': x}['k}'] }"), "3")

    def test_formats_and_conversions_are_those_of_f_strings(self) -> None:
        for text, written in (
            ("{x:.2f}", "3.00"),
            ("{x:>{x + 2}}|", "    3|"),
            ("{s!a:>8}", "  '\\xe9'"),
            ("{x=}, {x = :03}", "x=3, x = 003"),
            ("{[1, 2][:1]} {'a:b'} {(lambda: x)()!r} {x != 3}", "[1] 'a:b' 3 False"),
            ("{nope} {x:q}", "<NameError: name 'nope' is not defined> <ValueError: Unknown format code 'q'"),
        ):
            with self.subTest(text):
                self.assertTrue(self.render(text).startswith(written), self.render(text))

    def test_what_is_no_template(self) -> None:
        for text in ("{x", "{x +}", "{}", "{:3}", "{x!z}"):
            with self.subTest(text), self.assertRaises(ValueError):
                LogTemplate(text)


class InterestTest(unittest.TestCase):
    def test_an_answer_is_kept_and_made_again_when_the_table_changes_meanwhile(self) -> None:
        interest = _Interest()
        changes = iter([True, False, False])
        asked = []

        def otherwise(frame: Any, kept: dict[int, Any]) -> str:
            asked.append(frame)
            if next(changes):
                interest.forget()
            interest.keep(kept, frame.f_code, f"answer {len(asked)}")
            return f"answer {len(asked)}"

        on_call = interest.answer_calls(otherwise)
        frame = sys._getframe()
        self.assertEqual([on_call(frame, "call", None) for _ in range(2)], ["answer 2", "answer 2"])
        interest.forget()
        self.assertEqual(on_call(frame, "call", None), "answer 3")


class FramingTest(unittest.TestCase):
    def read(self, data: bytes) -> Message | None:
        return read_message(io.BytesIO(data))

    def test_a_message_survives(self) -> None:
        message = {"seq": 1, "text": "é…\n"}
        self.assertEqual(self.read(write_message(message)), message)

    def test_header_names_have_no_case_and_others_are_passed_over(self) -> None:
        self.assertEqual(self.read(b"content-length:2\r\nContent-Type: x\r\n\r\n{}"), {})

    def test_a_stream_that_ends_anywhere_is_an_end(self) -> None:
        whole = write_message({"seq": 1})
        for length in range(len(whole)):
            self.assertIsNone(self.read(whole[:length]))

    def test_what_is_no_dap_is_refused_with_its_cause(self) -> None:
        for data, cause in (
            (b"GET / HTTP/1.1\r\n\r\n", "not the Debug Adapter Protocol"),
            (b"Origin: http://evil\r\nContent-Length: 2\r\n\r\n{}", "Origin"),
            (b"Content-Length: many\r\n\r\n{}", "not a number"),
            (b"Content-Length: %d\r\n\r\n" % (limits.MESSAGE_BYTES_MAX + 1), "limit"),
            (b"X: " + b"y" * limits.HEADER_BYTES_MAX, "longer"),
            (b"\r\n", "no Content-Length"),
            (b"Content-Length: 2\r\n\r\nxx", "not valid JSON"),
            (b"Content-Length: 2\r\n\r\n[]", "not an object"),
        ):
            with self.subTest(cause), self.assertRaisesRegex(FramingError, cause):
                self.read(data)


class CodeTreeTest(unittest.TestCase):
    TEXT = """\
import os

@staticmethod
def outer(
    first,
    second=1,
):
    # a comment
    value = [
        n
        for n in range(3)
    ]

    def inner():
        return value
    return inner
# the end
class C:
    field = 1
"""

    def lands(self, line: int) -> tuple[int, list[str]]:
        tree = CodeTree(compile(self.TEXT, "t.py", "exec"))
        at, owners = tree.owners(line)
        return at, [o.code.co_name for o in owners]

    def test_where_lines_land(self) -> None:
        for line, expected in (
            (1, (1, ["<module>"])),
            (2, (3, ["<module>"])),
            (8, (9, ["outer"])),
            (13, (14, ["outer"])),
            (15, (15, ["inner"])),
            (16, (16, ["outer"])),
            (17, (18, ["<module>"])),
            (19, (19, ["C"])),
            (20, (20, [])),
        ):
            with self.subTest(line):
                at, names = self.lands(line)
                self.assertEqual((at, names), expected)

    def test_a_function_alone_owns_only_its_own_text(self) -> None:
        outer = next(
            t for t in CodeTree(compile(self.TEXT, "t.py", "exec")).walk() if t.code.co_name == "outer"
        )
        self.assertEqual(outer.owners(1)[1], [])
        self.assertEqual(outer.owners(19)[1], [])
        self.assertEqual(outer.owners(4)[0], 9)


class OriginsTest(unittest.TestCase):
    def test_code_without_a_file_is_the_users_only_where_a_person_has_typed_it(self) -> None:
        origins = Origins()
        for name in ("<stdin>", "<ipython-input-3-0a1b2c>", "<python-input-0>", "<command line>"):
            self.assertIs(origins.of_file(name), Origin.USER, name)
        for name in ("<string>", "<frozen runpy>", "<dynamic-code>", "<attrs generated init a.B>", "<gen>"):
            self.assertIs(origins.of_file(name), Origin.LIBRARY, name)


if __name__ == "__main__":
    unittest.main()
