"""Measures the first breakpoint in a debug binary of 200 MB: how long, and how much memory. Its last line is a JSON list of figures.

A run is what a user waits for: the adapter is started and attaches to the running program, a line breakpoint is set and verified,
the program reaches it, the stack is shown. `symbols.cold` is that run without anything kept on disk from before, `symbols.cached` the same
run again; `symbols.memory` is the peak of resident memory of the adapter and its helpers in the cold run, which is the larger one.

The program is generated and built once, in the folder MANTA_BENCH. lldb keeps no index unless it is told to; it is told to.

Usage: python debug_symbols.py manta|lldb-dap [--rounds COUNT]
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import dap_client
import debug

PARTS = 10
TYPES = 19
SMALLEST_BYTES = 190_000_000

MANIFEST = """[package]
name = "large"
version = "0.0.0"
edition = "2024"
publish = false

[profile.dev]
debug = "full"
incremental = false
codegen-units = 64

[workspace]
"""

# Each type makes its own copy of everything generic that is used with it.
PART = """
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct {item} {{ pub id: u64, pub name: String, pub tags: Vec<u32> }}

pub fn work_{number}(seed: u64) -> u64 {{
    let items: Vec<{item}> = (0..seed % 7).map(|id| {item} {{ id, name: id.to_string(), tags: vec![id as u32] }}).collect();
    let mut by_id: BTreeMap<u64, {item}> = items.iter().cloned().map(|item| (item.id, item)).collect();
    let mut by_item: HashMap<{item}, u64> = items.iter().cloned().map(|item| (item.clone(), item.id)).collect();
    let set: HashSet<{item}> = items.iter().filter(|item| item.id > 1).cloned().collect();
    let mut queue: VecDeque<{item}> = items.iter().cloned().collect();
    let mut heap: BinaryHeap<{item}> = items.iter().cloned().collect();
    let mut sorted = items.clone();
    sorted.sort_by(|a, b| b.name.cmp(&a.name));
    sorted.dedup_by(|a, b| a.tags == b.tags);
    by_item.retain(|item, _| !set.contains(item));
    by_id.remove(&3);
    let front = queue.pop_front().map_or(0, |item| item.id);
    let top = heap.pop().map_or(0, |item| item.id);
    front + top + by_id.range(1..).map(|(id, _)| id).sum::<u64>() + by_item.len() as u64 + sorted.len() as u64
}}
"""

# PR_SET_PTRACER with PR_SET_PTRACER_ANY: the adapters are no parents of the program.
MAIN = """
use std::time::Duration;

unsafe extern "C" {
    fn prctl(option: i32, argument: u64, ...) -> i32;
}

#[inline(never)]
fn tick(count: u64) -> u64 {
    let doubled = count * 2;
    std::hint::black_box(doubled) // stop here
}

