"""Random runs through a whole cluster: `manta dap`, and a job of Rust or Python tasks."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from player import Terrain
from program import Program
from wire import SECONDS_MAX, Client, Gone, Refused, Wrong

ROOT = Path(__file__).resolve().parents[2]
RUST = ROOT / "tests/fixtures/src/bin/forty_tasks.rs"
PYTHON = ROOT / "tests/fixtures/python/forty_tasks.py"


class Cluster:
    """A private cluster."""

    def __init__(self):
        self.home = tempfile.TemporaryDirectory(prefix="manta-random-")
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("MANTA_")
        }
        self.environment |= {"MANTA_HOME": self.home.name, "MANTA_BIN": os.environ["MANTA_BIN"]}
        command = [
            os.environ["MANTA_BIN"],
            "local",
            "--nodes",
            "2",
            "--num-cpus",
            "2",
            "--lifeline-stdin",
            "--json",
        ]
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
        )
        line = self.child.stdout.readline()
        if not line:
            raise Wrong("the cluster does not start")
        ready = json.loads(line)
        self.address, self.token = ready["address"], ready["token"]
        self.environment |= {"MANTA_ADDRESS": self.address, "MANTA_TOKEN": self.token}

    def agents(self):
        """The debug agents that belong to it."""
        children = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # It has ended.
            children.setdefault(parent, []).append((int(entry.name), command))
        found, family = [], [self.child.pid]
        while family:
            for pid, command in children.get(family.pop(), []):
                family.append(pid)
                if b"debug-agent" in command:
                    found.append(pid)
        return found

    def stop(self):
        """Ends it."""
        self.child.stdin.close()
        try:
            self.child.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.home.cleanup()


class Clusters:
    """As many as there are runs at once: a cluster has one session at a time."""

    def __init__(self, count):
        self._count = count
        self._clusters = []
        self.free = queue.SimpleQueue()

    def __enter__(self):
        return self

    def engine(self):
        """Starts them."""
        for _ in range(self._count):
            cluster = Cluster()
            self._clusters.append(cluster)
            self.free.put(cluster)
        return Through(self)

    def __exit__(self, *_):
        for cluster in self._clusters:
            cluster.stop()


class Through:
    """Both engines, through a cluster."""

    name = "cluster"

    def __init__(self, clusters):
        self.clusters = clusters
        self.terrain = Terrain(
            source=RUST,
            functions=["mark", "churn", "work", "no_such_function"],
            conditions=["number % 2 == 0", "number == 15", "value > 3", "1 / 0 == 1", "number +"],
            expressions=["number", "value % 7", "label", "len(label)", "1 / 0", ""],
            filters=["uncaught", "panic", "signal"],
            messages=["number={number}", "{nothing} here"],
            is_native=True,
            in_cluster=True,
        )

    def start(self):
        """A fresh job on a cluster that is free."""
        return ClusterRun(self, self.clusters.free.get(timeout=600))


class Jobs:
    """Both jobs as one program: it is done when both are."""

    def __init__(self, cluster):
        self._cluster = cluster
        self.lines = []
        self._running = []

    def begin(self):
        """Starts both."""
        fixtures = Path(os.environ["MANTA_BIN"]).parent
        python = os.environ.get("MANTA_TEST_PYTHON", sys.executable)
        environment = dict(self._cluster.environment)
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        for command in ([str(fixtures / "forty_tasks")], [python, str(PYTHON)]):
            self._running.append(Program(command, environment))

    def is_done(self, seconds=0.0):
        """Have both printed their results?"""
        for job in self._running:
            if not job.lines and job.line(seconds) is None:
                return False
        return bool(self._running)

    def ends_well(self):
        """Waits for both."""
        for job in self._running:
            job.ends_well()
        return [line for job in self._running for line in job.lines]

    def kill(self):
        """Ends both."""
        for job in self._running:
            job.kill()


class ClusterRun:
    """Two jobs, and one session after the other."""

    def __init__(self, engine, cluster):
        self.engine = engine
        self.cluster = cluster
        self.program = Jobs(cluster)
        self.adapter = None
        self._attach = None

    def attach(self):
        """A session. The one before it may not be over yet for the head."""
        self.adapter = subprocess.Popen(
            [os.environ["MANTA_BIN"], "dap"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.cluster.environment,
        )
        client = Client.of_child(self.adapter)
        client.request("initialize", {"adapterID": "manta", "supportsVariablePaging": True})
        arguments = {"address": self.cluster.address, "token": self.cluster.token, "graceSeconds": 0.3}
        self._attach = client.send("attach", arguments)
        client.event("initialized")
        return client

    def go(self):
        """Lets the jobs begin."""
        self.program.begin()

    def leave(self, client, how):
        """Ends the session, or kills what is in its way."""
        if how == "kill":
            for agent in self.cluster.agents():
                with contextlib.suppress(ProcessLookupError):  # It was about to end.
                    os.kill(agent, signal.SIGKILL)
            self.adapter.kill()
        elif how == "close":
            client.close()
        else:
            try:
                client.request("disconnect", {"terminateDebuggee": False})
            except (Refused, Gone) as error:
                raise Wrong(f"disconnect failed: {error}") from error
        try:
            self.adapter.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            raise Wrong(f"the adapter does not end after {how}") from error
        client.close()

    def finish(self):
        """Both jobs are done."""
        return self.program.ends_well()

    def clean_up(self):
        """Leaves no process behind, and gives the cluster back."""
        if self.adapter and self.adapter.poll() is None:
            self.adapter.kill()
            self.adapter.wait()
        self.program.kill()
        self.engine.clusters.free.put(self.cluster)
