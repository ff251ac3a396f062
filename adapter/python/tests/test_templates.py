"""Breakpoints, steps and variables in templates of Jinja2."""

from __future__ import annotations

import importlib.util
import unittest

from .client import PROGRAMS, Message, Program, Refused, debugged, line_of

PAGE = PROGRAMS / "templates" / "page.html"
RENDERS = PROGRAMS / "renders.py"


def at(text: str) -> int:
    """The line of the template with this text."""
    return next(n for n, line in enumerate(PAGE.read_text().splitlines(), 1) if text in line)


@unittest.skipUnless(importlib.util.find_spec("jinja2"), "Jinja2 is not installed")
class TemplateTest(unittest.TestCase):
    def stopped_at(self, program: Program, line: int) -> Message:
        stop = program.stopped()
        self.assertEqual((stop["top"]["line"], stop["top"]["source"]["path"]), (line, str(PAGE)))
        return stop

    def test_a_breakpoint_in_a_template_stops_with_its_variables(self) -> None:
        with debugged("renders.py") as program:
            [pending] = program.set_lines(PAGE, at("in loop"))
            self.assertFalse(pending["verified"])
            program.go()
            bound = program.event("breakpoint")["breakpoint"]
            self.assertEqual((bound["verified"], bound["line"]), (True, at("in loop")))
            thread = self.stopped_at(program, at("in loop"))["threadId"]
            names = [f["name"] for f in program.stack(thread) if f.get("presentationHint") != "subtle"]
            self.assertEqual(names, ["block body", "template", "template", "render", "<module>"])
            found = {name: v["value"] for name, v in program.locals(thread).items()}
            self.assertLessEqual(
                {"item": "1", "total": "6", "name": "'one'", "items": "[1, 2, 3]"}.items(), found.items()
            )
            self.assertNotIn("range", found)
            self.assertEqual(program.evaluate(thread, "item + total")["result"], "7")
            self.assertEqual(program.evaluate(thread, "items[-1]", "watch")["result"], "3")
            self.assertEqual(program.evaluate(thread, "name", "hover")["result"], "'one'")
            labels = program.request(
                "completions", text="tot", column=4, frameId=program.stack(thread)[0]["id"]
            )
            self.assertEqual([t["label"] for t in labels["targets"]], ["total"])
            frame = program.stack(thread)[0]["id"]
            scope = program.request("scopes", frameId=frame)["scopes"][0]["variablesReference"]
            program.request("setVariable", variablesReference=scope, name="item", value="41")
            program.evaluate(thread, "total = 7")
            with self.assertRaisesRegex(Refused, "name 'nothing' is not defined"):
                program.evaluate(thread, "nothing")
            program.set_lines(PAGE)
            program.resume(thread)
            shown = program.event("output", lambda body: "one: 3" in body["output"])["output"]
            self.assertRegex(shown, 'plain"> 41 .* no variable here </b> 7')
            self.assertEqual(program.ended(), 0)

    def test_lines_without_code_slide_to_the_next_of_the_template(self) -> None:
        with debugged("renders.py") as program:
            program.set_lines(PAGE, at("no variable here"))
            program.go()
            thread = self.stopped_at(program, at("after loop"))["threadId"]
            # Compiled already, and bound anew.
            [title] = program.set_lines(PAGE, at("block title"))
            program.resume(thread)
            thread = self.stopped_at(program, at("block title"))["threadId"]
            self.assertEqual(program.evaluate(thread, "name")["result"], "'two'")
            [macro] = program.set_lines(PAGE, at("in macro"), condition="item == 3", logMessage="item {item}")
            self.assertTrue(macro["verified"] or title["verified"])
            program.resume(thread)
            logged = program.event("output", lambda body: body["output"].startswith("item"))
            self.assertEqual((logged["output"], logged["line"]), ("item 3\n", at("in macro")))
            self.assertEqual(program.ended(), 0)

    def test_steps_go_from_line_to_line_of_the_template(self) -> None:
        with debugged("renders.py") as program:
            program.set_lines(PAGE, at("sets"))
            program.go()
            thread = self.stopped_at(program, at("sets"))["threadId"]
            program.set_lines(PAGE)
            for kind, line in (
                ("next", at("loops")),
                ("next", at("in loop")),
                ("next", at("loops")),
                ("next", at("in loop")),
                ("stepIn", at("macro row")),
                ("next", at("<li")),
                ("next", at("in macro")),
                ("stepOut", at("in loop")),
                ("next", at("loops")),
                ("next", at("in loop")),
                ("next", at("loops")),
                ("next", at("after loop")),
            ):
                with self.subTest(kind=kind, line=line):
                    program.request(kind, threadId=thread)
                    self.stopped_at(program, line)
            for _ in range(3):
                program.request("next", threadId=thread)
                top = program.stopped()["top"]
                if top["source"]["path"] == str(RENDERS):
                    break
            self.assertEqual(top["line"], line_of("renders.py", "renders"))
            program.resume(thread)
            self.assertEqual(program.ended(), 0)

    def test_a_step_into_what_renders_ends_in_the_template(self) -> None:
        with debugged("renders.py") as program:
            program.set_lines(RENDERS, line_of("renders.py", "renders"))
            program.go()
            thread = program.stopped()["threadId"]
            program.request("stepIn", threadId=thread)
            self.assertEqual(program.stopped()["top"]["source"]["path"], str(PAGE))
            program.request("disconnect", terminateDebuggee=True)


if __name__ == "__main__":
    unittest.main()
