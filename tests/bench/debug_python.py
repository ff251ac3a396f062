"""Measures the Python debuggers alone, each on every Python: how fast they answer, and what they cost. Its last line is a JSON list.

Stops, steps, stacks and variables: milliseconds from a request to the event or answer that it waits for. Overheads: the time of the
same work in a debugged process over that in an undisturbed one beside it; each time is the least of several, asked in turn, and each
figure the median over the rounds. Names end with a Python's version where it is not of the newest.

Usage: python debug_python.py manta|debugpy [--rounds COUNT]
MANTA_BENCH_PYTHONS: the interpreters to measure, oldest first, with ':' between them; this one alone when it is not set.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import dap_client
import debug
from hot_worker import Worker, least

HERE = pathlib.Path(__file__).resolve().parent
HOT = HERE / "hot.py"
HOT_CALLS = 20_000
LOOP_ROUNDS = 10_000
ATTEMPTS = 3


def line_marked(mark):
    lines = HOT.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))


def end(process):
    """Ends a process without waiting for the ends of its pipes, which debugpy's adapter holds too."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


class Debugged:
    """A program under a debugger, with a client attached that has set its first breakpoints. The program waits for `go`."""

    def __init__(self, system, python, program, arguments=()):
        self.program = program
        start = self._start_manta if system == "manta" else self._start_debugpy
        start(python, [str(program), *arguments])

    def _start_manta(self, python, program):
        self._run([python, "-m", "manta.debug", "--listen", "127.0.0.1:0", *program], stderr=subprocess.PIPE)
        said = self.process.stderr.readline()
        self.client = dap_client.DapClient.connect(said.split()[-1])
        self._attach()

    def _start_debugpy(self, python, program):
        # Another process may have taken the port meanwhile, and debugpy ends then.
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                return self._start_debugpy_at(python, program, f"127.0.0.1:{debug.free_port()}")
            except (ConnectionError, dap_client.Refused):
                end(self.process)
                if not attempts_left:
                    raise

    def _start_debugpy_at(self, python, program, address):
        # It says things of no interest on its errors' stream, where a pipe that nobody reads would fill up.
        command = [
            python,
            "-Xfrozen_modules=off",
            "-m",
            "debugpy",
            "--listen",
            address,
            "--wait-for-client",
            *program,
        ]
        self._run(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.client = dap_client.DapClient.connect(address)
                self._attach()
                return
            except (ConnectionError, dap_client.Refused):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise

    def _run(self, command, stderr):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def _attach(self):
        self.client.request(
            "initialize", {"adapterID": "bench", "linesStartAt1": True, "columnsStartAt1": True}
        )
        self._attached = self.client.send("attach", {"justMyCode": True, "redirectOutput": False})
        self.client.event("initialized")

    def set_breakpoints(self, *breakpoints):
        source = {"path": str(self.program), "name": self.program.name}
        self.client.request("setBreakpoints", {"source": source, "breakpoints": list(breakpoints)})

    def go(self):
        self.client.request("configurationDone")
        self.client.answer(self._attached)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        end(self.process)


def answers(system, python, rounds):
    """How fast a stopped loop goes on, stops, and is looked at."""
    with Debugged(system, python, debug.PYTHON_LOOP, ["--plain"]) as debugged:
        debugged.set_breakpoints({"line": debug.marked_line(debug.PYTHON_LOOP)})
        debugged.go()
        measured = debug.Measuring(debugged.client, debug.PYTHON_LOOP, rounds).measure()
    return [(f"debug.python.{measure}", "ms", value) for measure, value in measured.items()]


def costs_once(system, python):
    """One round of what it costs to be attached, to have a breakpoint that is never reached, and a condition that never holds."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    plain = subprocess.Popen([python, str(HOT)], **pipes)
    try:
        with Debugged(system, python, HOT) as debugged:
            debugged.set_breakpoints()
            debugged.go()
            workers = [Worker(plain), Worker(debugged.process)]
            undisturbed, attached = least(workers, "hot", HOT_CALLS)
            figures = {"overhead.python.attached": attached / undisturbed}
            debugged.set_breakpoints({"line": line_marked("never reached")})
            undisturbed, armed = least(workers, "hot", HOT_CALLS)
            figures["overhead.python.armed"] = armed / undisturbed
            debugged.set_breakpoints({"line": line_marked("condition here"), "condition": "index < 0"})
            undisturbed, conditional = least(workers, "loop", LOOP_ROUNDS)
            figures["condition.python"] = (conditional - undisturbed) / LOOP_ROUNDS * 1e6
            return figures
    finally:
        end(plain)


def costs(system, python, rounds):
    """The medians over the rounds, each in processes of its own."""
    all_rounds = [costs_once(system, python) for _ in range(rounds)]
    units = {"overhead.python.attached": "x", "overhead.python.armed": "x", "condition.python": "us"}
    return [
        (measure, unit, statistics.median(each[measure] for each in all_rounds))
        for measure, unit in units.items()
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("system", choices=["manta", "debugpy"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    pythons = os.environ.get("MANTA_BENCH_PYTHONS", sys.executable).split(os.pathsep)
    rows = []
    for python in pythons:
        version = subprocess.check_output(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
        )
        suffix = "" if python == pythons[-1] else f".{version.strip()}"
        figures = answers(arguments.system, python, arguments.rounds) + costs(
            arguments.system, python, arguments.rounds
        )
        rows += [
            {"measure": measure + suffix, "unit": unit, "value": value} for measure, unit, value in figures
        ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
