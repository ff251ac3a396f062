"""Random runs of the Python engine alone: a script that it runs."""

import os
import queue
import signal
import sys
import time
from pathlib import Path

from player import Terrain
from program import Program
from wire import SECONDS_MAX, Client, Refused, Wrong

ROOT = Path(__file__).resolve().parents[2]
RELEASE_SECONDS_MAX = 10
SOURCE = Path(__file__).resolve().parent / "programs" / "mixed.py"


class Python:
    """The Python engine."""

    name = "python"

    def __init__(self):
        self.python = os.environ.get("MANTA_TEST_PYTHON", sys.executable)
        self.terrain = Terrain(
            source=SOURCE,
            functions=["accounts", "ackermann", "risky", "squares", "child", "wrapper", "no_such_function"],
            conditions=[
                "seed % 2 == 0",
                "amount > 3",
                "n == 1",
                "self.balance > 10",
                "True",
                "1 / 0",
                "seed +",
                "len(made) > 0",
            ],
            expressions=[
                "seed",
                "ledger",
                "self.names",
                "values[1]",
                "m + n",
                "self.last",
                "[x for x in range(3)]",
                "1 / 0",
                "",
            ],
            filters=["raised", "uncaught", "userUncaught"],
            messages=["seed={seed}", "{nothing} here", "balance {self.balance}"],
        )

    def start(self):
        """A fresh run."""
        return PythonRun(self)


class PythonRun:
    """One program, whose engine lives in it."""

    def __init__(self, engine):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "adapter/python"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONFAULTHANDLER": "1",
        }
        command = [engine.python, "-m", "manta_debug", "--listen", "127.0.0.1:0", str(SOURCE)]
        self.program = Program(command, environment)
        self.address = self._address()

    def _address(self):
        said = []
        while True:
            try:
                line = self.program.errors.get(timeout=SECONDS_MAX)
            except queue.Empty as error:
                raise Wrong(f"the engine does not listen: {said}") from error
            if line is None:
                raise Wrong(f"the engine has ended: {said}")
            said.append(line)
            if "listening on" in line:
                host, port = line.rsplit(" ", 1)[1].rsplit(":", 1)
                return host, int(port)

    def attach(self):
        """A client."""
        client = Client.connect(self.address)
        client.request("initialize", {"adapterID": "manta"})
        attach = client.send("attach")
        client.event("initialized")
        self._attach = attach
        return client

    def go(self):
        """The program begins when its client is configured."""

    def leave(self, client, how):
        """Ends the debugging. The engine cannot be killed without its program, so a kill is the client's."""
        self.said_goodbye = how == "disconnect"
        if self.said_goodbye:
            try:
                client.request("disconnect", {"terminateDebuggee": False})
            except Refused as refusal:
                raise Wrong(f"disconnect was refused: {refusal}") from refusal
        client.close()

    def finish(self):
        """The program is done, and nobody debugs it: the interpreter has nothing of the engine's."""
        until = time.monotonic() + RELEASE_SECONDS_MAX
        while True:
            self.program.write("look")
            line = self.program.line()
            if line == "left: []":
                break
            # Who says goodbye is answered when all is taken out; who just goes is missed a little later.
            if self.said_goodbye or time.monotonic() > until:
                raise Wrong(f"something was left behind: {line}")
        self.program.write("end")
        self.program.ends_well()
        return [line for line in self.program.lines if not line.startswith("left: ")]

    def says(self):
        """Where its threads are, after something went wrong."""
        if self.program.child.poll() is None:
            self.program.child.send_signal(signal.SIGABRT)
            self.program.child.wait()
        return list(iter(self.program.errors.get, None))

    def clean_up(self):
        """Leaves no process behind."""
        self.program.kill()
