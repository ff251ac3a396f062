//! What the engine does to a living process, by whatever means.
//!
//! [`crate::ptrace`] is the way that works on every program; [`crate::in_process`] is for a process that helps itself because the system
//! refuses ptrace. The words are those of ptrace(2). Nothing here decides anything: every method is one action on one thread.

use std::io::{self, Read};
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::address::{Address, Tid};
use crate::registers::Registers;
use crate::target::{MappedModule, Memory, MemoryError, Target};

/// Bytes of a thread's status file, of which few are longer.
const STATUS_BYTES: usize = 4 << 10;

/// What a thread did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It ended by itself.
    Exited(i32),
    /// A signal ended it, with the whole process.
    Killed(i32),
    /// It is about to take a signal.
    Signal(i32),
    /// An event of ptrace, with the signal that the stop is reported as.
    Event {
        /// `PTRACE_EVENT_…`
        event: i32,
        /// The signal.
        signal: i32,
    },
}

/// How a thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Until something happens.
    On,
    /// For one instruction.
    OneInstruction,
}

/// How a process is debugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// From outside.
    Ptrace,
    /// By its own signal handlers.
    InProcess {
        /// Its code can be patched.
        can_write_code: bool,
    },
    /// Only pictures of it are taken, as somebody else traces it.
    Snapshot,
}

/// A living process that is debugged.
pub trait Tracer: Target {
    /// Its id.
    fn pid(&self) -> i32;

    /// How it is debugged.
    fn means(&self) -> Means;

    /// From here to [`Self::forget_pages`] each page of memory is read once.
    fn keep_pages(&self);

    /// The look is over.
    fn forget_pages(&self);

    /// Begins to trace a thread, without stopping it. Threads that it makes are traced too. Whoever is debugged outlives the
    /// debugger.
    fn seize(&self, tid: Tid) -> io::Result<()>;

    /// Asks a running thread to stop.
    fn interrupt(&self, tid: Tid) -> io::Result<()>;

    /// Lets a stopped thread run on, with a signal or with none (0).
    fn go(&self, tid: Tid, go: Go, signal: i32) -> io::Result<()>;

    /// Leaves a thread in its group stop (Ctrl-Z), and learns when that ends.
    fn listen(&self, tid: Tid) -> io::Result<()>;

    /// Stops tracing a stopped thread, which runs on.
    fn detach(&self, tid: Tid, signal: i32) -> io::Result<()>;

    /// The number that belongs to an event: of a CLONE, the new thread.
    fn event_number(&self, tid: Tid) -> io::Result<u64>;

    /// The `si_code` of the signal that a thread is about to take.
    fn signal_code(&self, tid: Tid) -> io::Result<i32> {
        Ok(self.signal_info(tid)?.si_code)
    }

    /// What is known of the signal that a thread is about to take.
    fn signal_info(&self, tid: Tid) -> io::Result<libc::siginfo_t>;

    /// Where a thread has hit a patch, of which the program counter is now here.
    fn trap_at(&self, tid: Tid, pc: u64) -> Address;

    /// Will a stopped thread be about to take this signal next? Looks at the first few that wait for it.
    fn has_pending(&self, tid: Tid, signal: i32) -> io::Result<bool>;

