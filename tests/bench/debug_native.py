"""Measures the native debuggers alone: how fast they answer, and what they cost. Its last line is a JSON list of figures.

Stops, steps, stacks and variables: milliseconds from a request's first byte to the last byte of the event or answer. The overhead: the
time of the same work in a debugged process over that in an undisturbed one beside it. The condition: what a hit of a breakpoint costs
whose condition is false. Each of these times is the least of several, asked in turn; each figure is the median over the rounds.

Usage: python debug_native.py manta|lldb-dap [--rounds COUNT]
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess

import dap_client
import debug
from hot_worker import Worker, least

RUST_HOT = debug.FIXTURES / "src" / "bin" / "bench_hot.rs"
HOT_COUNT = 2_000_000
HITS = 2_000


def fixture(name):
    return str(pathlib.Path(os.environ["MANTA_FIXTURES"]) / name)


def line_marked(path, mark):
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"// {mark}"))


class Debugged:
    """A program that runs, with a debugger and a client attached that has set its first breakpoints."""

    def __init__(self, system, command, source):
        self.source = source
        self.children = []
        self.process = self._run(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if system == "manta":
            agent = [
                os.environ["MANTA_BIN"],
                "debug-agent",
                "--pid",
                str(self.process.pid),
                "--listen",
                "127.0.0.1:0",
            ]
            said = self._run(agent, stderr=subprocess.PIPE, text=True).stderr.readline()
            self.client = dap_client.DapClient.connect(said.split()[-1])
            self.attach = {}
        else:
            self.client = dap_client.DapClient.start([debug.lldb_program()])
            self.children.append(self.client.child)
            self.attach = {"pid": self.process.pid, "program": command[0]}

    def _run(self, command, **pipes):
        child = subprocess.Popen(command, **pipes)
        self.children.append(child)
        return child

    def set_breakpoints(self, *breakpoints):
        source = {"path": str(self.source), "name": self.source.name}
        set_ = self.client.request("setBreakpoints", {"source": source, "breakpoints": list(breakpoints)})
        missed = [each for each in set_["breakpoints"] if not each["verified"]]
        if missed:
            raise SystemExit(f"a breakpoint is not bound: {missed}")

    def begin(self, *breakpoints):
        self.client.request(
            "initialize", {"adapterID": "bench", "linesStartAt1": True, "columnsStartAt1": True}
        )
        attached = self.client.send("attach", self.attach)
        self.client.event("initialized")
        self.set_breakpoints(*breakpoints)
        self.client.request("configurationDone")
        self.client.answer(attached)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.kill()
            child.communicate()


def answers(system, rounds):
    """How fast a stopped loop goes on, stops, and is looked at."""
    with Debugged(system, [fixture("bench_loop"), "--plain"], debug.RUST_LOOP) as debugged:
        debugged.begin({"line": debug.marked_line(debug.RUST_LOOP)})
        measured = debug.Measuring(debugged.client, debug.RUST_LOOP, rounds).measure()
    return [(f"debug.native.{measure}", "ms", value) for measure, value in measured.items()]


def costs_once(system):
    plain = subprocess.Popen([fixture("bench_hot")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        with Debugged(system, [fixture("bench_hot")], RUST_HOT) as debugged:
            debugged.begin()
            workers = [Worker(plain), Worker(debugged.process)]
            undisturbed, attached = least(workers, "hot", HOT_COUNT)
            debugged.set_breakpoints(
                {"line": line_marked(RUST_HOT, "condition here"), "condition": "index > 1000000"}
            )
            passed, conditional = least(workers, "visit", HITS)
            return {
                "overhead.native.attached": attached / undisturbed,
                "condition.native": (conditional - passed) / HITS * 1e6,
            }
    finally:
        plain.kill()
        plain.communicate()


def costs(system, rounds):
    """The medians over the rounds, each in processes of its own."""
    all_rounds = [costs_once(system) for _ in range(rounds)]
    units = {"overhead.native.attached": "x", "condition.native": "us"}
    return [
        (measure, unit, statistics.median(each[measure] for each in all_rounds))
        for measure, unit in units.items()
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("system", choices=["manta", "lldb-dap"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = answers(arguments.system, arguments.rounds) + costs(arguments.system, arguments.rounds)
    print(json.dumps([{"measure": measure, "unit": unit, "value": value} for measure, unit, value in rows]))


if __name__ == "__main__":
    main()
