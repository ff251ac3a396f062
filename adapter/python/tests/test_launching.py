"""The adapter: a client launches a program by it, or attaches to one, and nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from .client import PROGRAMS, ROOT, SECONDS_MAX, Client, Message, Refused, line_of

from manta_debug.framing import read_message, write_message  # isort: skip

LAUNCHED = PROGRAMS / "launched.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


class Launcher(Client):
    """A client of an adapter, on the adapter's standard streams or at its port."""

    def __init__(self, *, port: bool = False, **said: Any) -> None:
        command = [sys.executable, "-m", "manta_debug", "--adapter", *(["--listen", "0"] if port else [])]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, stderr=pipe)
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self._heard = 0
        self.terminals: list[subprocess.Popen[bytes]] = []
        self._writer: Any = self.process.stdin
        stream: BinaryIO = self.process.stdout  # type: ignore[assignment]
        if port:
            match = re.search(rb"listening on (\S+):(\d+)", self.process.stderr.readline())
            assert match is not None
            connection = socket.create_connection((match[1], int(match[2])), timeout=SECONDS_MAX)
            connection.settimeout(None)
            self._writer, stream = connection.makefile("wb"), connection.makefile("rb")  # type: ignore[assignment]
            connection.close()
        super().__init__(self._write)
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()
        self.request("initialize", adapterID="manta", linesStartAt1=True, **said)

    def _write(self, message: Message) -> None:
        self._writer.write(write_message(message))
        self._writer.flush()

    def _read(self, stream: BinaryIO) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (message := read_message(stream)) is not None:
                self.receive(message)

    def launch(self, *lines: int, command: str = "launch", file: Path = LAUNCHED, **arguments: Any) -> None:
        """Launches with breakpoints at these lines, and lets the program run."""
        asked = self.start(command, arguments)
        self.event("initialized")
        if lines:
            [*states] = self.set_lines(file, *lines)
            assert all(state["verified"] for state in states)
        self.request("configurationDone")
        self.finish(asked)

    def said(self) -> Message:
        """The next that the program says of itself."""
        while len(lines := [t for t in self.printed().splitlines(True) if t.startswith("{")]) <= self._heard:
            self.event("output")
        while not lines[self._heard].endswith("\n"):
            self.event("output")
            lines = [t for t in self.printed().splitlines(True) if t.startswith("{")]
        said: Message = json.loads(lines[self._heard])
        self._heard += 1
        return said

    def ended(self) -> int | None:
        """The program's end, by its exit code if that is known."""
        self.event("terminated")
        return self.event("exited")["exitCode"] if self.has_event("exited") else None

    def printed(self) -> str:
        """All that the program has printed."""
        return "".join(m["body"]["output"] for m in self.all if m.get("event") == "output")

    def close(self) -> None:
        """Lets go of the adapter, which ends by that."""
        with contextlib.suppress(OSError, ValueError):
            self._writer.close()
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        if self.process.poll() is None and self._writer is not self.process.stdin:
            self.process.terminate()
        self.process.wait(SECONDS_MAX)
        for terminal in self.terminals:
            terminal.communicate(timeout=SECONDS_MAX)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def gone(pid: int) -> bool:
    """Waits for the end of a process that is nobody's here."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    import select

    try:
        return bool(select.select([descriptor], [], [], SECONDS_MAX)[0])
    finally:
        os.close(descriptor)


class LaunchingTest(unittest.TestCase):
    def launcher(self, **more: Any) -> Launcher:
        launcher = Launcher(**more)
        self.addCleanup(launcher.close)
        return launcher

    def test_a_program_is_started_as_it_is_named(self) -> None:
        folder = str(PROGRAMS)
        with tempfile.TemporaryDirectory() as other:
            for named, name, place in (
                ({"program": str(LAUNCHED)}, "__main__", folder),
                ({"program": "launched.py", "cwd": folder}, "__main__", folder),
                ({"module": "launched", "cwd": folder}, "__main__", folder),
                ({"program": str(LAUNCHED), "cwd": other}, "__main__", os.path.realpath(other)),
                (
                    {
                        "code": ["import sys", f"sys.path.insert(0, {folder!r})", "import launched"],
                        "cwd": folder,
                    },
                    "launched",
                    folder,
                ),
            ):
                with self.subTest(named):
                    launcher = self.launcher()
                    more = {"env": {"MARK": "ö", "HOME": None}, "python": [sys.executable, "-X", "utf8"]}
                    launcher.launch(
                        line_of("launched.py", "says"), args=["a b", "--listen", "x"], **named, **more
                    )
                    stop = launcher.stopped()
                    self.assertEqual(stop["top"]["name"], "say")
                    launcher.set_lines(LAUNCHED)
                    launcher.request("continue", threadId=stop["threadId"])
                    words = ["a b", "--listen", "x"]
                    expected = {"words": words, "folder": place, "mark": "ö", "home": None, "name": name}
                    self.assertEqual(launcher.said(), expected)
                    self.assertEqual((found := launcher.said()["started"])[:2], ["-X", "utf8"])
                    target = [str(LAUNCHED)] if "program" in named else found[2:4]
                    self.assertEqual(found[2:], [*target, *words])
                    self.assertIn(target[0], ("-m", "-c", str(LAUNCHED)))
                    self.assertEqual(launcher.ended(), 7)
                    launcher.request("disconnect")
                    self.assertEqual(launcher.process.wait(SECONDS_MAX), 0)

    def test_what_the_program_and_others_print_is_all_told_once(self) -> None:
        launcher = self.launcher(port=True)
        launcher.launch(program=str(LAUNCHED), args=["writes"], redirectOutput=True)
        self.assertEqual(launcher.ended(), 7)
        lines = launcher.printed().splitlines()[2:]
        self.assertEqual(lines, ["from below", "from a child", "no line's end"])

    def test_a_program_ends_with_its_client_and_leaves_nothing(self) -> None:
        def disconnects(launcher: Launcher) -> None:
            launcher.request("disconnect")

        def terminates(launcher: Launcher) -> None:
            launcher.request("terminate")
            launcher.event("terminated")

        def is_ended(launcher: Launcher) -> None:
            launcher.process.terminate()

        def is_killed(launcher: Launcher) -> None:
            launcher.process.kill()

        for how in (disconnects, terminates, Launcher.close, is_ended, is_killed):
            with self.subTest(how.__name__):
                launcher = self.launcher()
                launcher.launch(program=str(LAUNCHED), args=["leaves"])
                pid = launcher.event("process")["systemProcessId"]
                child = [launcher.said() for _ in range(3)][-1]["child"]
                how(launcher)
                self.assertTrue(gone(pid))
                self.assertTrue(gone(child))
        launcher = self.launcher()
        launcher.launch(program=str(LAUNCHED), args=["ignores"])
        self.assertEqual([launcher.said() for _ in range(3)][-1], {"ready": True})
        is_killed(launcher)
        self.assertTrue(gone(launcher.event("process")["systemProcessId"]))

    def test_a_program_that_its_client_leaves_runs_on(self) -> None:
        launcher = self.launcher()
        launcher.launch(line_of("launched.py", "says"), program=str(LAUNCHED), args=["leaves"])
        launcher.stopped()
        pid = launcher.event("process")["systemProcessId"]
        launcher.request("disconnect", terminateDebuggee=False)
        os.kill(pid, 0)
        self.assertFalse(launcher.has_event("exited"))
        os.killpg(pid, signal.SIGTERM)
        self.assertTrue(gone(pid))
        self.assertEqual(launcher.process.wait(SECONDS_MAX), 0)

    def test_a_killed_program_says_by_what(self) -> None:
        launcher = self.launcher()
        launcher.launch(program=str(LAUNCHED), args=["kills"])
        self.assertEqual(launcher.ended(), 128 + signal.SIGKILL)

    def test_a_program_runs_undebugged_if_asked(self) -> None:
        launcher = self.launcher()
        launcher.request("launch", program=str(LAUNCHED), noDebug=True)
        self.assertEqual(launcher.said()["name"], "__main__")
        self.assertEqual(launcher.request("threads")["threads"], [])
        self.assertEqual(launcher.ended(), 7)
        self.assertFalse(launcher.has_event("initialized"))

    def test_a_program_runs_in_the_clients_terminal(self) -> None:
        launcher = self.launcher(supportsRunInTerminalRequest=True)
        asked = launcher.start(
            "launch",
            {"program": str(LAUNCHED), "console": "integratedTerminal", "env": {"MARK": "1", "HOME": None}},
        )
        wanted = launcher.reverse_request("runInTerminal")
        arguments = wanted["arguments"]
        self.assertEqual((arguments["kind"], arguments["cwd"]), ("integrated", str(PROGRAMS)))
        environment = {n: v for n, v in {**ENVIRONMENT, **arguments["env"]}.items() if v is not None}
        terminal = subprocess.Popen(
            arguments["args"], cwd=arguments["cwd"], env=environment, stdout=subprocess.PIPE
        )
        launcher.terminals.append(terminal)
        answer = {"type": "response", "seq": 900, "request_seq": wanted["seq"], "command": "runInTerminal"}
        launcher._write({**answer, "success": True, "body": {"processId": terminal.pid}})
        launcher.event("initialized")
        launcher.request("configurationDone")
        launcher.finish(asked)
        self.assertEqual(launcher.ended(), 7)
        assert terminal.stdout is not None
        self.assertEqual(json.loads(terminal.stdout.readline())["mark"], "1")
        self.assertFalse(launcher.has_event("output"))

    def test_what_cannot_be_launched_is_refused_with_the_reason(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            broken = Path(folder) / "python"
            broken.write_text("#!/bin/sh\necho this is no Python >&2\nexit 9\n")
            broken.chmod(0o755)
            for arguments, sentence in (
                ({}, "needs one of `program`, `module` and `code`"),
                ({"program": "/no/where.py"}, "There is no program '/no/where.py'"),
                ({"program": str(LAUNCHED), "module": "x"}, "needs one of"),
                ({"program": str(LAUNCHED), "python": "/no/python"}, "could not be started by '/no/python'"),
                (
                    {"program": str(LAUNCHED), "python": str(broken)},
                    "ended with exit code 9 before it could be debugged",
                ),
                ({"module": "no.where"}, "ended with exit code 2 before"),
                ({"program": str(LAUNCHED), "console": "window"}, "There is no `console` named 'window'"),
                (
                    {"program": str(LAUNCHED), "console": "externalTerminal"},
                    "cannot run a program in a terminal",
                ),
                ({"program": str(LAUNCHED), "args": 3}, "`args` is a list of texts"),
                ({"program": str(LAUNCHED), "env": {"A": []}}, "`env` is an object"),
                ({"program": str(LAUNCHED), "rules": [{"include": 3}]}, "Each of `rules` needs"),
            ):
                with self.subTest(arguments):
                    launcher = self.launcher()
                    with self.assertRaisesRegex(Refused, re.escape(sentence)):
                        launcher.request("launch", **arguments)

    def test_a_step_that_leaves_for_a_library_ends_in_what_that_calls_next(self) -> None:
        file = PROGRAMS / "called_back.py"
        launcher = self.launcher()
        markers = ("yields", "ends alone")
        launcher.launch(
            *(line_of(file.name, marker) for marker in markers),
            file=file,
            module="unittest",
            args=["called_back"],
            cwd=str(PROGRAMS),
        )
        stop = launcher.stopped()
        launcher.set_lines(file, line_of(file.name, "ends alone"))

        def steps_to(kind: str, marker: str) -> None:
            launcher.request(kind, threadId=stop["threadId"])
            found = launcher.stopped()
            self.assertEqual((found["reason"], found["top"]["line"]), ("step", line_of(file.name, marker)))

        for kind, marker in (
            ("next", "sets up"),
            ("next", "in one"),
            ("stepOut", "after it"),
            ("next", "sets up"),
            ("stepOut", "thread"),
        ):
            steps_to(kind, marker)
        # In a thread of its own nothing is called next: the step ends with the thread, and the program runs on.
        launcher.request("continue", threadId=stop["threadId"])
        stop = launcher.stopped()
        launcher.request("next", threadId=stop["threadId"])
        self.assertEqual(launcher.ended(), 1)

    def test_the_text_of_a_module_in_an_archive_comes_from_the_program(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            archive, module = (
                Path(folder) / "application.pyz",
                "def double(x):\n    y = x * 2\n    return y\n",
            )
            with zipfile.ZipFile(archive, "w") as file:
                file.writestr("__main__.py", "import inside\nprint(inside.double(3))\n")
                file.writestr("inside.py", module)
            launcher = self.launcher()
            asked = launcher.start("launch", {"program": str(archive)})
            launcher.event("initialized")
            [state] = launcher.set_lines(archive / "inside.py", 2)
            self.assertFalse(state["verified"])
            launcher.request("configurationDone")
            launcher.finish(asked)
            stop = launcher.stopped()
            for frame, text in zip(
                launcher.stack(stop["threadId"]),
                (module, "import inside\nprint(inside.double(3))\n"),
                strict=True,
            ):
                source = frame["source"]
                found = launcher.request("source", source=source, sourceReference=source["sourceReference"])
                self.assertEqual(found["content"], text)
            launcher.request("continue", threadId=stop["threadId"])
            self.assertEqual(launcher.ended(), 0)

    def test_a_fork_warns_of_the_programs_threads_alone(self) -> None:
        forks = "import os; pid = os.fork(); pid or os._exit(0); os.waitpid(pid, 0)"
        threaded = (
            f"import threading; threading.Thread(target=threading.Event().wait, daemon=True).start(); {forks}"
        )
        for code, warns in ((forks, False), (threaded, sys.version_info >= (3, 12))):
            with self.subTest(code):
                launcher = self.launcher()
                launcher.launch(code=code, pythonArgs=["-W", "always"])
                self.assertEqual(launcher.ended(), 0)
                self.assertEqual("multi-threaded" in launcher.printed(), warns, launcher.printed())

    def test_an_engine_that_does_not_speak_the_protocol_is_told_of(self) -> None:
        speaks = (
            "import json, os, socket, sys;"
            "host, port, token = os.environ['MANTA_DEBUG_JOIN'].rsplit(':', 2);"
            "there = socket.create_connection((host, int(port)));"
            "body = {'token': token, 'processId': os.getpid()};"
            "hello = json.dumps({'seq': 1, 'type': 'event', 'event': 'mantaJoin', 'body': body}).encode();"
            "there.sendall(b'Content-Length: %d\\r\\n\\r\\n' % len(hello) + hello);"
            "there.sendall(b'this is nothing\\r\\n\\r\\n');"
            "there.recv(1 << 20); there.close()"
        )
        launcher = self.launcher()
        launcher.start("launch", {"program": str(LAUNCHED), "python": [sys.executable, "-c", speaks]})
        launcher.event("output", lambda body: "cannot be understood: This is not the Debug" in body["output"])
        self.assertEqual(launcher.ended(), 0)

    def test_what_cannot_be_attached_to_is_refused_with_the_reason(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            free = taken.getsockname()[1]
        for arguments, sentence in (
            ({}, "needs `connect`"),
            ({"connect": {"port": free}}, f"Nothing could be reached at 127.0.0.1:{free}"),
            ({"processId": "this"}, "is the number of a process"),
            ({"processId": 1 << 22}, f"There is no process {1 << 22}"),
            ({"processId": 1, "connect": {"port": free}}, "one of `processId`, `connect` and `listen`"),
        ):
            with self.subTest(arguments):
                launcher = self.launcher()
                with self.assertRaisesRegex(Refused, re.escape(sentence)):
                    launcher.request("attach", **arguments)
                with self.assertRaisesRegex(Refused, "No program is debugged yet"):
                    launcher.request("evaluate", expression="1")

    def test_a_program_that_connects_is_awaited(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with self.assertRaisesRegex(Refused, "No program can be awaited at 127.0.0.1"):
                self.launcher().request("attach", listen={"host": "127.0.0.1", "port": port})
        with self.assertRaisesRegex(Refused, "`connect` or `listen`, not both"):
            self.launcher().request("attach", listen={"port": port}, connect={"port": port})
        command = [sys.executable, "-m", "manta_debug", "--connect", str(port), str(LAUNCHED)]
        alone = subprocess.run(
            command, env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
        self.assertEqual(alone.returncode, 2)
        self.assertIn(f"nobody waits for a program at 127.0.0.1:{port}", alone.stderr)
        launcher = self.launcher()
        asked = launcher.start("attach", {"listen": {"port": port}})
        self.assertIn(f"--connect 127.0.0.1:{port}", launcher.event("output")["output"])
        program = subprocess.Popen(
            command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.addCleanup(program.wait, SECONDS_MAX)
        self.addCleanup(program.kill)
        launcher.event("initialized")
        launcher.set_lines(LAUNCHED, line_of("launched.py", "says"))
        launcher.request("configurationDone")
        launcher.finish(asked)
        stop = launcher.stopped()
        self.assertEqual(stop["top"]["name"], "say")
        launcher.set_lines(LAUNCHED)
        launcher.request("continue", threadId=stop["threadId"])
        self.assertEqual(launcher.ended(), 7)
        self.assertEqual(program.wait(SECONDS_MAX), 7)

    def test_a_program_that_listens_is_attached_to_and_left(self) -> None:
        stays = subprocess.Popen(
            [sys.executable, "-m", "manta_debug", "--listen", "0", str(LAUNCHED), "leaves"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(stays.wait)
        self.addCleanup(stays.kill)
        assert stays.stdout is not None and stays.stderr is not None
        self.addCleanup(stays.stdout.close)
        self.addCleanup(stays.stderr.close)
        port = int(stays.stderr.readline().rpartition(":")[2])
        launcher = self.launcher()
        line = line_of("launched.py", "says")
        launcher.launch(line, command="attach", connect={"host": "127.0.0.1", "port": port})
        stop = launcher.stopped()
        other = self.launcher()
        with self.assertRaisesRegex(Refused, "Another client debugs this process"):
            other.request("attach", connect={"port": port})
        launcher.request("continue", threadId=stop["threadId"])
        launcher.event("output", lambda body: "words" in body["output"])
        stop = launcher.stopped()
        launcher.request("disconnect")
        child = json.loads([stays.stdout.readline() for _ in range(3)][-1])
        self.assertIsNone(stays.poll())
        os.kill(child["child"], signal.SIGKILL)


if __name__ == "__main__":
    unittest.main()
