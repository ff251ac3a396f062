"""Random runs of the native engine alone: an agent and a program that it traces."""

import os
import socket
import subprocess
from pathlib import Path

from player import Terrain
from program import Program
from wire import Client, Refused, Wrong

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "adapter/native/tests/fixtures/src/bin/random.rs"
AGENT_SECONDS_MAX = 30


class Native:
    """The native engine."""

    name = "native"

    def __init__(self):
        self.manta = os.environ["MANTA_BIN"]
        self.file = Path(os.environ["MANTA_NATIVE_FIXTURES"]) / "random"
        self.terrain = Terrain(
            source=SOURCE,
            functions=["post", "ackermann", "generic", "risky", "mix", "run_task", "no_such_function"],
            conditions=[
                "seed % 2 == 0",
                "amount > 3",
                "n == 1",
                "index == 2",
                "ledger.balance > 10",
                "true",
                "1 / 0 == 1",
                "seed +",
            ],
            expressions=[
                "seed",
                "ledger",
                "ledger.names",
                "values[1]",
                "m + n",
                "index as u64 * 3",
                "ledger.entries.len()",
                "*7",
                "",
            ],
            filters=["panic", "signal"],
            messages=["seed={seed}", "{nothing} here", "balance {ledger.balance}"],
            is_native=True,
        )

    def start(self):
        """A fresh run, and how it looks undisturbed."""
        return NativeRun(self)


class NativeRun:
    """One program, and one agent after the other."""

    def __init__(self, engine):
        self.engine = engine
        self.program = Program([str(engine.file)])
        self.agent = None
        self.was_killed = False
        self.program.expect("ready")
        self.program.write(os.getpid())
        self.program.expect("allowed")

    def attach(self):
        """A client of a fresh agent."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = probe.getsockname()
        command = [self.engine.manta, "debug-agent", "--pid", str(self.program.child.pid)]
        self.agent = subprocess.Popen([*command, "--listen", f"{address[0]}:{address[1]}"])
        client = Client.connect(address)
        client.request("initialize", {"adapterID": "manta"})
        client.event("initialized")
        client.request("attach")
        return client

    def go(self):
        """Lets the program begin."""
        self.program.write("go")

    def leave(self, client, how):
        """Ends the debugging."""
        if how == "kill":
            self.agent.kill()
            self.was_killed = True
        elif how == "close":
            client.close()
        else:
            try:
                client.request("disconnect")
            except Refused as refusal:
                raise Wrong(f"disconnect was refused: {refusal}") from refusal
        try:
            code = self.agent.wait(AGENT_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            raise Wrong(f"the agent does not end after {how}") from error
        if how != "kill" and code != 0:
            raise Wrong(f"the agent ended with {code} after {how}")
        client.close()

    def finish(self):
        """The program is done, and nobody debugs it: nothing may be left in its code."""
        if self.was_killed:
            left = self._patches()
            if any(byte != 0xCC for _, byte in left):
                raise Wrong(f"code has changed: {left}")
            # The next agent takes out what a killed one has left and no thread has run into.
            self.leave(self.attach(), "disconnect")
        if left := self._patches():
            raise Wrong(f"{len(left)} bytes of code are not as in the file: {left[:5]}")
        self.program.write("end")
        self.program.ends_well()
        return self.program.lines

    def _patches(self):
        pid = self.program.child.pid
        whole = self.engine.file.read_bytes()
        left = []
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
            for line in maps:
                words = line.split()
                if len(words) < 6 or words[5] != str(self.engine.file.resolve()) or "x" not in words[1]:
                    continue
                start, end = (int(number, 16) for number in words[0].split("-"))
                memory.seek(start)
                there = memory.read(end - start)
                offset = int(words[2], 16)
                wanted = whole[offset : offset + len(there)]
                if there[: len(wanted)] != wanted:
                    left += [
                        (hex(start + at), there[at]) for at in range(len(wanted)) if there[at] != wanted[at]
                    ]
        return left

    def says(self):
        """Whether the program lives, and what it said, after something went wrong."""
        code = self.program.child.poll()
        if code is None:
            self.program.kill()
        said = list(iter(self.program.errors.get, None))
        return ["the program lived" if code is None else f"the program ended with {code}", *said[-20:]]

    def clean_up(self):
        """Leaves no process behind."""
        if self.agent and self.agent.poll() is None:
            self.agent.kill()
            self.agent.wait()
        self.program.kill()
