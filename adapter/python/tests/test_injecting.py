"""A process that runs already is debugged by its id."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from typing import Any

from .client import PROGRAMS, SECONDS_MAX, Refused, line_of
from .test_launching import ENVIRONMENT, Launcher

RUNS = PROGRAMS / "runs_already.py"
_HAS_PTRACE = sys.platform == "linux" and os.uname().machine == "x86_64"


def _inject(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "manta_debug", *words]
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )


@unittest.skipUnless(_HAS_PTRACE, "only Linux on x86-64 has it")
class InjectingTest(unittest.TestCase):
    def running(self, how: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        program = subprocess.Popen([sys.executable, str(RUNS), how], stdout=pipe, stderr=pipe, text=True)
        self.addCleanup(program.communicate)
        self.addCleanup(program.kill)
        assert program.stdout is not None
        self.assertEqual(program.stdout.readline(), "runs\n")
        return program

    def attached(self, **arguments: Any) -> Launcher:
        launcher = Launcher()
        self.addCleanup(launcher.close)
        launcher.launch(command="attach", **arguments)
        return launcher

    def end(self, launcher: Launcher, program: subprocess.Popen[str]) -> None:
        launcher.set_lines(RUNS, line_of("runs_already.py", "turns"))
        stop = launcher.stopped()
        self.assertEqual([f["name"] for f in launcher.stack(stop["threadId"])], ["main", "<module>"])
        launcher.evaluate(stop["threadId"], "sys.modules[__name__].is_over = True")
        launcher.set_lines(RUNS)
        launcher.request("continue", threadId=stop["threadId"])
        self.assertEqual(program.communicate(timeout=SECONDS_MAX), ("over\n", ""))
        self.assertEqual(program.returncode, 0)

    def test_an_adapter_attaches_by_the_id_and_comes_again(self) -> None:
        for how in ("asleep", "busy"):
            with self.subTest(how):
                program = self.running(how)
                first = self.attached(processId=str(program.pid))
                first.set_lines(RUNS, line_of("runs_already.py", "reckoned"))
                stop = first.stopped()
                self.assertEqual(first.evaluate(stop["threadId"], "total")["result"], "249750.0")
                first.request("disconnect")
                self.assertIsNone(program.poll())
                self.end(self.attached(processId=program.pid), program)

    def test_the_command_line_says_where_it_listens_or_goes(self) -> None:
        program = self.running("asleep")
        done = _inject("--pid", str(program.pid), "--listen", "0")
        self.assertRegex(done.stderr, rf"^manta_debug: process {program.pid} listens on 127.0.0.1:\d+\n$")
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        port = int(done.stderr.rpartition(":")[2])
        self.end(self.attached(connect={"port": port}), program)

    def test_a_process_that_cannot_be_entered_is_refused_and_left_as_it_is(self) -> None:
        no_python = subprocess.Popen(["sleep", "60"])
        self.addCleanup(no_python.wait)
        self.addCleanup(no_python.kill)
        for words, sentence in (
            ((str(no_python.pid),), "it is no Python"),
            ((str(1 << 22),), "There is no process"),
            ((str(no_python.pid), "script.py"), "leave the program out"),
        ):
            with self.subTest(sentence):
                done = _inject("--pid", *words)
                self.assertEqual(done.returncode, 2)
                self.assertIn(sentence, done.stderr)
        self.assertIsNone(no_python.poll())
        with self.assertRaisesRegex(Refused, "it is no Python"):
            launcher = Launcher()
            self.addCleanup(launcher.close)
            launcher.request("attach", processId=no_python.pid)


if __name__ == "__main__":
    unittest.main()
