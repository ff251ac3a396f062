"""Values of other libraries, object refs, and formats."""

from __future__ import annotations

import unittest

from .client import PROGRAMS, Message, Program, debugged, line_of

TABLES = PROGRAMS / "tables.py"


class LibraryTest(unittest.TestCase):
    def stop(self, program: Program) -> tuple[int, dict[str, Message]]:
        program.set_lines(TABLES, line_of("tables.py", "values are there"))
        program.go()
        thread = int(program.stopped()["threadId"])
        return thread, program.locals(thread)

    def test_tables_and_columns_show_their_shape_and_open_to_their_parts(self) -> None:
        with debugged("tables.py") as program:
            thread, found = self.stop(program)
            self.assertEqual(found["frame"]["value"], "DataFrame of 3 rows and 2 columns: a int64, b c int64")
            self.assertEqual(found["series"]["value"], "Series of 1000 values, int64: 0, 1, 2, 3, 4, 5, …")
            self.assertEqual(found["arrow"]["value"], "Int32Array of 3 values, int32: 7, 8, 9")
            columns = program.children(found["frame"]["variablesReference"])
            self.assertEqual(columns["['b c']"]["value"], "Series of 3 values, int64: 4, 5, 6")
            for name in ("frame", "series", "arrow"):
                children = program.children(
                    found[name]["variablesReference"], filter="indexed", start=1, count=1
                )
                [child] = children.values()
                self.assertEqual(
                    program.evaluate(thread, child["evaluateName"])["result"], child["value"], name
                )
            # A label that two columns have, or that no expression can write, names none of them.
            self.assertRegex(
                found["doubled"]["value"],
                r"^DataFrame of 3 rows and 4 columns: a int64, a int64, \(1, 'x'\) int64, <Label",
            )
            self.assertEqual(found["empty"]["value"], "DataFrame of 3 rows and 0 columns")
            page = program.request("variables", variablesReference=found["doubled"]["variablesReference"])[
                "variables"
            ]
            names = ["doubled.iloc[:, 0]", "doubled.iloc[:, 1]", "doubled[(1, 'x')]", "doubled.iloc[:, 3]"]
            self.assertEqual([child["evaluateName"] for child in page], names)
            self.assertRegex(page[3]["value"], "^Series of 1 values, int64: <Label")
            self.assertEqual(program.evaluate(thread, names[1])["result"], page[1]["value"])
            past = program.children(
                found["series"]["variablesReference"], filter="indexed", start=5_000, count=9
            )
            self.assertEqual(past, {})

    def test_an_object_ref_opens_to_its_object_when_it_is_asked(self) -> None:
        with debugged("tables.py") as program:
            _, found = self.stop(program)
            [lazy] = program.children(found["done"]["variablesReference"]).values()
            self.assertEqual(
                (lazy["name"], lazy["value"], lazy["presentationHint"]["lazy"]), ("value", "", True)
            )
            self.assertEqual(program.children(lazy["variablesReference"])["value"]["value"], "[1, 2]")
            [lazy] = program.children(found["undone"]["variablesReference"]).values()
            self.assertIn("not computed yet", program.children(lazy["variablesReference"])["value"]["value"])

    def test_integers_are_hexadecimal_where_the_client_wants_it(self) -> None:
        with debugged("tables.py") as program:
            thread, found = self.stop(program)
            frame = program.stack(thread)[0]["id"]
            scope = program.request("scopes", frameId=frame)["scopes"][0]["variablesReference"]
            self.assertEqual(found["count"]["value"], "255")
            hexed = program.children(scope, format={"hex": True})
            self.assertEqual(
                (hexed["count"]["value"], hexed["odd"]["value"][:14]), ("0xff", "Odd(size=0x10,")
            )
            asked = {"expression": "[count, -1, True]", "frameId": frame, "context": "watch"}
            self.assertEqual(
                program.request("evaluate", **asked, format={"hex": True})["result"], "[0xff, -0x1, True]"
            )
            self.assertEqual(program.request("evaluate", **asked)["result"], "[255, -1, True]")

    def test_expressions_name_what_they_stand_for(self) -> None:
        with debugged("tables.py") as program:
            thread, found = self.stop(program)
            self.assertEqual(found["counted"]["value"], "Counter({'a': 2, 'b': 1})")
            self.assertEqual(found["ordered"]["value"], "OrderedDict({'x': 255})")
            for name in ("counted", "ordered", "odd"):
                for child in program.children(found[name]["variablesReference"]).values():
                    if child["name"] == "no name":
                        self.assertNotIn("evaluateName", child)
                    else:
                        result = program.evaluate(thread, child["evaluateName"], "watch")["result"]
                        self.assertEqual(result, child["value"])


if __name__ == "__main__":
    unittest.main()
