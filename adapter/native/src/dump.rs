//! The stacks of all threads of a process, once, without debugging it.
//!
//! Each thread is stopped only for as long as it takes to copy its registers and its stack; it runs on before anything is looked up.
//! Nothing in the process is changed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use serde_json::{Value, json};

use crate::address::{Address, Tid};
use crate::dwarf::modules::Modules;
use crate::dwarf::unwind::Unwinder;
use crate::limits::FRAMES_MAX;
use crate::ptrace::{Process, wait_for};
use crate::registers::Registers;
use crate::target::{Memory, MemoryError, Target};
use crate::tracer::{Tracer, Waited};

/// Bytes of a stack that are copied; frames beyond are cut.
const STACK_BYTES_MAX: usize = 1024 * 1024;
/// Threads that are shown.
const THREADS_MAX: usize = 1000;
/// What the ABI lets a function use below its stack pointer.
const RED_ZONE_BYTES: u64 = 128;

/// A thread's copy: enough to walk its stack.
struct Copied {
    from: Address,
    stack: Vec<u8>,
    registers: Registers,
}

impl Memory for Copied {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let from = address.0.checked_sub(self.from.0).and_then(|offset| usize::try_from(offset).ok());
        let bytes = from.and_then(|from| self.stack.get(from..from.checked_add(buffer.len())?));
        let bytes = bytes.ok_or(MemoryError { address, bytes: buffer.len(), action: "read" })?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// The stacks as JSON: each thread with its id, name and frames, the innermost first. A thread that cannot be looked at says why.
///
/// # Errors
/// When there is no such process, or it may not be traced.
pub fn dump(pid: i32) -> io::Result<Value> {
    let process = Process::open(pid)?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let threads = process.threads()?;
    let copies: Vec<_> =
        threads.iter().take(THREADS_MAX).map(|tid| (*tid, copy(&process, &memory, *tid))).collect();
    if let Some((_, Err(error))) = copies.first()
        && copies.iter().all(|(_, copied)| copied.is_err())
    {
        return Err(io::Error::new(error.kind(), error.to_string()));
    }
    // From here on everything runs.
    let modules = Modules::of(&process)?;
    let unwinder = Unwinder::default();
    let shown = copies.iter().map(|(tid, copied)| {
        let mut thread = json!({"id": tid.0, "name": thread_name(pid, *tid)});
        match copied {
            Ok(copied) => thread["frames"] = frames(&modules, &unwinder, copied),
            Err(error) => thread["error"] = json!(error.to_string()),
        }
        thread
    });
    Ok(shown.collect())
}

fn frames(modules: &Modules, unwinder: &Unwinder, copied: &Copied) -> Value {
    let (physical, _) = unwinder.frames(modules, copied, &copied.registers, FRAMES_MAX);
    let mut frames = Vec::new();
    for frame in physical {
        let Some(module) = modules.at(frame.lookup) else {
            frames.push(json!({"function": format!("{:#x}", frame.lookup.0)}));
            continue;
        };
        for code in module.frames_at(frame.lookup).iter() {
            let line = (code.line > 0).then_some(code.line);
            frames.push(json!({"function": code.name, "file": code.file, "line": line}));
        }
    }
    frames.into()
}

fn copy(process: &Process, memory: &File, tid: Tid) -> io::Result<Copied> {
    process.seize(tid)?;
    process.interrupt(tid)?;
    let signal = match wait_for(tid)? {
        Waited::Exited(_) | Waited::Killed(_) => return Err(io::Error::other("it ended")),
        Waited::Signal(signal) => signal,
        Waited::Event { .. } => 0,
    };
    let copied = process.registers(tid).map(|registers| {
        let from = Address(registers.sp().saturating_sub(RED_ZONE_BYTES));
        Copied { from, stack: read_stack(memory, from), registers }
    });
    process.detach(tid, signal)?;
    copied
}

fn read_stack(memory: &File, from: Address) -> Vec<u8> {
    let mut stack = vec![0; STACK_BYTES_MAX];
    let mut read = 0;
    while read < stack.len() {
        // The end of the mapping is the end of the stack.
        match memory.read_at(&mut stack[read..], from.0 + read as u64) {
            Ok(0) | Err(_) => break,
            Ok(more) => read += more,
        }
    }
    stack.truncate(read);
    stack
}

fn thread_name(pid: i32, tid: Tid) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/task/{}/comm", tid.0)).unwrap_or_default();
    name.trim_end().to_owned()
}