    /// The signals that a stopped thread has blocked, as bits from that of signal 1 on.
    ///
    /// # Errors
    /// Unsupported, as the two below, where a process is not debugged from outside.
    fn signal_mask(&self, _: Tid) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sets them.
    fn set_signal_mask(&self, _: Tid, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes every thread take traps, where a trap in a thread that blocks them would end the process. Gives those that cannot be made to.
    ///
    /// # Errors
    /// When the process is ending.
    fn deaf_threads(&self) -> io::Result<Vec<Tid>> {
        Ok(Vec::new())
    }

    /// Waits for what one thread does next, so long at most. The end of a process's first thread is not told before that of all others.
    fn next_event_of(&self, _: Tid, _: Duration) -> io::Result<Option<Waited>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Has the process of a thread that lives a handler for a signal? True also when that cannot be found out.
    fn catches(&self, tid: Tid, signal: i32) -> bool {
        let caught = status_of(self.pid(), tid).and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        });
        caught.is_none_or(|caught| caught & (1 << (signal - 1)) != 0)
    }

    /// The registers as the kernel has them.
    fn kernel_registers(&self, tid: Tid) -> io::Result<libc::user_regs_struct>;

    /// Sets the registers.
    fn set_kernel_registers(&self, tid: Tid, registers: &libc::user_regs_struct) -> io::Result<()>;

    /// The vector registers as the kernel has them.
    fn kernel_vector_registers(&self, tid: Tid) -> io::Result<libc::user_fpregs_struct>;

    /// `xmm0` to `xmm15`.
    fn vector_registers(&self, tid: Tid) -> io::Result<[u128; 16]> {
        let registers = self.kernel_vector_registers(tid)?;
        let mut vector = [0; 16];
        for (value, words) in vector.iter_mut().zip(registers.xmm_space.chunks_exact(4)) {
            *value = words.iter().rev().fold(0u128, |value, word| value << 32 | u128::from(*word));
        }
        Ok(vector)
    }

    /// Can threads be given debug registers?
    fn has_debug_registers(&self) -> bool {
        self.means() == Means::Ptrace
    }

    /// Sets debug register `number` of a stopped thread.
    fn set_debug_register(&self, tid: Tid, number: usize, value: u64) -> io::Result<()>;

    /// Which debug registers have made a thread trap, as bits by their number.
    fn debug_status(&self, tid: Tid) -> io::Result<u64>;

    /// What the next thread did, if any did something. Never blocks. An error is the end of the process.
    fn next_event(&self) -> io::Result<Option<(Tid, Waited)>>;

    /// What can be read from when there is something for [`Self::next_event`], if that is not told by SIGCHLD.
    fn events(&self) -> Option<BorrowedFd<'_>>;

    /// Is there something for it already that was read with something else?
    fn has_events_waiting(&self) -> bool {
        false
    }

    /// What tells this process from all others of this machine, also from a later one with the same id.
    fn identity(&self) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let started = manta_guard::wire::started_and_parent(&stat).map_or(0, |(started, _)| started);
        format!("{}-{started}", self.pid())
    }

    /// The thread that traces one of the process's; `None` when nobody does, or it has ended.
    fn tracer_of(&self, tid: Tid) -> Option<i32> {
        let status = status_of(self.pid(), tid)?;
        let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
        line.trim().parse().ok().filter(|tracer| *tracer != 0)
    }

    /// A thread's name.
    fn thread_name(&self, tid: Tid) -> String {
        let name =
            std::fs::read_to_string(format!("/proc/{}/task/{tid}/comm", self.pid())).unwrap_or_default();
        name.trim_end().to_owned()
    }
}

/// The kernel's account of a thread; see proc_pid_status(5). `None` when the thread is gone.
fn status_of(pid: i32, tid: Tid) -> Option<String> {
    let mut file = std::fs::File::open(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    // Such files say that they are empty: who believes that reads a few bytes at a time.
    let mut status = String::with_capacity(STATUS_BYTES);
    file.by_ref().take(u64::MAX).read_to_string(&mut status).ok()?;
    Some(status)
}

/// Does a thread block a signal? See `SigBlk` in proc_pid_status(5). One that has ended does not.
pub(crate) fn blocks(pid: i32, tid: Tid, signal: i32) -> bool {
    let status = status_of(pid, tid).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    signal > 0 && mask & 1 << (signal - 1) != 0
}

/// The threads that a process has now, by the kernel's list (proc(5), `/proc/pid/task`).
///
/// # Errors
/// When there is no such process, or its threads may not be seen.
pub(crate) fn threads_of(pid: i32) -> io::Result<Vec<Tid>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        threads.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()).map(Tid));
    }
    Ok(threads)
}

/// A living process, whatever the means.
pub struct Live(Box<dyn Tracer>);

impl Live {
    /// Of a process that is debugged by some means.
    pub fn new(tracer: impl Tracer + 'static) -> Self {
        Self(Box::new(tracer))
    }
}

impl Deref for Live {
    type Target = dyn Tracer;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Memory for Live {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.0.read(address, buffer)
    }
}

impl Target for Live {
    fn write(&self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        self.0.write(address, bytes)
    }

    fn registers(&self, tid: Tid) -> io::Result<Registers> {
        self.0.registers(tid)
    }

    fn set_registers(&self, tid: Tid, registers: &Registers) -> io::Result<()> {
        self.0.set_registers(tid, registers)
    }

    fn threads(&self) -> io::Result<Vec<Tid>> {
        self.0.threads()
    }

    fn modules(&self) -> io::Result<Vec<MappedModule>> {
        self.0.modules()
    }
}
