"""What the tests share: a private cluster a module, scripts run as programs of their own, and gates that hold tasks without sleeping."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import pytest

import manta

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT_SECONDS_MAX = 60.0

os.environ.setdefault("MANTA_BIN", str(REPOSITORY / "target" / "debug" / "manta"))
# Tests of what no node can run need not wait as long as users do.
os.environ["MANTA_INFEASIBLE_TIMEOUT"] = "0.5"
for inherited in ("MANTA_ADDRESS", "MANTA_TOKEN"):
    os.environ.pop(inherited, None)


@pytest.fixture(scope="session", autouse=True)
def manta_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the tests away from the user's own token and clusters."""
    home = tmp_path_factory.mktemp("manta-home")
    os.environ["MANTA_HOME"] = str(home)
    return home


@pytest.fixture(scope="module")
def ray() -> Iterator[object]:
    """The API, connected to a private cluster of two CPUs."""
    manta.init(num_cpus=2)
    yield manta
    manta.shutdown()


class Gate:
    """Holds tasks until it is opened: they wait for a shared lock on a file that the test has locked."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._file = open(path, "w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __reduce__(self) -> tuple[object, ...]:
        return _Waiting, (self.path,)

    def open(self) -> None:
        """Lets all tasks pass."""
        self._file.close()


class _Waiting:
    """The gate as a task has it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return _Waiting, (self.path,)

    def wait(self) -> None:
        """Returns when the gate is open."""
        with open(self.path) as file:
            fcntl.flock(file, fcntl.LOCK_SH)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A closed gate, opened at the latest when the test ends."""
    made = Gate(tmp_path / "gate")
    yield made
    made.open()


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_script(tmp_path: Path) -> Run:
    """Runs text as a program of its own, in a folder of its own."""

    def run(
        text: str, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "program.py"
        script.write_text(textwrap.dedent(text))
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            capture_output=True,
            text=True,
            timeout=SCRIPT_SECONDS_MAX,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
        )

    return run


class Script(subprocess.Popen[str]):
    """A program that a failing test does not wait for."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.kill()
        super().__exit__(kind, error, traceback)


def start_script(text: str, folder: Path, *arguments: str, **environment: str) -> Script:
    """Starts text as a program, with its stdin and stdout open; as a context manager, it waits for its end."""
    script = folder / "program.py"
    script.write_text(textwrap.dedent(text))
    return Script(
        [sys.executable, str(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
    )


class LocalCluster:
    """A cluster of several nodes on this machine, which ends with this object."""

    def __init__(self, nodes: int, num_cpus: int) -> None:
        command = [
            os.environ["MANTA_BIN"],
            "local",
            "--nodes",
            str(nodes),
            "--num-cpus",
            str(num_cpus),
            "--lifeline-stdin",
            "--json",
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"'manta local' ended with {self._process.wait()}"
        started = json.loads(line)
        self.address = started["address"]
        self.token = started["token"]

    def close(self) -> None:
        """Ends the cluster."""
        self._process.communicate(timeout=SCRIPT_SECONDS_MAX)


@pytest.fixture
def two_nodes() -> Iterator[LocalCluster]:
    """Two nodes with one CPU each."""
    cluster = LocalCluster(nodes=2, num_cpus=1)
    yield cluster
    cluster.close()


def descendants(pid: int) -> dict[int, int]:
    """The processes that `pid` started, directly or not: their ids, each with a descriptor that tells of its end."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # It ended meanwhile.
    found: dict[int, int] = {}
    generation = [pid]
    while generation:
        generation = [child for child, parent in parents.items() if parent in generation]
        found.update((child, os.pidfd_open(child)) for child in generation)
    return found


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Waits for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        os.sched_yield()
