//! A fixture that helps itself, as where ptrace is refused, and stands still, all of its threads, at a line.

use std::collections::BTreeSet;
use std::time::Instant;

use manta_native::address::{Address, Tid};
use manta_native::dwarf::modules::Modules;
use manta_native::engine::resolve::{Resolution, resolve_line};
use manta_native::in_process::Process;
use manta_native::target::{Memory, Target};
use manta_native::tracer::{Tracer, Waited};

use crate::support::{Build, DEADLINE, Program, line_of, source};

const INT3: u8 = 0xcc;

pub struct Helped {
    pub process: Process,
    /// All of its threads, the one that reached the line first.
    pub stopped: Vec<Tid>,
    _program: Program,
}

/// A fixture that waits for its test, and has let this one in.
pub fn connected(name: &str, build: Build) -> (Program, Process) {
    let program = Program::start(name, build);
    let process = Process::connect(program.pid() as i32).unwrap();
    (program, process)
}

impl Helped {
    /// Runs a fixture to the marked line.
    pub fn at(name: &str, build: Build, mark: &str) -> Self {
        let (mut program, process) = connected(name, build);
        let modules = Modules::of(&process).unwrap();
        let path = source(name).to_str().unwrap().to_owned();
        let resolution = resolve_line(modules.program().unwrap(), &[path], line_of(name, mark), None);
        let Resolution::Bound { addresses, .. } = resolution else { panic!("{resolution:?}") };
        let place = addresses[0];
        let code = process.read_vec(place, 1).unwrap();
        process.write(place, &[INT3]).unwrap();
        program.go();
        let stopped = run_to_patch(&process, place);
        process.write(place, &code).unwrap();
        Self { process, stopped, _program: program }
    }
}

/// Waits until a thread runs on the patch; then all are stopped.
fn run_to_patch(process: &Process, place: Address) -> Vec<Tid> {
    let until = Instant::now() + DEADLINE;
    let (mut stopped, mut asked) = (Vec::new(), BTreeSet::new());
    loop {
        assert!(Instant::now() < until, "a thread reaches the line in time");
        while let Some((tid, waited)) = process.next_event().unwrap() {
            let mut registers = process.registers(tid).unwrap();
            if waited == Waited::Signal(libc::SIGTRAP) {
                // The patch is in nobody's table, so the guard has left the thread behind it.
                assert_eq!(process.trap_at(tid, registers.pc()), place);
                registers.set_pc(place.0);
                process.set_registers(tid, &registers).unwrap();
            }
            stopped.push(tid);
        }
        if stopped.is_empty() {
            std::thread::yield_now();
            continue;
        }
        let running: Vec<_> =
            process.threads().unwrap().into_iter().filter(|tid| !stopped.contains(tid)).collect();
        if running.is_empty() {
            return stopped;
        }
        for tid in running.into_iter().filter(|tid| asked.insert(*tid)) {
            // One that has ended in between is not waited for.
            let _ = process.interrupt(tid);
        }
    }
}
