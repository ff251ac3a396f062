//! A process that another debugger traces, of which pictures can be taken.
//!
//! That debugger would see every trap before the process does, so nothing can be set. But the process's own helper
//! ([`crate::in_process`]) can interrupt its threads: when one is to be paused, all that can are stopped for as long as it takes to copy
//! what a person looks at, and run on. What is shown is that copy, until the last of its threads is let go.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::address::{Address, Tid};
use crate::core_file::Core;
use crate::core_file::write::{Extent, write};
use crate::in_process;
use crate::registers::Registers;
use crate::target::{MappedModule, Memory, MemoryError, Target};
use crate::tracer::{Go, Means, Tracer, Waited};

/// How long threads may take to stop for a picture.
const PICTURE_TIME: Duration = Duration::from_secs(1);
/// Why nothing can be changed.
const PICTURE: &str = "written: this is a picture of a process that runs on";

/// A process of which pictures are taken.
pub struct Process {
    living: in_process::Process,
    picture: RefCell<Option<Picture>>,
    /// Threads that are shown as the picture has them.
    shown: RefCell<BTreeSet<Tid>>,
    /// Those whose stops are to be told.
    events: RefCell<VecDeque<Tid>>,
}

struct Picture {
    core: Core,
    registers: BTreeMap<Tid, (libc::user_regs_struct, libc::user_fpregs_struct)>,
}

impl Process {
    /// Of a process that has let this agent in.
    #[must_use]
    pub fn new(living: in_process::Process) -> Self {
        Self { living, picture: RefCell::default(), shown: RefCell::default(), events: RefCell::default() }
    }

