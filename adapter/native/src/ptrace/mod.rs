//! The live process: ptrace and its memory file.
//!
//! ptrace belongs to the thread that attached: one [`Process`] is used from one OS thread only, and is therefore not `Send`.
//! Nothing here decides anything; every function is one action on one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr;

use crate::address::{Address, Tid};
use crate::limits::KEPT_PAGES_MAX;
use crate::mappings;
use crate::registers::Registers;
use crate::target::{MappedModule, Memory, MemoryError, Target};

/// A traced process.
pub struct Process {
    /// Its id.
    pub pid: i32,
    memory: File,
    pages: RefCell<Option<Pages>>,
    stays_on_its_thread: PhantomData<*const ()>,
}

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

const OPTIONS: i32 = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEEXEC;
/// A page of memory on x86-64.
const PAGE_BYTES: usize = 4096;
/// Reads of more bytes than this go around the pages that are kept.
const KEPT_BYTES_MAX: usize = 16 * PAGE_BYTES;
/// Where the debug registers are in the structure that POKEUSER writes into.
const DEBUG_REGISTERS: usize = std::mem::offset_of!(libc::user, u_debugreg);

fn request(request: libc::c_uint, tid: Tid, address: usize, data: usize) -> io::Result<i64> {
    // SAFETY: the callers below give requests whose address and data are numbers, or pointers to memory of the right type
    // that lives across the call.
    let result = unsafe { libc::ptrace(request, tid.0, address, data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl Process {
    /// Opens a process's memory; no thread is traced yet.
    pub fn open(pid: i32) -> io::Result<Self> {
        let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
        Ok(Self { pid, memory, pages: RefCell::default(), stays_on_its_thread: PhantomData })
    }

    /// From here to [`Self::forget_pages`] each page of memory is read once: for one look at a thread that is held, of which the
    /// small parts lie close together. What other threads write meanwhile is not seen.
    pub fn keep_pages(&self) {
        self.pages.borrow_mut().get_or_insert_default();
    }

    /// The look is over.
    pub fn forget_pages(&self) {
        *self.pages.borrow_mut() = None;
    }

    /// Begins to trace a thread, without stopping it. Threads that it makes are traced too. There is no EXITKILL: whoever
    /// is debugged outlives the debugger.
    pub fn seize(&self, tid: Tid) -> io::Result<()> {
        request(libc::PTRACE_SEIZE, tid, 0, OPTIONS as usize).map(|_| ())
    }

    /// Asks a running thread to stop.
    pub fn interrupt(&self, tid: Tid) -> io::Result<()> {
        request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(|_| ())
    }

    /// Lets a stopped thread run on, with a signal or with none (0).
    pub fn go(&self, tid: Tid, go: Go, signal: i32) -> io::Result<()> {
        let how = match go {
            Go::On => libc::PTRACE_CONT,
            Go::OneInstruction => libc::PTRACE_SINGLESTEP,
        };
        request(how, tid, 0, signal as usize).map(|_| ())
    }

    /// Leaves a thread in its group stop (Ctrl-Z), and learns when that ends.
    pub fn listen(&self, tid: Tid) -> io::Result<()> {
        request(libc::PTRACE_LISTEN, tid, 0, 0).map(|_| ())
    }

    /// Stops tracing a stopped thread, which runs on.
    pub fn detach(&self, tid: Tid, signal: i32) -> io::Result<()> {
        request(libc::PTRACE_DETACH, tid, 0, signal as usize).map(|_| ())
    }

    /// The number that belongs to an event: of a CLONE, the new thread.
    pub fn event_number(&self, tid: Tid) -> io::Result<u64> {
        let mut number: libc::c_ulong = 0;
        request(libc::PTRACE_GETEVENTMSG, tid, 0, (&raw mut number) as usize)?;
        Ok(number)
    }

    /// The `si_code` of the signal that a thread is about to take.
    pub fn signal_code(&self, tid: Tid) -> io::Result<i32> {
        Ok(self.signal_info(tid)?.si_code)
    }

    /// What is known of the signal that a thread is about to take.
    pub fn signal_info(&self, tid: Tid) -> io::Result<libc::siginfo_t> {
        // SAFETY: siginfo_t is plain data, for which all zeroes are a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info) as usize)?;
        Ok(info)
    }

    /// Will a stopped thread be about to take this signal next? Looks at the first few that wait for it.
    pub fn has_pending(&self, tid: Tid, signal: i32) -> io::Result<bool> {
        const MOST: usize = 8;
        // SAFETY: siginfo_t is plain data, for which all zeroes are a value.
        let mut infos: [libc::siginfo_t; MOST] = unsafe { std::mem::zeroed() };
        let arguments = libc::ptrace_peeksiginfo_args { off: 0, flags: 0, nr: MOST as i32 };
        let from = ptr::from_ref(&arguments) as usize;
        let count = request(libc::PTRACE_PEEKSIGINFO, tid, from, infos.as_mut_ptr() as usize)?;
        let there = &infos[..usize::try_from(count).unwrap_or(0).min(MOST)];
        Ok(there.iter().any(|info| info.si_signo == signal))
    }

    /// The registers as the kernel has them.
    pub fn kernel_registers(&self, tid: Tid) -> io::Result<libc::user_regs_struct> {
        // SAFETY: user_regs_struct is plain data, for which all zeroes are a value.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETREGS, tid, 0, (&raw mut registers) as usize)?;
        Ok(registers)
    }

    /// Sets the registers.
    pub fn set_kernel_registers(&self, tid: Tid, registers: &libc::user_regs_struct) -> io::Result<()> {
        request(libc::PTRACE_SETREGS, tid, 0, ptr::from_ref(registers) as usize).map(|_| ())
    }

    /// The vector registers as the kernel has them.
    pub fn kernel_vector_registers(&self, tid: Tid) -> io::Result<libc::user_fpregs_struct> {
        // SAFETY: user_fpregs_struct is plain data, for which all zeroes are a value.
        let mut registers: libc::user_fpregs_struct = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETFPREGS, tid, 0, (&raw mut registers) as usize)?;
        Ok(registers)
    }

    /// `xmm0` to `xmm15`.
    pub fn vector_registers(&self, tid: Tid) -> io::Result<[u128; 16]> {
        let registers = self.kernel_vector_registers(tid)?;
        let mut vector = [0; 16];
        for (value, words) in vector.iter_mut().zip(registers.xmm_space.chunks_exact(4)) {
            *value = words.iter().rev().fold(0u128, |value, word| value << 32 | u128::from(*word));
        }
        Ok(vector)
    }

    /// Sets debug register `number` of a stopped thread.
    pub fn set_debug_register(&self, tid: Tid, number: usize, value: u64) -> io::Result<()> {
        request(libc::PTRACE_POKEUSER, tid, DEBUG_REGISTERS + number * 8, value as usize).map(|_| ())
    }

    /// Which debug registers have made a thread trap, as bits by their number.
    pub fn debug_status(&self, tid: Tid) -> io::Result<u64> {
        const STATUS: usize = DEBUG_REGISTERS + 6 * 8;
        // The C library's wrapper gives back what was read, and an error only by errno; the word of the kernel itself does not
        // get lost in that.
        // SAFETY: errno is this thread's own; PEEKUSER takes numbers and touches no memory of ours.
        let status = unsafe {
            *libc::__errno_location() = 0;
            libc::ptrace(libc::PTRACE_PEEKUSER, tid.0, STATUS, 0)
        };
        let error = io::Error::last_os_error();
        if status == -1 && error.raw_os_error() != Some(0) { Err(error) } else { Ok(status as u64) }
    }

    /// What tells this process from all others of this machine, also from a later one with the same id.
    #[must_use]
    pub fn identity(&self) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name stands in brackets and may have spaces; the start time is the twentieth word after it.
        let started = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap_or("0");
        format!("{}-{started}", self.pid)
    }

    /// The thread that traces one of the process's; `None` when nobody does, or it has ended.
    #[must_use]
    pub fn tracer_of(&self, tid: Tid) -> Option<i32> {
        let status = std::fs::read_to_string(format!("/proc/{}/task/{tid}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
        line.trim().parse().ok().filter(|tracer| *tracer != 0)
    }

    /// A thread's name.
    #[must_use]
    pub fn thread_name(&self, tid: Tid) -> String {
        let name = std::fs::read_to_string(format!("/proc/{}/task/{tid}/comm", self.pid)).unwrap_or_default();
        name.trim_end().to_owned()
    }
}

impl Memory for Process {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let error = MemoryError { address, bytes: buffer.len(), action: "read" };
        if i64::try_from(address.0).is_err() {
            return Err(error);
        }
        match self.pages.borrow_mut().as_mut().filter(|_| buffer.len() <= KEPT_BYTES_MAX) {
            Some(pages) => pages.read(&self.memory, address, buffer),
            None => self.memory.read_exact_at(buffer, address.0),
        }
        .map_err(|_| error)
    }
}

/// Pages of memory that have been read.
#[derive(Default)]
struct Pages(HashMap<u64, Box<[u8; PAGE_BYTES]>>);

impl Pages {
    /// Memory can be read by whole pages: these are what is mapped or not.
    fn read(&mut self, memory: &File, address: Address, buffer: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (address.0, buffer);
        while !rest.is_empty() {
            let (page, offset) = (at / PAGE_BYTES as u64, at as usize % PAGE_BYTES);
            let (part, further) = rest.split_at_mut(rest.len().min(PAGE_BYTES - offset));
            part.copy_from_slice(&self.page(memory, page)?[offset..][..part.len()]);
            at += part.len() as u64;
            rest = further;
        }
        Ok(())
    }

    fn page(&mut self, memory: &File, page: u64) -> io::Result<&[u8; PAGE_BYTES]> {
        if self.0.len() >= KEPT_PAGES_MAX {
            self.0.retain(|kept, _| *kept == page);
        }
        Ok(match self.0.entry(page) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(place) => {
                let mut bytes = Box::new([0; PAGE_BYTES]);
                memory.read_exact_at(&mut *bytes, page * PAGE_BYTES as u64)?;
                place.insert(bytes)
            }
        })
    }
}

impl Target for Process {
    fn write(&self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let error = MemoryError { address, bytes: bytes.len(), action: "written" };
        if i64::try_from(address.0).is_err() {
            return Err(error);
        }
        if let Some(pages) = self.pages.borrow_mut().as_mut() {
            pages.0.clear();
        }
        self.memory.write_all_at(bytes, address.0).map_err(|_| error)
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
        let mut threads = Vec::new();
        for entry in std::fs::read_dir(format!("/proc/{}/task", self.pid))? {
            threads.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()).map(Tid));
        }
        Ok(threads)
    }

    fn modules(&self) -> io::Result<Vec<MappedModule>> {
        let program = std::fs::read_link(format!("/proc/{}/exe", self.pid))?;
        // The kernel says this of a file that was replaced; the names of mappings are without it.
        let program = program.to_string_lossy();
        let program = program.trim_end_matches(" (deleted)");
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid))?;
        let mut modules = mappings::modules(&mappings::parse(&maps));
        for module in &mut modules {
            module.is_program = module.path == Path::new(program);
            // The link opens the very file that runs, also after it was replaced on the disk.
            module.open_path = if module.is_program {
                PathBuf::from(format!("/proc/{}/exe", self.pid))
            } else {
                PathBuf::from(format!("/proc/{}/root{}", self.pid, module.path.display()))
            };
        }
        Ok(modules)
    }
}

