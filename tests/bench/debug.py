"""Measures how fast tasks stop, step and show themselves. Its last line is a JSON list of figures.

Manta is measured through the whole way: client, adapter, head, node, worker and back. A peer is measured on the same loop in a
process of this machine that it debugs directly. All times are from the request's first byte to the last byte of the event or answer
that the client waits for: the client's own work is no part of them.

Usage: python debug.py manta|debugpy|lldb-dap [--rounds COUNT]
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import dap_client

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures"
PYTHON_LOOP = FIXTURES / "python" / "bench_loop.py"
RUST_LOOP = FIXTURES / "src" / "bin" / "bench_loop.rs"
REPEATS = 40


def marked_line(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith("stop here"))


class Measuring:
    """One adapter with a loop paused at its marked line."""

    def __init__(self, client, source, rounds):
        self.client = client
        self.source = source
        self.rounds = rounds
        self.figures = {}

    def set_breakpoint(self, lines):
        self.client.request(
            "setBreakpoints",
            {
                "source": {"path": str(self.source), "name": self.source.name},
                "breakpoints": [{"line": line} for line in lines],
            },
        )

    def add(self, measure, milliseconds):
        self.figures.setdefault(measure, []).append(milliseconds)

    def stopped(self):
        return self.client.event("stopped")["threadId"]

    def go(self, command, thread):
        """Resumes the thread, and waits for its next stop."""

        seq = self.client.send(command, {"threadId": thread})
        stopped = self.stopped()
        took = self.client.elapsed_ms()
        self.client.answer(seq)
        return stopped, took

    def look(self, thread):
        stack = self.client.request("stackTrace", {"threadId": thread, "startFrame": 0, "levels": 20})
        self.add("stack", self.client.elapsed_ms())
        scopes = self.client.request("scopes", {"frameId": stack["stackFrames"][0]["id"]})["scopes"]
        took = self.client.elapsed_ms()
        reference = scopes[0]["variablesReference"]
        found = self.client.request("variables", {"variablesReference": reference})["variables"]
        if not found:
            raise SystemExit("the paused loop shows no variables")
        self.add("variables", took + self.client.elapsed_ms())

    def measure(self):
        thread = self.stopped()
        for round_number in range(self.rounds * REPEATS + 1):
            _, took = self.go("continue", thread)
            if round_number:
                self.add("continue", took)
                self.look(thread)
        self.set_breakpoint([])
        for round_number in range(self.rounds * REPEATS + 1):
            _, took = self.go("next", thread)
            if round_number:
                self.add("next", took)
        return {measure: statistics.median(values) for measure, values in self.figures.items()}


def handshake(client, request, arguments, source):
    client.request("initialize", {"adapterID": "bench", "linesStartAt1": True, "columnsStartAt1": True})
    seq = client.send(request, arguments)
    client.event("initialized")
    measuring = Measuring(client, source, 0)
    measuring.set_breakpoint([marked_line(source)])
    client.request("configurationDone")
    return seq


class Cluster:
    """A private cluster of one node, and an adapter that listens."""

    def __init__(self):
        self.manta = os.environ["MANTA_BIN"]
        self.home = tempfile.TemporaryDirectory(prefix="manta-bench-")
        self.environment = dict(os.environ, MANTA_HOME=self.home.name)
        for name in ("MANTA_ADDRESS", "MANTA_TOKEN"):
            self.environment.pop(name, None)
        command = [self.manta, "local", "--nodes", "1", "--num-cpus", "2", "--lifeline-stdin", "--json"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment, text=True
        )
        ready = json.loads(self.process.stdout.readline())
        self.address, self.token = ready["address"], ready["token"]
        self.environment.update(MANTA_ADDRESS=self.address, MANTA_TOKEN=self.token)
        self.children = []

    def adapter(self):
        command = [self.manta, "dap", "--listen", "127.0.0.1:0"]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environment, text=True
        )
        self.children.append(child)
        for line in child.stdout:
            if "127.0.0.1:" in line:
                address = line[line.index("127.0.0.1:") :].split()[0].rstrip(".,;)")
                return dap_client.DapClient.connect(address)
        raise SystemExit("manta dap did not say where it listens")

    def run(self, command):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=self.environment)
        self.children.append(child)

    def close(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.home.cleanup()


def manta(rounds):
    rust_program = str(pathlib.Path(os.environ["MANTA_FIXTURES"]) / "bench_loop")
    figures = {}
    for kind, source, command in (
        ("python", PYTHON_LOOP, [sys.executable, str(PYTHON_LOOP)]),
        ("native", RUST_LOOP, [rust_program]),
    ):
        cluster = Cluster()
        try:
            client = cluster.adapter()
            attach = handshake(client, "attach", {"address": cluster.address, "token": cluster.token}, source)
            client.answer(attach)
            cluster.run(command)
            for measure, value in Measuring(client, source, rounds).measure().items():
                figures[f"debug.cluster.{kind}.{measure}"] = value
            client.close()
        finally:
            cluster.close()
    return figures


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def attach_when_ready(process, address, deadline_seconds=30):
    """debugpy does not say when it listens, and sends away who comes before it has met its program: tried until it holds."""
    deadline = time.monotonic() + deadline_seconds
    while True:
        try:
            client = dap_client.DapClient.connect(address)
            handshake(client, "attach", {"justMyCode": True}, PYTHON_LOOP)
            return client
        except ConnectionError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise


def debugpy(rounds):
    address = f"127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-m",
        "debugpy",
        "--listen",
        address,
        "--wait-for-client",
        str(PYTHON_LOOP),
        "--plain",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        client = attach_when_ready(process, address)
        figures = Measuring(client, PYTHON_LOOP, rounds).measure()
        client.close()
    finally:
        process.kill()
        process.wait()
    return {f"debug.cluster.python.{measure}": value for measure, value in figures.items()}


def lldb_program():
    names = ["lldb-dap", "lldb-vscode"]
    names += [f"{name}-{version}" for version in range(25, 10, -1) for name in names]
    program = next((path for path in map(shutil.which, names) if path), None)
    if not program:
        raise SystemExit(
            "lldb-dap is not installed (the Debian package lldb has it as lldb-vscode or lldb-dap)"
        )
    return program


def lldb_dap(rounds):
    client = dap_client.DapClient.start([lldb_program()])
    loop = str(pathlib.Path(os.environ["MANTA_FIXTURES"]) / "bench_loop")
    handshake(client, "launch", {"program": loop, "args": ["--plain"]}, RUST_LOOP)
    figures = Measuring(client, RUST_LOOP, rounds).measure()
    client.close()
    return {f"debug.cluster.native.{measure}": value for measure, value in figures.items()}


def main():
    systems = {"manta": manta, "debugpy": debugpy, "lldb-dap": lldb_dap}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=systems)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    figures = systems[arguments.system](arguments.rounds)
    print(
        json.dumps([{"measure": measure, "unit": "ms", "value": value} for measure, value in figures.items()])
    )


if __name__ == "__main__":
    main()
