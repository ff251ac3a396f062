"""Showing a value runs none of its classes' code, and never makes the whole text of what is large."""

from __future__ import annotations

import re
import unittest

from .client import PROGRAMS, debugged, line_of

UNASKED = PROGRAMS / "unasked.py"


class UnaskedTest(unittest.TestCase):
    def test_showing_and_opening_values_runs_nothing(self) -> None:
        with debugged("unasked.py") as program:
            program.set_lines(UNASKED, line_of("unasked.py", "values are there"))
            program.go()
            thread = program.stopped()["threadId"]
            found = program.locals(thread)
            for variable in found.values():
                if variable["variablesReference"]:
                    for child in program.children(variable["variablesReference"], count=20).values():
                        hint = child.get("presentationHint", {})
                        if child["variablesReference"] and not hint.get("lazy"):
                            program.children(child["variablesReference"], count=20)
            for name in found:
                program.evaluate(thread, name, "hover")
            self.assertEqual(program.evaluate(thread, "calls")["result"], "[]")
            texts = {
                name: re.sub(" at 0x[0-9a-f]+", "", variable["value"]) for name, variable in found.items()
            }
            self.assertEqual(
                {
                    name: texts[name]
                    for name in ("made", "proxy", "model", "read_only", "keys", "items", "chained", "user")
                },
                {
                    "made": "Made(field=1)",
                    "proxy": "Proxy(behind=[1, 2])",
                    "model": "Model(number=1)",
                    "read_only": "mappingproxy({'one': 1, 'noted': <Noted>})",
                    "keys": "dict_keys(['key', Made(field=1)])",
                    "items": "dict_items([('a', <Noted>)])",
                    "chained": "ChainMap(maps=[{'a': 1}, {'b': <Noted>}])",
                    "user": "UserDict(data={'a': 1})",
                },
            )
            self.assertIn("… 100000 in all])", texts["values"])
            self.assertRegex(texts["space"], r"^namespace\(first=1, many=\[0, 1, .*… 100000 in all\]\)$")
            self.assertEqual(texts["error"], "Liar('said')")

    def test_what_stands_for_something_else_opens_to_it(self) -> None:
        with debugged("unasked.py") as program:
            program.set_lines(UNASKED, line_of("unasked.py", "values are there"))
            program.go()
            thread = program.stopped()["threadId"]
            found = program.locals(thread)

            def opened(name: str, **more: int) -> dict[str, str]:
                children = program.children(found[name]["variablesReference"], **more)
                return {child["name"]: child.get("evaluateName", "") for child in children.values()}

            self.assertEqual(
                opened("read_only"), {"['one']": "read_only['one']", "['noted']": "read_only['noted']"}
            )
            self.assertEqual(opened("values", start=99_999, count=5), {"[99999]": ""})
            self.assertEqual(opened("weak"), {"referent": "weak()"})
            self.assertEqual(opened("space"), {"first": "space.first", "many": "space.many"})
            self.assertEqual(opened("part"), {n: f"part.{n}" for n in ("func", "args", "keywords")})
            named = opened("keyed")
            self.assertEqual(list(named.values()), ["keyed[(1, 'a')]", "keyed[2.5]", "", ""])
            self.assertEqual(opened("group"), {"args": "group.args", "exceptions": "group.exceptions"})


if __name__ == "__main__":
    unittest.main()
