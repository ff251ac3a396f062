"""Scopes, the tree of values, evaluation and assignment."""

from __future__ import annotations

import unittest

from .client import PROGRAMS, Program, Refused, debugged, line_of

BASICS = PROGRAMS / "basics.py"


class ValuesTest(unittest.TestCase):
    def stop(self, program: Program) -> int:
        program.set_lines(BASICS, line_of("basics.py", "before loop"))
        program.go()
        return int(program.stopped()["threadId"])

    def test_locals_are_a_lazy_tree_that_calls_nothing_but_repr(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            found = program.locals(thread)
            self.assertEqual(found["numbers"]["value"], "[0, 1, 2, 3, 4]")
            self.assertEqual(found["numbers"]["indexedVariables"], 5)
            self.assertEqual(found["names"]["value"], "{'a': 1, 'b': [1, 2], 3: None}")
            self.assertEqual(found["point"]["value"], "Point(x=1, y=2)")
            self.assertEqual(
                found["account"]["value"],
                "Account(owner='ann', amount=12, _hidden=None) <its __repr__ failed: RuntimeError: not for debuggers>",
            )
            self.assertEqual(found["text"]["value"], "'ééé'")
            self.assertEqual(found["count"]["variablesReference"], 0)
            page = program.children(
                found["numbers"]["variablesReference"], filter="indexed", start=3, count=10
            )
            self.assertEqual(
                [(n, v["value"], v["evaluateName"]) for n, v in page.items()],
                [("[3]", "3", "numbers[3]"), ("[4]", "4", "numbers[4]")],
            )
            names = program.children(found["names"]["variablesReference"])
            self.assertEqual(names["['b']"]["evaluateName"], "names['b']")

    def test_a_property_is_computed_only_when_it_is_opened(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            account = program.children(program.locals(thread)["account"]["variablesReference"])
            self.assertEqual(list(account), ["owner", "amount", "_hidden", "doubled"])
            lazy = account["doubled"]
            self.assertTrue(lazy["presentationHint"]["lazy"])
            self.assertEqual(program.children(lazy["variablesReference"])["doubled"]["value"], "24")

    def test_setting_variables_changes_what_the_program_does(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            scope = program.request("scopes", frameId=program.stack(thread)[0]["id"])["scopes"][0]
            reference = scope["variablesReference"]
            found = program.children(reference)

            def put(owner: int, name: str, value: str) -> str:
                answer = program.request("setVariable", variablesReference=owner, name=name, value=value)
                return str(answer["value"])

            self.assertEqual(put(reference, "text", "'new' + text"), "'newééé'")
            self.assertEqual(put(found["numbers"]["variablesReference"], "[0]", "100"), "100")
            self.assertEqual(put(found["names"]["variablesReference"], "['a']", "count"), "5")
            self.assertEqual(put(found["point"]["variablesReference"], "x", "7"), "7")
            self.assertEqual(
                program.evaluate(thread, "(text, numbers[0], names['a'], point.x)")["result"],
                "('newééé', 100, 5, 7)",
            )
            answer = program.request(
                "setExpression", expression="point.y", value="[1]", frameId=program.stack(thread)[0]["id"]
            )
            self.assertEqual(answer["value"], "[1]")
            self.assertEqual(put(reference, "numbers", "[1000]"), "[1000]")
            program.set_lines(BASICS, line_of("basics.py", "end of work"))
            program.resume(thread)
            program.stopped()
            self.assertEqual(program.evaluate(thread, "(result, text)")["result"], "(1001, 'newééé')")

    def test_a_variable_of_an_outer_frame_can_be_set(self) -> None:
        with debugged("basics.py") as program:
            program.set_lines(BASICS, line_of("basics.py", "in add"))
            program.go()
            thread = int(program.stopped()["threadId"])
            scope = program.request("scopes", frameId=program.stack(thread)[1]["id"])["scopes"][0]
            program.request(
                "setVariable", variablesReference=scope["variablesReference"], name="numbers", value="[]"
            )
            program.request(
                "setVariable", variablesReference=scope["variablesReference"], name="text", value="5"
            )
            program.set_lines(BASICS, line_of("basics.py", "end of work"))
            program.resume(thread)
            program.stopped()
            self.assertEqual(program.evaluate(thread, "(numbers, text)")["result"], "([], 5)")

    def test_evaluate_sees_locals_in_nested_scopes_and_runs_statements_in_the_console(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            self.assertEqual(
                program.evaluate(thread, "[n + count for n in numbers if n < count][:2]")["result"], "[5, 6]"
            )
            self.assertEqual(program.evaluate(thread, "(lambda: count)()", "watch")["result"], "5")
            self.assertEqual(program.evaluate(thread, "text = 'changed'")["result"], "")
            self.assertEqual(program.evaluate(thread, "text")["result"], "'changed'")
            program.evaluate(
                thread, "def twice(n):\n    return n * count\nmore = [twice(n) for n in numbers]"
            )
            self.assertEqual(program.evaluate(thread, "more")["result"], "[0, 5, 10, 15, 20]")
            # Statements show what their last expression gives, as Python's own console does for each line.
            self.assertEqual(program.evaluate(thread, "last = more[1]; last + count")["result"], "10")
            self.assertEqual(program.evaluate(thread, "[n for n in more]; last = 6")["result"], "")
            opened = program.evaluate(thread, "more.append(1); more")
            [first, *_] = program.children(opened["variablesReference"]).values()
            self.assertNotIn("evaluateName", first, "naming it would append once more")

    def test_evaluate_refuses_with_the_cause(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            for expression, context, cause in (
                ("nosuch", "watch", "NameError"),
                ("text = 1", "watch", "SyntaxError"),
                ("print(1)", "hover", "hover"),
            ):
                with self.assertRaisesRegex(Refused, cause):
                    program.evaluate(thread, expression, context)
            self.assertEqual(program.evaluate(thread, "names['b'][1]", "hover")["result"], "2")
            self.assertEqual(program.evaluate(thread, "account.amount + 1", "hover")["result"], "13")
            with self.assertRaisesRegex(Refused, "computes a property; use the debug console"):
                program.evaluate(thread, "account.doubled", "hover")
            with self.assertRaisesRegex(Refused, "There is no variable nosuch here"):
                scope = program.request("scopes", frameId=program.stack(thread)[0]["id"])["scopes"][0]
                program.request(
                    "setVariable", variablesReference=scope["variablesReference"], name="nosuch", value="1"
                )

    def test_an_endless_watch_is_interrupted_and_an_endless_console_expression_ends_with_continue(
        self,
    ) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            with self.assertRaisesRegex(Refused, "did not end in time"):
                program.evaluate(thread, "[0 for _ in iter(int, 1)]", "watch")
            frame = program.stack(thread)[0]["id"]
            running = program.start(
                "evaluate",
                {
                    "expression": "print('busy', flush=True)\nwhile True: pass",
                    "frameId": frame,
                    "context": "repl",
                },
            )
            program.event("output", lambda body: "busy" in body["output"])
            program.set_lines(BASICS)
            program.resume(thread)
            with self.assertRaisesRegex(Refused, "interrupted"):
                program.finish(running)
            self.assertEqual(program.ended(), 0)

    def test_handles_die_when_their_thread_resumes(self) -> None:
        with debugged("basics.py") as program:
            thread = self.stop(program)
            frame = program.stack(thread)[0]["id"]
            program.request("next", threadId=thread)
            program.stopped()
            with self.assertRaisesRegex(Refused, "gone on"):
                program.request("scopes", frameId=frame)


if __name__ == "__main__":
    unittest.main()
