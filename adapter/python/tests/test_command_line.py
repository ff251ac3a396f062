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

    def test_an_exception_that_nobody_caught_ends_as_without_the_engine(self) -> None:
        programs = {
            "plain.py": "def f():\n    1 / 0\nf()\n",
            "hook.py": "import sys\nsys.excepthook = lambda *e: print('hooked', e[0].__name__, e[2].tb_frame.f_code.co_name)\n1 / 0\n",
            "bad_hook.py": "import sys\ndef hook(*e): raise ValueError('the hook')\nsys.excepthook = hook\n1 / 0\n",
            "leaving_hook.py": "import sys\nsys.excepthook = lambda *e: sys.exit(9)\n1 / 0\n",
            "interrupted.py": "raise KeyboardInterrupt('stop')\n",
        }
        for name, text in programs.items():
            with self.subTest(name):
                path = self.folder / name
                path.write_text(text)
                alone = subprocess.run(
                    [sys.executable, str(path)],
                    capture_output=True,
                    text=True,
                    timeout=SECONDS_MAX,
                    check=False,
                )
                code, printed, said = self.run_engine("--no-wait", "--listen", "0", str(path))
                expected = alone.returncode if alone.returncode >= 0 else 128 - alone.returncode
                self.assertEqual((code, printed), (expected, alone.stdout.strip()))
                if name != "bad_hook.py":
                    self.assertEqual(said.splitlines()[1:], alone.stderr.splitlines())
                else:
                    for sentence in (
                        "Error in sys.excepthook:",
                        "ValueError: the hook",
                        "Original exception was:",
                    ):
                        self.assertIn(sentence, said)

    def test_an_archive_is_run_as_the_interpreter_does(self) -> None:
        import zipfile

        text = "import sys\nprint(__name__, __spec__.name, sys.path[0], sys.modules['__main__'].__dict__ is globals())\n"
        archive = self.folder / "application.pyz"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("__main__.py", text)
        package = self.folder / "application"
        package.mkdir()
        (package / "__main__.py").write_text(text)
        for target in (archive, package):
            with self.subTest(target.name):
                alone = subprocess.run(
                    [sys.executable, str(target)],
                    capture_output=True,
                    text=True,
                    timeout=SECONDS_MAX,
                    check=True,
                )
                code, printed, _ = self.run_engine("--no-wait", "--listen", "0", str(target))
                self.assertEqual((code, printed), (0, alone.stdout.strip()))

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
