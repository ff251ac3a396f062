//! A process that helps itself, where the system refuses ptrace.
//!
//! The guard in it has a thread, the helper, that reads and writes memory and interrupts threads for this agent; a thread that traps
//! waits in its signal handler. So everything that is done here is a packet to the helper, as `manta_guard::wire` describes them. There
//! are no debug registers, and nobody tells of threads that begin or end.

mod link;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use link::NoHelper;
use link::{Hello, Link};
use manta_guard::wire::{self, CHUNK_BYTES, CODE_INTERRUPTED, GENERAL_WORDS, GO_CHAIN, GO_ON};

use crate::address::{Address, Tid};
use crate::core_file::capture::thread_picture;
use crate::core_file::write::Picture;
use crate::kept_pages::KeptPages;
use crate::mappings::{self, Mapping};
use crate::registers::Registers;
use crate::target::{MappedModule, Memory, MemoryError, Target};
use crate::tracer::{Go, Means, Tracer, Waited, blocks, threads_of};

/// Makes the processor trap after one instruction.
const TRAP_FLAG: u64 = 1 << 8;
/// Bytes of a program's file that are compared with what runs.
const HEAD_BYTES: usize = 1024;

/// How long threads may take until they no longer block traps.
const MASKS_TIME: Duration = Duration::from_millis(300);

/// A process that has let this agent in.
pub struct Process {
    pid: i32,
    link: Link,
    hello: Hello,
    pages: KeptPages,
    stopped: RefCell<BTreeMap<Tid, Stopped>>,
    mappings: RefCell<Vec<Mapping>>,
}

/// A thread that waits.
struct Stopped {
    slot: u64,
    code: u64,
    is_rewound: bool,
    vector: Address,
    fs_base: u64,
    general: [u64; GENERAL_WORDS],
}

impl Process {
    /// Connects to the helper of a process.
    pub fn connect(pid: i32) -> Result<Self, NoHelper> {
        let (link, hello) = Link::connect(pid)?;
        Ok(Self {
            pid,
            link,
            hello,
            pages: KeptPages::default(),
            stopped: RefCell::default(),
            mappings: RefCell::default(),
        })
    }

    fn refresh_mappings(&self) -> io::Result<()> {
        let maps = self.link.file(wire::FILE_MAPPINGS)?;
        *self.mappings.borrow_mut() = mappings::parse(&String::from_utf8_lossy(&maps));
        Ok(())
    }

    fn read_memory(&self, address: Address, buffer: &mut [u8]) -> io::Result<()> {
        let mut at = address.0;
        for chunk in buffer.chunks_mut(CHUNK_BYTES) {
            let bytes = chunk.len();
            let got = self.link.request(wire::READ, at, bytes as u64, &[], |content| {
                let is_all = content.len() == bytes;
                if is_all {
                    chunk.copy_from_slice(content);
                }
                is_all
            })?;
            if !got {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += bytes as u64;
        }
        Ok(())
    }

    /// Is there code at an address? The program may have loaded a library since the last look.
    fn is_code(&self, address: Address) -> bool {
        let look = || {
            let mappings = self.mappings.borrow();
            mappings.iter().find(|mapping| mapping.contains(address)).map(|mapping| mapping.is_executable)
        };
        look().or_else(|| self.refresh_mappings().ok().and_then(|()| look())).unwrap_or(false)
    }

    fn with_stopped<T>(&self, tid: Tid, use_it: impl FnOnce(&mut Stopped) -> T) -> io::Result<T> {
        let mut stopped = self.stopped.borrow_mut();
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("the thread {tid} does not wait"));
        stopped.get_mut(&tid).map(use_it).ok_or_else(none)
    }

    /// Where a file can be opened from here: by the kernel's own link if it lets this agent; else by its path, if the file
    /// there is still what runs.
    fn open_path(&self, module: &MappedModule) -> PathBuf {
        let link = if module.is_program {
            PathBuf::from(format!("/proc/{}/exe", self.pid))
        } else {
            PathBuf::from(format!("/proc/{}/root{}", self.pid, module.path.display()))
        };
        if File::open(&link).is_ok() || !module.is_program || self.is_what_runs(module) {
            return if File::open(&link).is_ok() { link } else { module.path.clone() };
        }
        // Says in its name why it cannot be opened.
        PathBuf::from(format!("{} (replaced while it ran)", module.path.display()))
    }

    /// Is a thread stopped by another debugger, or by a signal (Ctrl-Z)? See proc_pid_stat(5).
    pub(crate) fn is_stopped(&self, tid: Tid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/task/{tid}/stat", self.pid)).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['t', 'T']))
    }

