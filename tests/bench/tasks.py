"""Measures how fast a system starts, and takes, runs and answers tasks. Its last line is a JSON list of figures.

Usage: python tasks.py manta|ray|multiprocessing [--rounds COUNT]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

CPUS = os.cpu_count() or 1
BATCH = 1000
ONE_BY_ONE = 300
FIRST_RESULTS = 3
# A batch takes some milliseconds, which whatever else the machine does can double.
ROUND_SECONDS_MIN = 0.1
ARRAY_BYTES = 100_000_000
SMALL_PUTS = 1000
WAITED_REFS = 1000
GOT_REFS = 10_000


def nothing():
    return None


class Manta:
    """Manta itself; Ray has the same calls."""

    def __init__(self):
        import manta

        manta.init(num_cpus=CPUS)
        self.module = manta

    def batch(self, count):
        task = self.task()
        self.module.get([task.remote() for _ in range(count)])

    def one_by_one(self, count):
        task = self.task()
        for _ in range(count):
            self.module.get(task.remote())

    def task(self):
        if not hasattr(self, "remote"):
            self.remote = self.module.remote(nothing)
        return self.remote

    def close(self):
        self.module.shutdown()


class Ray(Manta):
    def __init__(self):
        import ray

        ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        self.module = ray


class Multiprocessing:
    def __init__(self):
        import multiprocessing

        self.pool = multiprocessing.Pool(CPUS)

    def batch(self, count):
        for result in [self.pool.apply_async(nothing) for _ in range(count)]:
            result.get()

    def one_by_one(self, count):
        for _ in range(count):
            self.pool.apply(nothing)

    def close(self):
        self.pool.terminate()


SYSTEMS = {"manta": Manta, "ray": Ray, "multiprocessing": Multiprocessing}


def rate(work, count, rounds):
    """The median rate of `work(count)`, which is done again and again in each round, after one round that does not count."""
    rates = []
    for round_number in range(rounds + 1):
        start, done, took = time.perf_counter(), 0, 0.0
        while took < ROUND_SECONDS_MIN:
            work(count)
            done += count
            took = time.perf_counter() - start
        if round_number:
            rates.append(done / took)
    return statistics.median(rates)


def seconds(work, rounds):
    """The median time of `work()`, after one round that does not count; what it answers with is dropped outside of the time."""
    times = []
    for round_number in range(rounds + 1):
        start = time.perf_counter()
        result = work()
        if round_number:
            times.append(time.perf_counter() - start)
        del result
    return statistics.median(times)


def in_turn(work, other, rounds):
    """The median times of both, one round of each after the other: what slows the machine down for a while slows both."""
    times, others = [], []
    for round_number in range(rounds + 1):
        for doing, took in ((work, times), (other, others)):
            start = time.perf_counter()
            result = doing()
            if round_number:
                took.append(time.perf_counter() - start)
            del result
    return statistics.median(times), statistics.median(others)


def objects(module, rounds):
    """Figures of objects; those of a plain copy in memory come as a peer's."""
    import numpy

    array = numpy.ones(ARRAY_BYTES, dtype=numpy.uint8)
    copy = numpy.empty_like(array)
    rounds = max(rounds, 5)
    put, memcpy = in_turn(lambda: module.put(array), lambda: numpy.copyto(copy, array), 3 * rounds)
    large = module.put(array)
    yield "objects.put.large", "GB/s", ARRAY_BYTES / 1e9 / put
    yield "objects.put.large", "GB/s", ARRAY_BYTES / 1e9 / memcpy, "memcpy"
    yield "objects.get.large", "ms", 1000 * seconds(lambda: module.get(large), rounds)
    small = seconds(lambda: [module.put(number) for number in range(SMALL_PUTS)], rounds)
    yield "objects.put.small", "puts/s", SMALL_PUTS / small
    refs = [module.put(number) for number in range(GOT_REFS)]
    waited = refs[:WAITED_REFS]
    yield (
        "objects.wait.1k",
        "ms",
        1000 * seconds(lambda: module.wait(waited, num_returns=WAITED_REFS), rounds),
    )
    yield "objects.get.10k", "ms", 1000 * seconds(lambda: module.get(refs), rounds)


def imported(name):
    try:
        return __import__(name)
    except ImportError as error:
        raise SystemExit(f"{name} cannot be imported by {sys.executable}: {error}") from None


def first_result(name):
    """Milliseconds from the call that starts the system to the first task's result, in a process that has only imported it."""
    if name != "multiprocessing":
        imported(name)
    start = time.perf_counter()
    system = SYSTEMS[name]()
    system.one_by_one(1)
    took = time.perf_counter() - start
    system.close()
    return took * 1000


def first_results(name):
    """The median over fresh processes."""
    command = [sys.executable, __file__, name, "--first-result"]
    lines = [
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        for _ in range(FIRST_RESULTS)
    ]
    return statistics.median(float(line.split()[-1]) for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--first-result", action="store_true", help="measure only the start, once")
    arguments = parser.parse_args()
    if arguments.first_result:
        print(first_result(arguments.system))
        return
    imported(arguments.system)
    figures = [("start.first_result", "ms", first_results(arguments.system))]
    system = SYSTEMS[arguments.system]()
    figures.append(("tasks.python.batch", "tasks/s", rate(system.batch, BATCH, arguments.rounds)))
    figures.append(("tasks.python.one", "tasks/s", rate(system.one_by_one, ONE_BY_ONE, arguments.rounds)))
    if hasattr(system, "module"):
        figures.extend(objects(system.module, arguments.rounds))
    system.close()
    keys = ("measure", "unit", "value", "peer")
    print(json.dumps([dict(zip(keys, figure, strict=False)) for figure in figures]))


if __name__ == "__main__":
    main()
