"""The engine as a worker has it: messages as bytes, `mantaConfigure` instead of a handshake, tasks instead of threads."""

from __future__ import annotations

import hashlib
import json
import queue
import sys
import tempfile
import threading
import types
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .client import SECONDS_MAX, Client, Refused

from manta_debug import cluster, on_task_start  # isort: skip

TASK_FILE = "/nowhere/on/this/machine/job.py"
TASK_TEXT = """\
def task(number):
    doubled = number * 2
    return doubled + 1


def fails():
    raise OSError("lost")


def later():
    return [n for n in range(3)]
"""
TASK = {"taskId": "ab", "attempt": 0, "name": "task", "jobId": "cd"}


class Worker(Client):
    """A worker in this process: the engine on a thread of its own, tasks on others."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.tasks: dict[int, dict[str, Any]] = {}
        self.soon: list[str] = []
        self.for_node: list[str] = []
        super().__init__(lambda message: self.inbox.put(json.dumps(message).encode()))
        self.engine = threading.Thread(target=self._serve, daemon=True)
        self.engine.start()

    def _serve(self) -> None:
        cluster.serve(self.inbox.get, self._take, self.tasks.get)

    def _take(self, data: bytes, soon: bool, for_node: bool) -> None:
        message = json.loads(data)
        if soon:
            self.soon.append(message.get("event") or message["command"])
        if for_node:
            self.for_node.append(message.get("event") or message["command"])
        self.receive(message)

    def run(self, function: Callable[..., Any], *arguments: Any) -> queue.SimpleQueue[Any]:
        """Runs a task; answers where its result will be."""
        results: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def body() -> None:
            on_task_start()
            self.tasks[threading.get_ident()] = TASK
            try:
                results.put(function(*arguments))
            except Exception as error:
                results.put(error)
            finally:
                self.tasks.pop(threading.get_ident())

        threading.Thread(target=body, daemon=True).start()
        return results

    def configure(self, *lines: int, session: str = "s1", **more: Any) -> list[dict[str, Any]]:
        """Sets breakpoints in the task's file, whose path the client knows under another name."""
        wanted = [{"id": 100 + line, "line": line} for line in lines]
        sources = [
            {
                "source": {"path": "/editor/job.py"},
                "paths": ["/editor/job.py", TASK_FILE],
                "breakpoints": wanted,
            }
        ]
        answer = self.request(
            "mantaConfigure", generation=5, sessionId=session, sources=sources if lines else [], **more
        )
        assert answer["generation"] == 5
        breakpoints: list[dict[str, Any]] = answer["breakpoints"]
        return breakpoints

    def end(self) -> None:
        """The connection ends; waits until the engine has let go."""
        self.inbox.put(None)
        self.engine.join(SECONDS_MAX)
        assert not self.engine.is_alive()


def functions(file: str = TASK_FILE) -> types.SimpleNamespace:
    """The task's functions as an unpickled worker has them: code without a module or a file."""
    namespace: dict[str, Any] = {"__name__": "job"}
    exec(compile(TASK_TEXT, file, "exec"), namespace)
    return types.SimpleNamespace(**namespace)


def result(results: queue.SimpleQueue[Any]) -> Any:
    return results.get(timeout=SECONDS_MAX)