    /// A picture of the process. `stopped` are threads that wait, the one that matters first.
    ///
    /// # Errors
    /// When the process is gone, or one of the threads does not wait.
    pub fn picture(&self, stopped: &[Tid]) -> io::Result<Picture<'_>> {
        let arguments = self.link.file(wire::FILE_ARGUMENTS)?;
        let arguments = String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ");
        let auxiliary = self.link.file(wire::FILE_AUXILIARY)?;
        self.refresh_mappings()?;
        let threads =
            stopped.iter().map(|tid| thread_picture(self, *tid, 0)).collect::<io::Result<Vec<_>>>()?;
        Ok(Picture {
            pid: self.pid,
            name: self.thread_name(Tid(self.pid)),
            arguments,
            auxiliary,
            threads,
            mappings: self.mappings.borrow().clone(),
            memory: self,
        })
    }

    /// Does a thread block the signal that interrupts?
    fn blocks_interrupts(&self, tid: Tid) -> bool {
        blocks(self.pid, tid, self.hello.signal as i32)
    }

    /// Threads that a trap would end the process in.
    fn blocking_traps(&self) -> io::Result<Vec<Tid>> {
        let mut threads = self.threads()?;
        // One that waits in its handler runs on without.
        threads
            .retain(|tid| !self.stopped.borrow().contains_key(tid) && blocks(self.pid, *tid, libc::SIGTRAP));
        Ok(threads)
    }

    fn is_what_runs(&self, module: &MappedModule) -> bool {
        let (mut on_disk, mut in_memory) = ([0; HEAD_BYTES], [0; HEAD_BYTES]);
        let read = File::open(&module.path).and_then(|mut file| file.read_exact(&mut on_disk));
        read.is_ok() && self.read_memory(module.base, &mut in_memory).is_ok() && on_disk == in_memory
    }
}

/// Copies between the order of `gregs` and the kernel's structure.
macro_rules! each_register {
    ($do:ident) => {
        $do!(
            r8 REG_R8, r9 REG_R9, r10 REG_R10, r11 REG_R11, r12 REG_R12, r13 REG_R13, r14 REG_R14, r15 REG_R15,
            rdi REG_RDI, rsi REG_RSI, rbp REG_RBP, rbx REG_RBX, rdx REG_RDX, rax REG_RAX, rcx REG_RCX,
            rsp REG_RSP, rip REG_RIP, eflags REG_EFL
        )
    };
}

impl Tracer for Process {
    fn pid(&self) -> i32 {
        self.pid
    }

    fn means(&self) -> Means {
        Means::InProcess { can_write_code: self.hello.can_write_code }
    }

    fn keep_pages(&self) {
        self.pages.keep();
    }

    fn forget_pages(&self) {
        self.pages.forget();
    }

    fn seize(&self, _: Tid) -> io::Result<()> {
        Ok(())
    }

    fn interrupt(&self, tid: Tid) -> io::Result<()> {
        if self.blocks_interrupts(tid) {
            return Err(io::Error::other(
                "it blocks all signals, and without ptrace nothing else can interrupt it",
            ));
        }
        self.link.request(wire::INTERRUPT, tid.0 as u64, 0, &[], |_| ())
    }

    fn deaf_threads(&self) -> io::Result<Vec<Tid>> {
        let until = Instant::now() + MASKS_TIME;
        let mut told = BTreeSet::new();
        loop {
            let deaf = self.blocking_traps()?;
            for tid in &deaf {
                if !self.blocks_interrupts(*tid) && told.insert(*tid) {
                    // When this fails it has ended.
                    let _ = self.link.request(wire::LET_TRAPS_IN, tid.0 as u64, 0, &[], |_| ());
                }
            }
            // One that makes a thread blocks everything for a moment.
            if deaf.is_empty() || Instant::now() > until {
                return Ok(deaf);
            }
            std::thread::yield_now();
        }
    }

