"""The engine's own thread: nothing that a client asks or that a host does ends it."""

from __future__ import annotations

import queue
import unittest
from typing import Any

from .client import Refused

import manta_debug  # isort: skip
from .test_cluster import Worker, functions, result  # isort: skip
from manta_debug.engine import Engine  # isort: skip
from manta_debug.requests import Host  # isort: skip


class FailingHost(Host):
    """A host that cannot do what follows an answer."""

    def configuration_done(self, engine: Engine) -> None:
        raise OSError("the program cannot be started")


class EngineTest(unittest.TestCase):
    def test_what_fails_after_an_answer_is_told_and_the_engine_lives(self) -> None:
        sent: list[dict[str, Any]] = []
        engine = Engine(sent.append, host=FailingHost())
        engine.handle({"type": "request", "seq": 1, "command": "configurationDone"})
        engine.handle({"type": "request", "seq": 2, "command": "threads"})
        answer, told, threads = sent
        self.assertTrue(answer["success"])
        self.assertEqual((told["event"], told["body"]["category"]), ("output", "important"))
        self.assertIn("'configurationDone' failed in the debug engine: ", told["body"]["output"])
        self.assertIn("the program cannot be started", told["body"]["output"])
        self.assertEqual((threads["request_seq"], threads["success"]), (2, True))

    def test_json_that_is_no_message_is_passed_over(self) -> None:
        sent: list[dict[str, Any]] = []
        engine = Engine(sent.append)
        for message in ([1, 2], "text", None, {"type": "event"}):
            engine.handle(message)  # type: ignore[arg-type]
        self.assertEqual(sent, [])

    def test_an_expression_that_would_end_the_program_is_refused(self) -> None:
        worker = Worker()
        self.addCleanup(worker.end)
        worker.configure(2)
        results = worker.run(functions().task, 4)
        stop = worker.event("mantaStopped")
        frame = stop["topFrame"]["id"]
        interrupt = "(_ for _ in ()).throw(KeyboardInterrupt)"
        for expression, kind in (("exit()", "SystemExit"), (interrupt, "KeyboardInterrupt")):
            with self.assertRaisesRegex(Refused, kind):
                worker.request("evaluate", expression=expression, frameId=frame, context="repl")
        worker.request("continue", threadId=stop["threadId"])
        self.assertEqual(result(results), 9)

    def test_a_request_that_the_end_of_a_stop_has_lost_is_refused(self) -> None:
        worker = Worker()
        self.addCleanup(worker.end)
        worker.configure(2)
        results = worker.run(functions().task, 4)
        stop = worker.event("mantaStopped")
        engine = manta_debug._engine
        assert engine is not None
        held = engine.core.stops[stop["threadId"]]
        inbox = held.inbox

        class Losing(queue.SimpleQueue[Any]):
            """As the thread sees its queue when an exception from outside comes while it takes something out."""

            def get(self, block: bool = True, timeout: float | None = None) -> Any:
                super().get(block, timeout)
                raise OSError("from outside")

        held.inbox = Losing()
        inbox.put(lambda: None)  # From here on the thread looks into the other queue.
        with self.assertRaisesRegex(Refused, "gone on, by an exception from outside"):
            worker.request("stackTrace", threadId=stop["threadId"])
        worker.event("mantaContinued")
        self.assertIsInstance(result(results), OSError)


if __name__ == "__main__":
    unittest.main()
