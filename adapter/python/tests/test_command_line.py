"""The command line of the engine on its own: what is its own, what is the program's, and what it says when it cannot start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from .client import ROOT, SECONDS_MAX

PROGRAM = """\
import sys
print(__name__, *sys.argv[1:])
sys.exit(7)
"""


class CommandLineTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "program.py").write_text(PROGRAM)

    def run_engine(self, *arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "manta_debug", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        return done.returncode, done.stdout.strip(), done.stderr

    def test_what_follows_the_program_is_the_programs(self) -> None:
        for words in (["program.py"], ["-m", "program"], ["-mprogram"], ["--", "program.py"]):
            with self.subTest(words=words):
                code, printed, _ = self.run_engine(
                    "--no-wait", "--listen", "0", *words, "--listen", "x", "-m", "--help"
                )
                self.assertEqual((code, printed), (7, "__main__ --listen x -m --help"))

    def test_what_cannot_start_says_why_before_a_client_comes(self) -> None:
        for words, sentence in (
            ([], "name a script to run, a module with -m, or code with -c"),
            (["nowhere.py"], "there is no file or folder 'nowhere.py'"),
            (["-m", "nowhere.at_all"], "no module named 'nowhere.at_all' is found"),
            (["--listen", "here", "program.py"], "'here' is not an address like 127.0.0.1:5678"),
            (["--listen", "192.0.2.1:5678", "program.py"], "cannot listen on 192.0.2.1:5678"),
            (["--slow", "program.py"], "unrecognized arguments: --slow"),
        ):
            with self.subTest(words=words):
                code, printed, said = self.run_engine(*words)
                self.assertEqual((code, printed), (2, ""))
                self.assertIn(sentence, said)
                self.assertNotIn("Traceback", said)
