//! The rules of the `Target` trait.

use std::io::ErrorKind;
use std::time::Duration;

use gimli::Register;
use manta_native::address::{Address, Tid};
use manta_native::dwarf::image::Image;
use manta_native::engine::threads::DebugRegister;
use manta_native::ptrace;
use manta_native::registers::Registers;
use manta_native::target::{Memory, Target};

use manta_native::tracer::Tracer;

/// Does this target let itself be changed?
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    Allowed,
    /// It says so in its errors.
    Refused(&'static str),
}

/// What is known of a process, whatever shows it.
pub struct Facts {
    threads: Vec<Tid>,
    registers: Vec<Registers>,
    program: String,
    /// The top of the first thread's stack, and what is there.
    stack: (Address, Vec<u8>),
    /// The beginning of the program's file in memory.
    head: Vec<u8>,
}

/// No process has a mapping here: the kernel keeps the first pages free.
const NOWHERE: Address = Address(0x10);
/// No thread of any process.
const NOBODY: Tid = Tid(i32::MAX);
const STACK_BYTES: usize = 512;

impl Facts {
    /// Of a process whose threads all stand still. What does not need that is asked of the kernel, from outside.
    pub fn of(process: &dyn Tracer, stopped: &[Tid]) -> Self {
        let registers: Vec<Registers> = stopped.iter().map(|tid| process.registers(*tid).unwrap()).collect();
        let outside = ptrace::Process::open(process.pid()).unwrap();
        let modules = outside.modules().unwrap();
        let program = modules.iter().find(|module| module.is_program).unwrap();
        let sp = Address(registers[0].sp());
        let read = |at, bytes| outside.read_vec(at, bytes).unwrap();
        Self {
            stack: (sp, read(sp, STACK_BYTES)),
            head: read(program.base, 64),
            program: program.path.to_str().unwrap().to_owned(),
            threads: stopped.to_vec(),
            registers,
        }
    }
}

pub fn run(target: &dyn Target, facts: &Facts, writes: Writes) {
    memory_is_read_as_it_is_or_not_at_all(target, facts);
    threads_have_registers(target, facts);
    modules_are_files_in_memory(target, facts);
    match writes {
        Writes::Allowed => what_is_written_is_there(target, facts),
        Writes::Refused(reason) => nothing_can_be_changed(target, facts, reason),
    }
}