/// What the next thread did, if any did something. Never blocks.
pub fn wait_any() -> io::Result<Option<(Tid, Waited)>> {
    let mut status = 0;
    // SAFETY: status is a valid place for the result.
    let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) };
    match tid {
        0 => Ok(None),
        -1 => {
            let error = io::Error::last_os_error();
            // No thread is traced any more.
            if error.raw_os_error() == Some(libc::ECHILD) { Ok(None) } else { Err(error) }
        }
        tid => Ok(Some((Tid(tid), waited(status)))),
    }
}

/// What one traced thread does next. Blocks until it does something.
pub fn wait_for(tid: Tid) -> io::Result<Waited> {
    let mut status = 0;
    // SAFETY: status is a valid place for the result.
    let found = unsafe { libc::waitpid(tid.0, &raw mut status, libc::__WALL) };
    if found == -1 { Err(io::Error::last_os_error()) } else { Ok(waited(status)) }
}

fn waited(status: i32) -> Waited {
    if libc::WIFEXITED(status) {
        Waited::Exited(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Waited::Killed(libc::WTERMSIG(status))
    } else {
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            0 => Waited::Signal(signal),
            event => Waited::Event { event, signal },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn pages_that_are_kept_are_read_once() {
        let own = Process::open(std::process::id() as i32).unwrap();
        let page = AtomicU64::new(1);
        let address = Address(page.as_ptr() as u64);
        let read = || own.read_u64(address).unwrap();
        own.keep_pages();
        assert_eq!(read(), 1);
        page.store(2, Ordering::SeqCst);
        assert_eq!(read(), 1);
        own.write(address, &3u64.to_le_bytes()).unwrap();
        assert_eq!(read(), 3);
        page.store(4, Ordering::SeqCst);
        own.forget_pages();
        assert_eq!(read(), 4);
    }

    #[test]
    fn pages_that_are_kept_end_where_memory_ends() {
        let own = Process::open(std::process::id() as i32).unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let maps = mappings::parse(&maps);
        // Behind the last mapping of the program's file nothing begins for a while.
        let gap = maps.windows(2).find(|pair| pair[0].end < pair[1].start && pair[0].is_readable).unwrap();
        let end = gap[0].end;
        own.keep_pages();
        let mut bytes = [0; 8];
        own.read(Address(end.0 - 8), &mut bytes).unwrap();
        assert!(own.read(Address(end.0 - 4), &mut bytes).is_err());
        assert!(own.read(Address(0), &mut bytes).is_err());
        assert!(own.read(Address(u64::MAX - 2), &mut bytes).is_err());
    }

    #[test]
    fn statuses_are_told_apart() {
        assert_eq!(waited(3 << 8), Waited::Exited(3));
        assert_eq!(waited(9), Waited::Killed(9));
        assert_eq!(waited(libc::SIGTRAP << 8 | 0x7f), Waited::Signal(libc::SIGTRAP));
        assert_eq!(
            waited(libc::PTRACE_EVENT_STOP << 16 | libc::SIGTRAP << 8 | 0x7f),
            Waited::Event { event: libc::PTRACE_EVENT_STOP, signal: libc::SIGTRAP }
        );
    }
}
