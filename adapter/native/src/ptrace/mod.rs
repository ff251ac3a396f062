//! The live process: ptrace and its memory file.
//!
//! ptrace belongs to the thread that attached: one [`Process`] is used from one OS thread only, and is therefore not `Send`.
//! Nothing here decides anything; every function is one action on one thread.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::{Duration, Instant};

use crate::address::{Address, Tid};
use crate::kept_pages::KeptPages;
use crate::mappings;
use crate::registers::Registers;
use crate::target::{MappedModule, Memory, MemoryError, Target};
use crate::tracer::{Go, Means, Tracer, Waited, threads_of};

/// A traced process.
pub struct Process {
    /// Its id.
    pub pid: i32,
    memory: File,
    pages: KeptPages,
    stays_on_its_thread: PhantomData<*const ()>,
}

const OPTIONS: i32 = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEEXEC;
/// `PTRACE_GETSIGMASK` and `PTRACE_SETSIGMASK` of ptrace(2).
const GET_SIGNAL_MASK: libc::c_uint = 0x420a;
const SET_SIGNAL_MASK: libc::c_uint = 0x420b;
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
        Ok(Self { pid, memory, pages: KeptPages::default(), stays_on_its_thread: PhantomData })
    }
}

impl Tracer for Process {
    fn pid(&self) -> i32 {
        self.pid
    }

    fn keep_pages(&self) {
        self.pages.keep();
    }

    fn forget_pages(&self) {
        self.pages.forget();
    }

    fn seize(&self, tid: Tid) -> io::Result<()> {
        request(libc::PTRACE_SEIZE, tid, 0, OPTIONS as usize).map(|_| ())
    }

    fn interrupt(&self, tid: Tid) -> io::Result<()> {
        request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(|_| ())
    }

    fn go(&self, tid: Tid, go: Go, signal: i32) -> io::Result<()> {
        let how = match go {
            Go::On => libc::PTRACE_CONT,
            Go::OneInstruction => libc::PTRACE_SINGLESTEP,
        };
        request(how, tid, 0, signal as usize).map(|_| ())
    }

    fn listen(&self, tid: Tid) -> io::Result<()> {
        request(libc::PTRACE_LISTEN, tid, 0, 0).map(|_| ())
    }

    fn detach(&self, tid: Tid, signal: i32) -> io::Result<()> {
        request(libc::PTRACE_DETACH, tid, 0, signal as usize).map(|_| ())
    }

    fn event_number(&self, tid: Tid) -> io::Result<u64> {
        let mut number: libc::c_ulong = 0;
        request(libc::PTRACE_GETEVENTMSG, tid, 0, (&raw mut number) as usize)?;
        Ok(number)
    }

    fn signal_info(&self, tid: Tid) -> io::Result<libc::siginfo_t> {
        // SAFETY: siginfo_t is plain data, for which all zeroes are a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info) as usize)?;
        Ok(info)
    }

    fn has_pending(&self, tid: Tid, signal: i32) -> io::Result<bool> {
        const MOST: usize = 8;
        // SAFETY: siginfo_t is plain data, for which all zeroes are a value.
        let mut infos: [libc::siginfo_t; MOST] = unsafe { std::mem::zeroed() };
        let arguments = libc::ptrace_peeksiginfo_args { off: 0, flags: 0, nr: MOST as i32 };
        let from = ptr::from_ref(&arguments) as usize;
        let count = request(libc::PTRACE_PEEKSIGINFO, tid, from, infos.as_mut_ptr() as usize)?;
        let there = &infos[..usize::try_from(count).unwrap_or(0).min(MOST)];
        Ok(there.iter().any(|info| info.si_signo == signal))
    }

    fn signal_mask(&self, tid: Tid) -> io::Result<u64> {
        let mut mask = 0u64;
        request(GET_SIGNAL_MASK, tid, size_of::<u64>(), (&raw mut mask) as usize)?;
        Ok(mask)
    }

    fn set_signal_mask(&self, tid: Tid, mask: u64) -> io::Result<()> {
        request(SET_SIGNAL_MASK, tid, size_of::<u64>(), (&raw const mask) as usize).map(|_| ())
    }

    fn next_event_of(&self, tid: Tid, most: Duration) -> io::Result<Option<Waited>> {
        wait_within(tid, most)
    }

    fn kernel_registers(&self, tid: Tid) -> io::Result<libc::user_regs_struct> {
        // SAFETY: user_regs_struct is plain data, for which all zeroes are a value.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETREGS, tid, 0, (&raw mut registers) as usize)?;
        Ok(registers)
    }

    fn set_kernel_registers(&self, tid: Tid, registers: &libc::user_regs_struct) -> io::Result<()> {
        request(libc::PTRACE_SETREGS, tid, 0, ptr::from_ref(registers) as usize).map(|_| ())
    }

    fn kernel_vector_registers(&self, tid: Tid) -> io::Result<libc::user_fpregs_struct> {
        // SAFETY: user_fpregs_struct is plain data, for which all zeroes are a value.
        let mut registers: libc::user_fpregs_struct = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETFPREGS, tid, 0, (&raw mut registers) as usize)?;
        Ok(registers)
    }

    fn set_debug_register(&self, tid: Tid, number: usize, value: u64) -> io::Result<()> {
        request(libc::PTRACE_POKEUSER, tid, DEBUG_REGISTERS + number * 8, value as usize).map(|_| ())
    }

    fn debug_status(&self, tid: Tid) -> io::Result<u64> {
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

    fn means(&self) -> Means {
        Means::Ptrace
    }

    fn trap_at(&self, _: Tid, pc: u64) -> Address {
        Address(pc.wrapping_sub(1))
    }

    fn next_event(&self) -> io::Result<Option<(Tid, Waited)>> {
        wait_any()
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Memory for Process {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let error = MemoryError { address, bytes: buffer.len(), action: "read" };
        if i64::try_from(address.0).is_err() {
            return Err(error);
        }
        let read = |at: Address, buffer: &mut [u8]| self.memory.read_exact_at(buffer, at.0);
        self.pages.read(address, buffer, read).map_err(|_| error)
    }
}

impl Target for Process {
    fn write(&self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let error = MemoryError { address, bytes: bytes.len(), action: "written" };
        if i64::try_from(address.0).is_err() {
            return Err(error);
        }
        self.pages.clear();
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
        threads_of(self.pid)
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

/// What one traced thread does next, if it does something within this time.
fn wait_within(tid: Tid, most: Duration) -> io::Result<Option<Waited>> {
    let until = Instant::now() + most;
    loop {
        let mut status = 0;
        // SAFETY: status is a valid place for the result.
        match unsafe { libc::waitpid(tid.0, &raw mut status, libc::__WALL | libc::WNOHANG) } {
            -1 => return Err(io::Error::last_os_error()),
            0 if Instant::now() > until => return Ok(None),
            0 => std::thread::yield_now(),
            _ => return Ok(Some(waited(status))),
        }
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
