//! A fixture that stands still, all of its threads, at a line.

use std::collections::BTreeMap;
use std::time::Instant;

use manta_native::address::{Address, Tid};
use manta_native::dwarf::modules::Modules;
use manta_native::engine::resolve::{Resolution, resolve_line};
use manta_native::engine::threads::DebugRegister;
use manta_native::ptrace::Process;
use manta_native::target::Target;
use manta_native::tracer::{Go, Tracer};

use crate::support::{Build, DEADLINE, Program, line_of, source};

/// The debug register that turns the others on.
const CONTROL: usize = 7;
const EVENT_STOP: i32 = libc::PTRACE_EVENT_STOP;

pub struct Held {
    /// The living process. It belongs to the thread that made this.
    pub process: Process,
    /// All of its threads, the one that reached the line first.
    pub stopped: Vec<Tid>,
    /// Where the line's code is.
    pub place: Address,
    _program: Program,
}

impl Held {
    /// Runs a fixture to the marked line.
    pub fn at(name: &str, build: Build, mark: &str) -> Self {
        let mut program = Program::start(name, build);
        let process = Process::open(program.pid() as i32).unwrap();
        let modules = Modules::of(&process).unwrap();
        let path = source(name).to_str().unwrap().to_owned();
        let line = line_of(name, mark);
        let resolution = resolve_line(modules.program().unwrap(), &[path], line, None);
        let Resolution::Bound { addresses, .. } = resolution else { panic!("{resolution:?}") };
        let place = addresses[0];
        for tid in process.threads().unwrap() {
            process.seize(tid).unwrap();
            process.interrupt(tid).unwrap();
            wait_for(tid);
            arm(&process, tid, place);
            process.go(tid, Go::On, 0).unwrap();
        }
        program.go();
        let stopped = run_to_trap(&process, place);
        Self { process, stopped, place, _program: program }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The process is not over for anybody before its tracer has seen the end of each of its threads.
        let threads = self.process.threads().unwrap_or_default();
        // SAFETY: it takes numbers only.
        unsafe { libc::kill(self.process.pid, libc::SIGKILL) };
        for tid in threads.into_iter().filter(|tid| tid.0 != self.process.pid) {
            let until = Instant::now() + DEADLINE;
            while poll(tid).is_none_or(|status| libc::WIFSTOPPED(status))
                && self.process.threads().is_ok_and(|all| all.contains(&tid))
            {
                assert!(Instant::now() < until, "the thread {tid} ends in time");
                std::thread::yield_now();
            }
        }
    }
}

fn arm(process: &Process, tid: Tid, place: Address) {
    process.set_debug_register(tid, 0, place.0).unwrap();
    process.set_debug_register(tid, CONTROL, DebugRegister::execute(place).control(0)).unwrap();
}

/// Waits for one thread, and for no other child of this process: tests beside this one have theirs.
fn poll(tid: Tid) -> Option<i32> {
    let mut status = 0;
    // SAFETY: status is a valid place for the result.
    let found = unsafe { libc::waitpid(tid.0, &raw mut status, libc::__WALL | libc::WNOHANG) };
    (found == tid.0).then_some(status)
}

fn wait_for(tid: Tid) -> i32 {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = poll(tid) {
            assert!(libc::WIFSTOPPED(status), "the thread {tid} has ended");
            return status;
        }
        assert!(Instant::now() < until, "the thread {tid} stops in time");
        std::thread::yield_now();
    }
}

/// Lets the threads run until one reaches the place; then all are stopped.
fn run_to_trap(process: &Process, place: Address) -> Vec<Tid> {
    let until = Instant::now() + DEADLINE;
    let mut stopped: BTreeMap<Tid, ()> = BTreeMap::new();
    let mut first = None;
    loop {
        let threads = process.threads().unwrap();
        if let Some(first) = first
            && threads.iter().all(|tid| stopped.contains_key(tid))
        {
            let others = threads.into_iter().filter(|tid| *tid != first);
            return std::iter::once(first).chain(others).collect();
        }
        for tid in threads.into_iter().filter(|tid| !stopped.contains_key(tid)).collect::<Vec<_>>() {
            let Some(status) = poll(tid) else { continue };
            if !libc::WIFSTOPPED(status) {
                continue;
            }
            let is_at_place = process.registers(tid).is_ok_and(|registers| registers.pc() == place.0);
            if first.is_none() && is_at_place {
                first = Some(tid);
                for other in process.threads().unwrap().into_iter().filter(|other| *other != tid) {
                    // One that has ended in between is not waited for.
                    let _ = process.interrupt(other);
                }
            }
            if first.is_some() {
                stopped.insert(tid, ());
                continue;
            }
            if status >> 16 == EVENT_STOP {
                // A new thread.
                arm(process, tid, place);
            }
            process.go(tid, Go::On, 0).unwrap();
        }
        assert!(Instant::now() < until, "a thread reaches the line in time");
        std::thread::yield_now();
    }
}