    fn go(&self, tid: Tid, go: Go, signal: i32) -> io::Result<()> {
        let mut stopped = self.stopped.borrow_mut().remove(&tid).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("the thread {tid} does not wait"))
        })?;
        let flags = &mut stopped.general[libc::REG_EFL as usize];
        match go {
            Go::On => *flags &= !TRAP_FLAG,
            Go::OneInstruction => *flags |= TRAP_FLAG,
        }
        let registers: Vec<u8> = stopped.general.iter().flat_map(|word| word.to_le_bytes()).collect();
        let how = if signal == 0 { GO_ON } else { GO_CHAIN };
        self.link.send(wire::RESUME, stopped.slot, how, &registers).map(|_| ())
    }

    fn listen(&self, _: Tid) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn detach(&self, _: Tid, _: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn event_number(&self, _: Tid) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn signal_code(&self, tid: Tid) -> io::Result<i32> {
        self.with_stopped(tid, |stopped| stopped.code as i32)
    }

    fn signal_info(&self, _: Tid) -> io::Result<libc::siginfo_t> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn trap_at(&self, tid: Tid, pc: u64) -> Address {
        let is_rewound = self.with_stopped(tid, |stopped| stopped.is_rewound).unwrap_or(false);
        Address(if is_rewound { pc } else { pc.wrapping_sub(1) })
    }

    fn has_pending(&self, _: Tid, _: i32) -> io::Result<bool> {
        Ok(false)
    }

    fn kernel_registers(&self, tid: Tid) -> io::Result<libc::user_regs_struct> {
        // SAFETY: user_regs_struct is plain data, for which all zeroes are a value.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        self.with_stopped(tid, |stopped| {
            macro_rules! copy {
                ($($field:ident $index:ident),*) => {
                    $(registers.$field = stopped.general[libc::$index as usize];)*
                };
            }
            each_register!(copy);
            let segments = stopped.general[libc::REG_CSGSFS as usize];
            registers.cs = segments & 0xffff;
            registers.ss = segments >> 48;
            registers.eflags &= !TRAP_FLAG;
            registers.orig_rax = u64::MAX;
            registers.fs_base = stopped.fs_base;
        })?;
        Ok(registers)
    }

    fn set_kernel_registers(&self, tid: Tid, registers: &libc::user_regs_struct) -> io::Result<()> {
        self.with_stopped(tid, |stopped| {
            macro_rules! copy {
                ($($field:ident $index:ident),*) => {
                    $(stopped.general[libc::$index as usize] = registers.$field;)*
                };
            }
            each_register!(copy);
        })
    }

    fn kernel_vector_registers(&self, tid: Tid) -> io::Result<libc::user_fpregs_struct> {
        const BYTES: usize = size_of::<libc::user_fpregs_struct>();
        let at = self.with_stopped(tid, |stopped| stopped.vector)?;
        let mut bytes = [0; BYTES];
        self.read_memory(at, &mut bytes)?;
        // SAFETY: the structure is plain data of this size, as FXSAVE stores it, and the handler's context has it in this form.
        Ok(unsafe { std::mem::transmute::<[u8; BYTES], libc::user_fpregs_struct>(bytes) })
    }

    fn set_debug_register(&self, _: Tid, _: usize, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn debug_status(&self, _: Tid) -> io::Result<u64> {
        Ok(0)
    }

    fn next_event(&self) -> io::Result<Option<(Tid, Waited)>> {
        let Some(event) = self.link.next_event()? else { return Ok(None) };
        let tid = Tid(event.tid as i32);
        let stopped = Stopped {
            slot: event.slot,
            code: event.code,
            is_rewound: event.is_rewound == 1,
            vector: Address(event.vector),
            fs_base: event.fs_base,
            general: event.general,
        };
        self.stopped.borrow_mut().insert(tid, stopped);
        let waited = if event.code == CODE_INTERRUPTED {
            Waited::Event { event: libc::PTRACE_EVENT_STOP, signal: libc::SIGTRAP }
        } else {
            Waited::Signal(libc::SIGTRAP)
        };
        Ok(Some((tid, waited)))
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        Some(self.link.fd())
    }

    fn has_events_waiting(&self) -> bool {
        self.link.has_events_waiting()
    }
}

impl Memory for Process {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let error = MemoryError { address, bytes: buffer.len(), action: "read" };
        self.pages.read(address, buffer, |at, buffer| self.read_memory(at, buffer)).map_err(|_| error)
    }
}

impl Target for Process {
    fn write(&self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let error = MemoryError { address, bytes: bytes.len(), action: "written" };
        self.pages.clear();
        let is_code = u64::from(self.is_code(address));
        let mut at = address.0;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            self.link.request(wire::WRITE, at, is_code, chunk, |_| ()).map_err(|_| error.clone())?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    fn registers(&self, tid: Tid) -> io::Result<Registers> {
        let mut registers = Registers::from_kernel(&self.kernel_registers(tid)?);
        registers.set_vector(self.vector_registers(tid)?);
        Ok(registers)
    }

    fn set_registers(&self, tid: Tid, registers: &Registers) -> io::Result<()> {
        let mut kernel = self.kernel_registers(tid)?;
        registers.to_kernel(&mut kernel);
        self.set_kernel_registers(tid, &kernel)
    }

    fn threads(&self) -> io::Result<Vec<Tid>> {
        let mut threads = threads_of(self.pid)?;
        threads.retain(|tid| tid.0 != self.hello.helper);
        Ok(threads)
    }

    fn modules(&self) -> io::Result<Vec<MappedModule>> {
        let program = self.link.file(wire::FILE_PROGRAM)?;
        let program = String::from_utf8_lossy(&program);
        let program = Path::new(program.trim_end_matches(" (deleted)"));
        self.refresh_mappings()?;
        let mut modules = mappings::modules(&self.mappings.borrow());
        for module in &mut modules {
            module.is_program = module.path == program;
            module.open_path = self.open_path(module);
        }
        Ok(modules)
    }
}
