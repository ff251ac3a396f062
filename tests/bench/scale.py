"""Measures what grows: idle memory, a million queued tasks, many nodes. Its last line is a JSON list of figures. Only Manta is measured.

Usage: python scale.py [--tasks COUNT] [--nodes COUNT,...]
MANTA_BIN names the program.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

MB = 1024 * 1024
CHUNK = 1000
ROUNDS = 5
MEMORY_POLL_SECONDS = 0.1
IDLE_SECONDS_MAX = 10.0
TASKS_PER_NODES = 4000


class Cluster:
    """A head and nodes as processes of their own, whose ids are known."""

    def __init__(self, nodes, num_cpus):
        self.home = tempfile.TemporaryDirectory()
        os.environ["MANTA_HOME"] = self.home.name
        for name in ("MANTA_ADDRESS", "MANTA_TOKEN"):
            os.environ.pop(name, None)
        self.manta("start", "--nodes", str(nodes), "--num-cpus", str(num_cpus), "--listen", "127.0.0.1:0")
        (started,) = Path(self.home.name, "clusters").iterdir()
        known = json.loads(started.read_text())
        self.pids = [process["pid"] for process in [known["head"], *known["nodes"]]]
        os.environ["MANTA_ADDRESS"] = known["address"]

    def manta(self, *arguments):
        subprocess.run([os.environ["MANTA_BIN"], *arguments], check=True, stdout=subprocess.DEVNULL)

    def members(self):
        """The resident bytes of the head and of each node."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids]
        return [count * os.sysconf("SC_PAGESIZE") for count in pages]

    def close(self):
        self.manta("stop", "--address", os.environ["MANTA_ADDRESS"])
        self.home.cleanup()


def nothing():
    return None


def idle_memory():
    """Resident megabytes of head and node together, once they no longer grow or shrink."""
    cluster = Cluster(1, 2)
    last, deadline = -1, time.monotonic() + IDLE_SECONDS_MAX
    while (memory := sum(cluster.members())) != last and time.monotonic() < deadline:
        last = memory
        time.sleep(MEMORY_POLL_SECONDS * 5)
    cluster.close()
    return memory / MB


def in_batches(api, task, count):
    """Tasks a second, submitted and awaited in batches."""
    start = time.perf_counter()
    for _ in range(count // CHUNK):
        api.get([task.remote() for _ in range(CHUNK)])
    return count / (time.perf_counter() - start)


def queued(count):
    """The rate at which `count` queued tasks are taken and drained, that of batches beside it, and the largest member's megabytes."""
    import manta

    cluster = Cluster(1, os.cpu_count() or 1)
    manta.init()
    task = manta.remote(nothing)
    in_batches(manta, task, 10 * CHUNK)
    batches = in_batches(manta, task, 50 * CHUNK)
    peak, over = [0], threading.Event()

    def watch():
        while not over.wait(MEMORY_POLL_SECONDS):
            peak[0] = max(peak[0], *cluster.members())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    refs = [task.remote() for _ in range(count)]
    for first in range(0, count, CHUNK):
        manta.get(refs[first : first + CHUNK])
    rate = count / (time.perf_counter() - start)
    over.set()
    watcher.join()
    manta.shutdown()
    cluster.close()
    return rate, batches, peak[0] / MB


def with_nodes(nodes):
    """Tasks a second with so many node processes on this machine, each with one CPU."""
    import manta

    cluster = Cluster(nodes, 1)
    manta.init()
    task = manta.remote(nothing)
    in_batches(manta, task, TASKS_PER_NODES)
    rates = [in_batches(manta, task, TASKS_PER_NODES) for _ in range(ROUNDS)]
    manta.shutdown()
    cluster.close()
    return statistics.median(rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--nodes", default="1,4,16,64", help="numbers of nodes, with commas between them")
    arguments = parser.parse_args()
    figures = [("memory.idle", "MB", idle_memory())]
    rate, batches, memory = queued(arguments.tasks)
    name = "1m" if arguments.tasks == 1_000_000 else str(arguments.tasks)
    figures.append((f"tasks.python.queued_{name}", "tasks/s", rate))
    figures.append((f"tasks.python.queued_{name}.of_batches", "x", rate / batches))
    figures.append((f"tasks.python.queued_{name}.memory", "MB", memory))
    for nodes in map(int, arguments.nodes.split(",")):
        figures.append((f"scale.nodes.{nodes}", "tasks/s", with_nodes(nodes)))
        print(figures[-1], file=sys.stderr)
    print(
        json.dumps([{"measure": measure, "unit": unit, "value": value} for measure, unit, value in figures])
    )


if __name__ == "__main__":
    main()