fn memory_is_read_as_it_is_or_not_at_all(target: &dyn Target, facts: &Facts) {
    let (sp, there) = &facts.stack;
    assert_eq!(&target.read_vec(*sp, STACK_BYTES).unwrap(), there);
    // Each piece alone, also an empty one.
    for (from, bytes) in [(0, 1), (3, 8), (200, 0), (511, 1)] {
        let piece = target.read_vec(sp.offset(from as u64), bytes).unwrap();
        assert_eq!(piece, there[from..from + bytes]);
    }
    assert_eq!(target.read_u64(*sp).unwrap().to_le_bytes(), there[..8]);
    for at in [NOWHERE, Address(u64::MAX - 3), Address(1 << 63)] {
        let error = target.read_vec(at, 8).unwrap_err();
        assert_eq!((error.address, error.bytes, error.action), (at, 8, "read"));
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
    // What ends outside is not there, however it begins.
    let ends = (1..1 << 20).map(|pages| Address((sp.0 & !0xfff) + pages * 0x1000));
    let end = ends.into_iter().find(|at| target.read_vec(*at, 1).is_err()).expect("a stack has an end");
    let last = Address(end.0 - 4);
    assert!(target.read_vec(last, 4).is_ok());
    assert_eq!(target.read_vec(last, 8).unwrap_err().address, last);
}

fn threads_have_registers(target: &dyn Target, facts: &Facts) {
    let mut threads = target.threads().unwrap();
    threads.sort();
    let mut expected = facts.threads.clone();
    expected.sort();
    assert_eq!(threads, expected);
    for (tid, known) in facts.threads.iter().zip(&facts.registers) {
        let registers = target.registers(*tid).unwrap();
        for number in 0..=32 {
            let register = Register(number);
            assert_eq!(registers.bytes(register), known.bytes(register), "register {number} of {tid}");
        }
        assert_eq!((registers.flags, registers.fs_base), (known.flags, known.fs_base));
    }
    assert!(target.registers(NOBODY).is_err());
}

fn modules_are_files_in_memory(target: &dyn Target, facts: &Facts) {
    let modules = target.modules().unwrap();
    let programs: Vec<_> = modules.iter().filter(|module| module.is_program).collect();
    assert_eq!(programs.len(), 1, "{modules:?}");
    assert_eq!(programs[0].path.to_str(), Some(facts.program.as_str()));
    assert_eq!(target.read_vec(programs[0].base, 64).unwrap(), facts.head);
    let pc = Address(target.registers(facts.threads[0]).unwrap().pc());
    let there = modules.iter().filter(|module| module.start <= pc && pc < module.end);
    assert_eq!(there.count(), 1, "a thread is in one file's code");
    for module in &modules {
        assert!(module.start <= module.base && module.base < module.end, "{module:?}");
        assert_eq!(target.read_vec(module.base, 4).unwrap(), b"\x7fELF", "{module:?}");
        let image = Image::open(&module.open_path, "module").unwrap();
        assert!(image.section(".text").is_some(), "{module:?}");
        let others = modules.iter().filter(|other| other.base != module.base);
        assert!(
            others.clone().all(|other| other.end <= module.start || module.end <= other.start),
            "{module:?} overlaps another"
        );
    }
    assert!(modules.iter().any(|module| module.path.to_string_lossy().contains("libc.so")));
}

fn what_is_written_is_there(target: &dyn Target, facts: &Facts) {
    let (sp, there) = &facts.stack;
    target.write(sp.offset(5), &[1, 2, 3]).unwrap();
    let now = target.read_vec(*sp, STACK_BYTES).unwrap();
    assert_eq!((&now[..5], &now[5..8], &now[8..]), (&there[..5], &[1, 2, 3][..], &there[8..]));
    target.write(*sp, there).unwrap();
    let error = target.write(NOWHERE, &[0; 2]).unwrap_err();
    assert_eq!((error.address, error.bytes), (NOWHERE, 2));
    assert!(error.to_string().contains("cannot be written"), "{error}");
    let tid = facts.threads[0];
    let mut changed = target.registers(tid).unwrap();
    changed.set(Register(11), Some(0x1234_5678_9abc));
    target.set_registers(tid, &changed).unwrap();
    assert_eq!(target.registers(tid).unwrap().get(Register(11)), Some(0x1234_5678_9abc));
    assert_eq!(target.registers(tid).unwrap().pc(), facts.registers[0].pc());
    target.set_registers(tid, &facts.registers[0]).unwrap();
    assert!(target.set_registers(NOBODY, &changed).is_err());
    // A read-only page of code can be written too, where the target has it.
    let code = Address(facts.registers[0].pc());
    if let Ok(before) = target.read_vec(code, 1) {
        target.write(code, &[0xcc]).unwrap();
        assert_eq!(target.read_vec(code, 1).unwrap(), [0xcc]);
        target.write(code, &before).unwrap();
    }
}

fn nothing_can_be_changed(target: &dyn Target, facts: &Facts, reason: &str) {
    let (sp, there) = &facts.stack;
    let error = target.write(*sp, &[9; 4]).unwrap_err();
    assert!(error.to_string().contains(reason), "{error}");
    assert_eq!(&target.read_vec(*sp, STACK_BYTES).unwrap(), there);
    let tid = facts.threads[0];
    let error = target.set_registers(tid, &facts.registers[0]).unwrap_err();
    assert!(error.to_string().contains(reason), "{error}");
}

/// What can be done to a thread of a living process that stands still: each means has other things, and what it has not it says.
pub fn abilities(process: &dyn Tracer, tid: Tid) -> Vec<&'static str> {
    let registers = process.kernel_registers(tid).unwrap();
    let nowhere = DebugRegister::default().address.0;
    let tried = [
        ("debug registers", process.set_debug_register(tid, 0, nowhere)),
        ("registers", process.set_kernel_registers(tid, &registers)),
        ("signal mask", process.signal_mask(tid).and_then(|mask| process.set_signal_mask(tid, mask))),
        ("one thread's events", process.next_event_of(tid, Duration::ZERO).map(drop)),
    ];
    assert_eq!(process.has_debug_registers(), tried[0].1.is_ok());
    let mut can = Vec::new();
    for (name, result) in tried {
        match result {
            Ok(()) => can.push(name),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}"),
        }
    }
    can
}