class ClusterTest(unittest.TestCase):
    def setUp(self) -> None:
        self.worker = Worker()
        self.addCleanup(self.worker.end)

    def test_a_task_whose_code_comes_later_stops_on_its_first_line_and_goes_on(self) -> None:
        [state] = self.worker.configure(2)
        self.assertEqual((state["id"], state["verified"], state["reason"]), (102, False, "pending"))
        results = self.worker.run(functions().task, 20)
        stop = self.worker.event("mantaStopped")
        self.assertEqual((stop["task"], stop["generation"], stop["hitBreakpointIds"]), (TASK, 5, [102]))
        self.assertEqual((stop["topFrame"]["name"], stop["topFrame"]["line"]), ("task", 2))
        self.assertEqual(stop["topFrame"]["source"]["path"], TASK_FILE)
        self.assertEqual(
            self.worker.event("breakpoint")["breakpoint"], {"id": 102, "verified": True, "line": 2}
        )
        thread = stop["threadId"]
        self.assertEqual(self.worker.stack(thread)[0]["id"], stop["topFrame"]["id"])
        self.worker.request("next", threadId=thread)
        gone = self.worker.event("mantaContinued")
        self.assertEqual((gone["threadId"], gone["stop"], gone["task"]), (thread, stop["stop"], TASK))
        after = self.worker.event("mantaStopped")
        self.assertEqual(
            (after["reason"], after["topFrame"]["line"], after["stop"]), ("step", 3, stop["stop"] + 1)
        )
        [listed] = [t for t in self.worker.request("threads")["threads"] if t["id"] == thread]
        self.assertEqual(listed["task"], TASK)
        self.worker.request("continue", threadId=thread)
        self.worker.event("mantaContinued")
        self.assertEqual(result(results), 41)
        # Only what says that the task runs on may wait for what follows.
        self.assertEqual(self.worker.soon, ["next", "mantaContinued", "continue", "mantaContinued"])

    def test_an_answer_to_the_node_is_known_by_the_number_of_its_request(self) -> None:
        self.worker.configure(2)
        self.assertEqual(self.worker.for_node, [])
        self.worker.number_from(cluster.NODE_SEQ_MIN)
        self.worker.request("threads")
        self.assertEqual(self.worker.for_node, ["threads"])

    def test_what_is_wanted_of_the_next_stop_is_told_ahead(self) -> None:
        self.worker.configure(2)
        results = self.worker.run(functions().task, 20)
        stop = self.worker.event("mantaStopped")
        self.assertNotIn("look", stop)
        thread = stop["threadId"]
        self.worker.request("next", threadId=thread, mantaLook={"levels": 2, "variables": True})
        after = self.worker.event("mantaStopped")
        self.assertTrue(after["look"])
        look = self.worker.event("mantaLook")
        self.assertEqual((look["threadId"], look["stop"]), (thread, after["stop"]))
        self.assertEqual(
            look["stackTrace"], self.worker.request("stackTrace", threadId=thread, startFrame=0, levels=2)
        )
        self.assertTrue(look["more"])
        look = self.worker.event("mantaLook")
        self.assertEqual((look["threadId"], look["stop"]), (thread, after["stop"]))
        self.assertEqual(look["frame"], after["topFrame"]["id"])
        self.assertEqual(look["scopes"]["scopes"][0]["variablesReference"], look["scope"])
        asked = self.worker.request("variables", variablesReference=look["scope"])
        self.assertEqual(look["variables"], asked)
        self.worker.request("continue", threadId=thread, mantaLook={"levels": 1})
        self.assertEqual(result(results), 41)

    def test_a_jump_ends_one_stop_and_begins_another(self) -> None:
        self.worker.configure(2)
        results = self.worker.run(functions().task, 1)
        stop = self.worker.event("mantaStopped")
        thread = stop["threadId"]
        source = {"path": TASK_FILE}
        targets = self.worker.request("gotoTargets", source=source, paths=["/no", TASK_FILE], line=3)[
            "targets"
        ]
        self.worker.request("goto", threadId=thread, targetId=targets[0]["id"])
        self.assertEqual(self.worker.event("mantaContinued")["stop"], stop["stop"])
        after = self.worker.event("mantaStopped")
        self.assertEqual((after["reason"], after["task"], after["topFrame"]["line"]), ("goto", TASK, 3))
        self.assertEqual(after["stop"], stop["stop"] + 1)
        self.worker.request("setExpression", expression="doubled", value="9", frameId=after["topFrame"]["id"])
        self.worker.request("continue", threadId=thread)
        self.assertEqual(result(results), 10)

    def test_a_file_under_another_name_is_known_by_its_content(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            shipped = Path(folder) / "job.py"
            shipped.write_text(TASK_TEXT)
            digest = hashlib.sha256(TASK_TEXT.encode()).hexdigest()
            for sha256, paths, stops, says in (
                (digest, ["/editor/job.py"], True, None),
                ("0" * 64, ["/editor/job.py"], False, None),
                (digest, ["/editor/other.py"], False, None),
                ("0" * 64, [str(shipped)], True, "another version of the file"),
            ):
                source = {"source": {"path": paths[0]}, "paths": paths, "sha256": sha256}
                wanted = {**source, "breakpoints": [{"id": 1, "line": 2}]}
                self.worker.request("mantaConfigure", generation=5, sessionId="s1", sources=[wanted])
                results = self.worker.run(functions(str(shipped)).task, 1)
                if stops:
                    stop = self.worker.event("mantaStopped")
                    state = self.worker.event("breakpoint")["breakpoint"]
                    self.assertIn(says or "", state.get("message", ""))
                    self.assertEqual("message" in state, says is not None)
                    # A name that the session does not know yet teaches it where the file lies here.
                    here = None if str(shipped) in paths else str(shipped)
                    self.assertEqual(state.get("source", {}).get("path"), here)
                    self.worker.request("continue", threadId=stop["threadId"])
                self.assertEqual(result(results), 3)
            self.assertFalse(self.worker.has_event("mantaStopped"))

    def test_a_cell_of_a_notebook_is_known_in_whatever_kernel_it_ran(self) -> None:
        own, name = "/tmp/ipykernel_11/1234567.py", "<ipython-input-3-0a1b2c>"
        for asked, code, stops in (
            (own, own, True),
            ("/var/tmp/ipykernel_22/1234567.py", own, True),
            ("/tmp/ipykernel_11/7654321.py", own, False),
            ("/tmp/1234567.py", own, False),
            (name, name, True),
        ):
            wanted = {"source": {"path": asked}, "paths": [asked], "breakpoints": [{"id": 1, "line": 2}]}
            self.worker.request("mantaConfigure", generation=5, sessionId="s1", sources=[wanted])
            results = self.worker.run(functions(code).task, 1)
            if stops:
                stop = self.worker.event("mantaStopped")
                self.assertEqual(stop["topFrame"]["line"], 2)
                self.worker.request("continue", threadId=stop["threadId"])
            self.assertEqual(result(results), 3)
        self.assertFalse(self.worker.has_event("mantaStopped"))

    def test_hits_go_on_counting_when_the_session_learns_another_name(self) -> None:
        breakpoints = [{"id": 1, "line": 2, "hitCondition": "2"}]
        for paths in ([TASK_FILE], ["/learned/job.py", TASK_FILE]):
            source = {"source": {"path": paths[0]}, "paths": paths, "breakpoints": breakpoints}
            self.worker.request("mantaConfigure", generation=5, sessionId="s1", sources=[source])
            results = self.worker.run(functions().task, 1)
        stop = self.worker.event("mantaStopped")
        self.worker.request("continue", threadId=stop["threadId"])
        self.assertEqual(result(results), 3)

    def test_what_belongs_to_other_languages_is_answered_and_passed_over(self) -> None:
        answer = self.worker.request(
            "mantaConfigure",
            generation=7,
            sessionId="s1",
            sources=[],
            dataBreakpoints=[{"id": 11, "dataId": "there", "accessType": "write"}],
            exceptionFilters=["panic", "signal"],
        )
        [state] = answer["breakpoints"]
        self.assertEqual((state["id"], state["verified"], state["reason"]), (11, False, "pending"))
        self.assertEqual(result(self.worker.run(functions().task, 1)), 3)

    def test_equal_code_that_arrives_again_stops_again(self) -> None:
        self.worker.configure(2)
        for _ in range(3):
            results = self.worker.run(functions().task, 1)
            stop = self.worker.event("mantaStopped")
            self.worker.request("continue", threadId=stop["threadId"])
            self.assertEqual(result(results), 3)

    def test_release_resumes_only_the_sessions_own_stops_and_breakpoints(self) -> None:
        self.worker.configure(2)
        first = self.worker.run(functions().task, 1)
        held = self.worker.event("mantaStopped")
        self.worker.configure(3, session="s2")
        second = self.worker.run(functions().task, 2)
        other = self.worker.event("mantaStopped")
        self.assertEqual(other["hitBreakpointIds"], [103])
        self.worker.request("mantaRelease", sessionId="s1")
        self.assertEqual(self.worker.event("mantaContinued")["threadId"], held["threadId"])
        stop = self.worker.event("mantaStopped", lambda body: body["threadId"] == held["threadId"])
        self.assertEqual(stop["hitBreakpointIds"], [103])
        self.worker.request("mantaRelease", sessionId="s2")
        self.assertEqual((result(first), result(second)), (3, 5))

    def test_an_error_of_a_task_stops_before_the_worker_sees_it(self) -> None:
        self.worker.configure(exceptionFilters=["userUncaught", "uncaught"])
        results = self.worker.run(_as_library(functions().fails))
        stop = self.worker.event("mantaStopped")
        self.assertEqual((stop["reason"], stop["topFrame"]["line"]), ("exception", 7))
        self.worker.request("continue", threadId=stop["threadId"])
        self.assertIsInstance(result(results), OSError)

    def test_nothing_of_the_engine_is_left_after_release(self) -> None:
        hook = sys.breakpointhook
        self.worker.configure(2, exceptionFilters=["raised"])
        self.assertNotEqual(sys.breakpointhook, hook)
        task = functions().task
        results = self.worker.run(task, 1)
        stop = self.worker.event("mantaStopped")
        self.worker.request("next", threadId=stop["threadId"])
        self.worker.event("mantaStopped")
        self.worker.request("mantaRelease", sessionId="s1")
        self.assertEqual(result(results), 3)
        self.assertIs(sys.breakpointhook, hook)
        if sys.version_info >= (3, 12):
            tools = [sys.monitoring.get_tool(i) for i in range(6)]
            self.assertFalse([t for t in tools if t is not None and t.startswith("manta")])
            for tool in range(6):
                if sys.monitoring.get_tool(tool) is None:
                    sys.monitoring.use_tool_id(tool, "test")
                    events = sys.monitoring.get_events(tool) | sys.monitoring.get_local_events(
                        tool, task.__code__
                    )
                    sys.monitoring.free_tool_id(tool)
                    self.assertEqual(events, 0)
        else:
            traced: queue.SimpleQueue[Any] = self.worker.run(sys.gettrace)
            self.assertIsNone(result(traced))
        self.worker.configure(2)
        results = self.worker.run(task, 1)
        stop = self.worker.event("mantaStopped")
        self.worker.request("continue", threadId=stop["threadId"])
        self.assertEqual(result(results), 3)

    def test_breakpoints_of_a_new_generation_reach_code_that_ran_before(self) -> None:
        task = functions().task
        self.worker.configure(3)
        results = self.worker.run(task, 1)
        stop = self.worker.event("mantaStopped")
        self.worker.configure(2, 3)
        self.worker.request("continue", threadId=stop["threadId"])
        self.assertEqual(result(results), 3)
        results = self.worker.run(task, 1)
        for line in (2, 3):
            stop = self.worker.event("mantaStopped")
            self.assertEqual(stop["topFrame"]["line"], line)
            self.worker.request("continue", threadId=stop["threadId"])
        self.assertEqual(result(results), 3)
        self.worker.configure()
        self.assertEqual(result(self.worker.run(task, 1)), 3)

    def test_no_breakpoint_is_missed_while_others_run_the_same_file_and_the_set_changes(self) -> None:
        old = functions()
        over = threading.Event()

        def spin() -> int:
            turns = 0
            while not over.is_set():
                old.later()
                turns += 1
            return turns

        spinning = [self.worker.run(spin)]
        for turn in range(18):
            line = 2 + turn % 2
            self.worker.configure()
            self.worker.configure(line)
            task = functions().task if turn % 3 else old.task
            results = [self.worker.run(task, number) for number in (1, 2, 3)]
            stops = [self.worker.event("mantaStopped") for _ in results]
            self.assertEqual([s["topFrame"]["line"] for s in stops], [line] * 3)
            for stop in stops:
                self.worker.request("continue", threadId=stop["threadId"])
            self.assertEqual([result(r) for r in results], [3, 5, 7])
        over.set()
        self.assertTrue(all(result(r) > 0 for r in spinning))

    def test_a_request_that_is_unknown_or_malformed_is_refused_and_the_engine_lives(self) -> None:
        for command, arguments, cause in (
            ("fly", {}, "does not know"),
            ("stackTrace", {}, "could not be understood"),
            ("stackTrace", {"threadId": 99}, "not stopped"),
            ("variables", {"variablesReference": 12345}, "gone on"),
            ("evaluate", {"expression": "1"}, "frame"),
        ):
            with self.subTest(command), self.assertRaisesRegex(Refused, cause):
                self.worker.finish(self.worker.start(command, arguments))
        self.worker.inbox.put(b"no json")
        self.assertIn("JSON", self.worker.event("output")["output"])
        self.assertEqual(self.worker.configure(), [])


def _as_library(function: Callable[[], Any]) -> Callable[[], Any]:
    """Calls a function from code that counts as a library's."""
    namespace: dict[str, Any] = {"function": function}
    exec(compile("def call():\n    return function()\n", "/x/site-packages/library.py", "exec"), namespace)
    call: Callable[[], Any] = namespace["call"]
    return call


if __name__ == "__main__":
    unittest.main()