fn main() {
    unsafe { prctl(0x5961_6d61, u64::MAX) };
    let mut sum = if std::env::args().count() > 1 { all(7) } else { 0 };
    println!("ready");
    for count in 0.. {
        sum = tick(count).wrapping_add(sum);
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{sum}");
}
"""


def sources():
    """The generated crate: path and text of each file."""
    yield "Cargo.toml", MANIFEST
    parts = range(PARTS)
    for part in parts:
        text = ["use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};\n"]
        text += [PART.format(item=f"Item{part}x{number}", number=number) for number in range(TYPES)]
        calls = " + ".join(f"work_{number}(seed)" for number in range(TYPES))
        text.append(f"\npub fn all(seed: u64) -> u64 {{\n    {calls}\n}}\n")
        yield f"src/part{part}.rs", "".join(text)
    modules = "".join(f"mod part{part};\n" for part in parts)
    calls = " + ".join(f"part{part}::all(seed)" for part in parts)
    yield "src/main.rs", f"{modules}{MAIN}\nfn all(seed: u64) -> u64 {{\n    {calls}\n}}\n"


def build():
    """Generates the crate and builds it, if that was not done before. Gives the program and the source with the mark."""
    folder = pathlib.Path(os.environ["MANTA_BENCH"]) / "large"
    for name, text in sources():
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    command = [
        os.environ.get("CARGO", "cargo"),
        "build",
        "--quiet",
        "--manifest-path",
        str(folder / "Cargo.toml"),
    ]
    subprocess.run([*command, "--target-dir", str(folder / "target")], check=True)
    program = folder / "target" / "debug" / "large"
    size = program.stat().st_size
    if size < SMALLEST_BYTES:
        raise SystemExit(f"{program} has only {size} bytes; make more types in {__file__}")
    return program, folder / "src" / "main.rs"


@contextlib.contextmanager
def running(program):
    child = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
    try:
        if child.stdout.readline() != "ready\n":
            raise SystemExit(f"{program} did not start")
        yield child.pid
    finally:
        child.kill()
        child.wait()


def peak_bytes(pid):
    """The peak of resident memory of a process and of its children."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return peak + sum(peak_bytes(child) for child in children)


class Manta:
    """The debug agent alone."""

    def __init__(self, cache):
        self.cache = cache
        self.environment = dict(os.environ, XDG_CACHE_HOME=cache)

    def start(self, pid):
        address = f"127.0.0.1:{debug.free_port()}"
        command = [os.environ["MANTA_BIN"], "debug-agent", "--pid", str(pid), "--listen", address]
        child = subprocess.Popen(command, env=self.environment)
        deadline = time.monotonic() + 60
        while True:
            try:
                client = dap_client.DapClient.connect(address)
                break
            except ConnectionError:
                if child.poll() is not None or time.monotonic() > deadline:
                    raise
        client.child = child
        return client, {}

    def settle(self):
        """The index is made while the program runs on; the next agent finds it, and its memory counts here."""
        deadline = time.monotonic() + 60
        while not list(pathlib.Path(self.cache).glob("manta/symbols/*.index")):
            if time.monotonic() > deadline:
                raise SystemExit("the agent has made no index")
            time.sleep(0.02)


class Lldb:
    """lldb's adapter with its own index cache."""

    def __init__(self, cache):
        self.cache = cache
        self.program = debug.lldb_program()

    def start(self, pid):
        settings = [
            "settings set symbols.enable-lldb-index-cache true",
            f"settings set symbols.lldb-index-cache-path {self.cache}",
        ]
        return dap_client.DapClient.start([self.program]), {"initCommands": settings, "pid": pid}

    def settle(self):
        """lldb makes its index before it answers."""


def first_breakpoint(system, program, source):
    """One run. Gives its milliseconds and the peak of memory in bytes."""
    with running(program) as pid:
        start = time.perf_counter()
        client, arguments = system.start(pid)
        attach = debug.handshake(client, "attach", {"program": str(program), **arguments}, source)
        stopped = client.event("stopped")
        client.answer(attach)
        stack = client.request("stackTrace", {"threadId": stopped["threadId"], "startFrame": 0, "levels": 20})
        took = (time.perf_counter() - start) * 1000
        top = stack["stackFrames"][0]
        if "tick" not in top["name"] or top["line"] != debug.marked_line(source):
            raise SystemExit(f"the breakpoint was not reached: {top}")
        system.settle()
        peak = peak_bytes(client.child.pid)
        client.close()
    return took, peak


def measure(kind, rounds):
    program, source = build()
    cold, cached, memory = [], [], []
    for _ in range(rounds):
        cache = tempfile.mkdtemp(prefix="manta-bench-symbols-")
        try:
            system = kind(cache)
            took, peak = first_breakpoint(system, program, source)
            cold.append(took)
            memory.append(peak)
            took, _ = first_breakpoint(system, program, source)
            cached.append(took)
        finally:
            shutil.rmtree(cache)
    return [
        {"measure": "symbols.cold", "unit": "ms", "value": statistics.median(cold)},
        {"measure": "symbols.cached", "unit": "ms", "value": statistics.median(cached)},
        {"measure": "symbols.memory", "unit": "MiB", "value": statistics.median(memory) / (1 << 20)},
    ]


def main():
    systems = {"manta": Manta, "lldb-dap": Lldb}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=systems)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(json.dumps(measure(systems[arguments.system], arguments.rounds)))


if __name__ == "__main__":
    main()