    /// Stops all threads that can be stopped. Those that another debugger holds, or that block signals, cannot.
    fn stop_all(&self) -> io::Result<Vec<Tid>> {
        let mut awaited = BTreeSet::new();
        for tid in self.living.threads()? {
            if !self.living.is_stopped(tid) && self.living.interrupt(tid).is_ok() {
                awaited.insert(tid);
            }
        }
        let until = Instant::now() + PICTURE_TIME;
        let mut stopped = Vec::new();
        while !awaited.is_empty() {
            while let Some((tid, _)) = self.living.next_event()? {
                awaited.remove(&tid);
                stopped.push(tid);
            }
            let left = until.saturating_duration_since(Instant::now());
            if awaited.is_empty() || left.is_zero() {
                break;
            }
            let Some(fd) = self.living.events() else { break };
            match ppoll(&mut [PollFd::new(fd, PollFlags::POLLIN)], Some(TimeSpec::from(left)), None) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(stopped)
    }

    fn take(&self) -> io::Result<Picture> {
        let stopped = self.stop_all()?;
        let taken = self.copy(&stopped);
        for tid in stopped {
            self.living.go(tid, Go::On, 0)?;
        }
        taken
    }

    fn copy(&self, stopped: &[Tid]) -> io::Result<Picture> {
        let mut registers = BTreeMap::new();
        for tid in stopped {
            let general = self.living.kernel_registers(*tid)?;
            registers.insert(*tid, (general, self.living.kernel_vector_registers(*tid)?));
        }
        let mut bytes = Vec::new();
        write(&self.living.picture(stopped)?, Extent::Partial, &mut bytes)?;
        Ok(Picture { core: Core::parse(bytes).map_err(io::Error::other)?, registers })
    }

    fn registers_of(&self, tid: Tid) -> io::Result<(libc::user_regs_struct, libc::user_fpregs_struct)> {
        let picture = self.picture.borrow();
        let registers = picture.as_ref().and_then(|picture| picture.registers.get(&tid));
        registers.copied().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "it did not answer: another debugger holds it, or it blocks all signals",
            )
        })
    }
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Tracer for Process {
    fn pid(&self) -> i32 {
        self.living.pid()
    }

    fn means(&self) -> Means {
        Means::Snapshot
    }

    fn keep_pages(&self) {
        self.living.keep_pages();
    }

    fn forget_pages(&self) {
        self.living.forget_pages();
    }

    fn seize(&self, _: Tid) -> io::Result<()> {
        Ok(())
    }

    fn interrupt(&self, tid: Tid) -> io::Result<()> {
        let living = self.living.threads()?;
        self.shown.borrow_mut().retain(|shown| living.contains(shown));
        if self.shown.borrow().is_empty() {
            *self.picture.borrow_mut() = None;
            let picture = self.take()?;
            *self.picture.borrow_mut() = Some(picture);
        }
        let is_there = self.registers_of(tid).map(drop);
        match &is_there {
            Ok(()) => {
                self.shown.borrow_mut().insert(tid);
                self.events.borrow_mut().push_back(tid);
            }
            // Nobody looks at it.
            Err(_) if self.shown.borrow().is_empty() => *self.picture.borrow_mut() = None,
            Err(_) => {}
        }
        is_there
    }

    fn go(&self, tid: Tid, _: Go, _: i32) -> io::Result<()> {
        let mut shown = self.shown.borrow_mut();
        shown.remove(&tid);
        if shown.is_empty() {
            *self.picture.borrow_mut() = None;
        }
        Ok(())
    }

    fn listen(&self, _: Tid) -> io::Result<()> {
        unsupported()
    }

    fn detach(&self, _: Tid, _: i32) -> io::Result<()> {
        unsupported()
    }

    fn event_number(&self, _: Tid) -> io::Result<u64> {
        unsupported()
    }

    fn signal_info(&self, _: Tid) -> io::Result<libc::siginfo_t> {
        unsupported()
    }

    fn trap_at(&self, _: Tid, pc: u64) -> Address {
        Address(pc)
    }

    fn has_pending(&self, _: Tid, _: i32) -> io::Result<bool> {
        Ok(false)
    }

    fn kernel_registers(&self, tid: Tid) -> io::Result<libc::user_regs_struct> {
        Ok(self.registers_of(tid)?.0)
    }

    fn set_kernel_registers(&self, _: Tid, _: &libc::user_regs_struct) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("the registers cannot be {PICTURE}")))
    }

    fn kernel_vector_registers(&self, tid: Tid) -> io::Result<libc::user_fpregs_struct> {
        Ok(self.registers_of(tid)?.1)
    }

    fn set_debug_register(&self, _: Tid, _: usize, _: u64) -> io::Result<()> {
        unsupported()
    }

    fn debug_status(&self, _: Tid) -> io::Result<u64> {
        Ok(0)
    }

    fn next_event(&self) -> io::Result<Option<(Tid, Waited)>> {
        if let Some(tid) = self.events.borrow_mut().pop_front() {
            let stop = Waited::Event { event: libc::PTRACE_EVENT_STOP, signal: libc::SIGTRAP };
            return Ok(Some((tid, stop)));
        }
        // Too late for the picture.
        while let Some((tid, _)) = self.living.next_event()? {
            self.living.go(tid, Go::On, 0)?;
        }
        Ok(None)
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        self.living.events()
    }

    fn has_events_waiting(&self) -> bool {
        !self.events.borrow().is_empty() || self.living.has_events_waiting()
    }
}

impl Memory for Process {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        match &*self.picture.borrow() {
            Some(picture) => picture.core.read(address, buffer),
            None => self.living.read(address, buffer),
        }
    }
}

impl Target for Process {
    fn write(&self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        Err(MemoryError { address, bytes: bytes.len(), action: PICTURE })
    }

    fn registers(&self, tid: Tid) -> io::Result<Registers> {
        let mut registers = Registers::from_kernel(&self.kernel_registers(tid)?);
        registers.set_vector(self.vector_registers(tid)?);
        Ok(registers)
    }

    fn set_registers(&self, _: Tid, _: &Registers) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("the registers cannot be {PICTURE}")))
    }

    fn threads(&self) -> io::Result<Vec<Tid>> {
        self.living.threads()
    }

    fn modules(&self) -> io::Result<Vec<MappedModule>> {
        self.living.modules()
    }
}
