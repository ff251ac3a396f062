"""What an expression gives under the mouse, where nothing of the program may run."""

from __future__ import annotations

import collections
import enum
import functools
import sys
import unittest
from typing import Any, NamedTuple

from .client import ROOT  # The engine's folder is on the path from here on.

from manta_debug.careful import look  # isort: skip
from manta_debug.errors import RequestError  # isort: skip

assert ROOT

ran: list[str] = []


class Touchy:
    """Notes everything of it that runs."""

    shared = (1, 2)

    def __init__(self) -> None:
        self.field = {"key": (1, 2, 3)}

    @property
    def computed(self) -> int:
        ran.append("computed")
        return 1

    @functools.cached_property
    def cached(self) -> int:
        ran.append("cached")
        return 1

    def method(self) -> int:
        ran.append("method")
        return 1

    def __getattr__(self, name: str) -> Any:
        ran.append(f"getattr {name}")
        raise AttributeError(name)

    def __getitem__(self, key: object) -> int:
        ran.append("getitem")
        return 1

    def __eq__(self, other: object) -> bool:
        ran.append("eq")
        return True

    def __hash__(self) -> int:
        ran.append("hash")
        return 1

    def __bool__(self) -> bool:
        ran.append("bool")
        return True


class Pair(NamedTuple):
    first: int
    second: int


class Color(enum.Enum):
    RED = 3


class Own(enum.Enum):
    ONE = 1

    @property
    def value(self) -> int:
        ran.append("value")
        return 2


class HoverTest(unittest.TestCase):
    def look(self, text: str) -> Any:
        touchy, makes = Touchy(), collections.defaultdict(list, here=[5])
        number, word, rows = 4, "abc", [[1, 2], [3, 4]]
        pair, color, own = Pair(7, 8), Color.RED, Own.ONE
        _ = touchy, makes, number, word, rows, pair, color, own
        return look(sys._getframe(), text, None)

    def test_names_fields_elements_and_arithmetic_are_looked_up(self) -> None:
        for text, value in (
            ("number", 4),
            ("touchy.field['key'][1:]", (2, 3)),
            ("touchy.shared[-1]", 2),
            ("rows[1][0] + number * 2", 11),
            ("number > 3 and word", "abc"),
            ("0 < number < 3", False),
            ("touchy is None", False),
            ("'yes' if number == 4 else touchy.computed", "yes"),
            ("-number", -4),
            ("makes['here'][0]", 5),
            ("touchy.method.__self__ is touchy", True),
            ("number.real", 4),
            ("sys.maxsize", sys.maxsize),
            ("word[0]", "a"),
            ("(number, word)", (4, "abc")),
            ("pair.first", 7),
            ("color.name + str.__name__", "REDstr"),
            ("color.value", 3),
            ("len(rows) + len(word)", 5),
            ("not rows or rows and number", 4),
            ("1 if makes['here'] else 2", 1),
        ):
            with self.subTest(text=text):
                self.assertEqual(self.look(text), value)
        self.assertEqual(ran, [])

    def test_what_would_run_code_is_refused_and_does_not_run(self) -> None:
        for text in (
            "touchy.computed",
            "touchy.cached",
            "touchy.method()",
            "touchy.unknown",
            "touchy['x']",
            "touchy == 1",
            "not touchy",
            "len(touchy)",
            "len(makes)",
            "print(number)",
            "own.value",
            "touchy and 1",
            "{touchy: 1}[touchy]",
            "[n for n in rows]",
            "rows[touchy]",
            "f'{touchy}'",
            "9 ** 9 ** 9",
            "word * number",
            "1 << 99999999999",
        ):
            with (
                self.subTest(text=text),
                self.assertRaisesRegex(RequestError, "Not evaluated on hover, because it"),
            ):
                self.look(text)
        with self.assertRaises(KeyError):
            self.look("makes['nowhere']")
        for text, error in (("nowhere", NameError), ("number.nowhere", AttributeError), ("1 +", SyntaxError)):
            with self.subTest(text=text), self.assertRaises(error):
                self.look(text)
        self.assertEqual(ran, [])


if __name__ == "__main__":
    unittest.main()
