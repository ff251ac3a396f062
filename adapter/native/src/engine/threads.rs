//! The threads of the process, as the engine sees them.

use std::collections::{BTreeMap, BTreeSet};

use super::sites::{HARDWARE_SITES, STEP_REGISTER};
use super::step::StepPlan;
use super::stops::Stop;
use crate::address::{Address, Tid};

/// Debug registers of a thread: three for breakpoints and one for its own steps.
pub const DEBUG_REGISTERS: usize = HARDWARE_SITES + 1;

/// What one debug register does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DebugRegister {
    /// Where; 0 when it is off.
    pub address: Address,
    /// What stops there.
    pub kind: RegisterKind,
}

/// What a debug register stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RegisterKind {
    /// The execution of the instruction.
    #[default]
    Execute,
    /// A write of some of so many bytes.
    Write {
        /// 1, 2, 4 or 8.
        bytes: u8,
    },
    /// A read or a write of some of so many bytes.
    ReadWrite {
        /// 1, 2, 4 or 8.
        bytes: u8,
    },
}

impl DebugRegister {
    /// A register that stops execution.
    #[must_use]
    pub fn execute(address: Address) -> Self {
        Self { address, kind: RegisterKind::Execute }
    }

    /// Does it stop nothing?
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.address.0 == 0
    }

    /// Its bits in the register that controls the others, when it has this number.
    #[must_use]
    pub fn control(&self, number: usize) -> u64 {
        if self.is_off() {
            return 0;
        }
        let length = |bytes: u8| match bytes {
            1 => 0b00,
            2 => 0b01,
            4 => 0b11,
            _ => 0b10,
        };
        let access = match self.kind {
            RegisterKind::Execute => 0b00,
            RegisterKind::Write { bytes } => 0b01 | length(bytes) << 2,
            RegisterKind::ReadWrite { bytes } => 0b11 | length(bytes) << 2,
        };
        1 << (number * 2) | access << (16 + number * 4)
    }
}

/// What a thread does.
pub enum State {
    /// It has been made and has not been seen yet.
    Starting,
    /// It runs.
    Running,
    /// It is in a group stop (Ctrl-Z), which is not the engine's.
    GroupStopped,
    /// It has loaded a library, and is stopped until every thread has the breakpoints there.
    Parked,
    /// It is held for the user.
    Held(Box<Stop>),
}

/// One thread.
pub struct Thread {
    /// The kernel's id, which may be used again.
    pub tid: Tid,
    /// The client's id, which is never used again.
    pub id: i32,
    /// What it does.
    pub state: State,
    /// The thread that made it has reported so. The kernel may report a new thread's own first stop, and even its end, before that.
    pub is_announced: bool,
    /// What its debug registers hold; unknown when another debugger may have set them.
    pub debug_registers: Option<[DebugRegister; DEBUG_REGISTERS]>,
    /// An interrupt is on its way to it.
    pub interrupt_pending: bool,
    /// A trap of a step that was interrupted will be reported next.
    pub trap_pending: bool,
    /// The client asked it to stop.
    pub pause_wanted: bool,
    /// A step that it is making.
    pub step: Option<StepPlan>,
    /// The number of the stop that it has left last; 0 before the first.
    pub left_stop: u64,
    /// Registers that were read at its present stop.
    pub registers: Option<libc::user_regs_struct>,
    /// Whatever is set at this address has been judged for this visit: on resuming, the thread gets past it.
    pub judged: Option<Address>,
    /// The registers were changed and must be written before it runs.
    pub registers_changed: bool,
    /// A signal that it takes when it runs on; 0 for none.
    pub signal: i32,
    /// The fatal signal that it was last seen with, and where.
    pub seen_signal: Option<(i32, u64)>,
}

/// All threads.
#[derive(Default)]
pub struct Threads {
    threads: BTreeMap<Tid, Thread>,
    next_id: i32,
    /// Threads that ended before they were announced.
    ended_early: BTreeSet<Tid>,
}

impl Thread {
    /// The stop that it is held at.
    #[must_use]
    pub fn stop(&self) -> Option<&Stop> {
        match &self.state {
            State::Held(stop) => Some(stop),
            _ => None,
        }
    }

    /// The same, to change it.
    pub fn stop_mut(&mut self) -> Option<&mut Stop> {
        match &mut self.state {
            State::Held(stop) => Some(stop),
            _ => None,
        }
    }

    /// Is it in a stop of ptrace, where it can be looked at?
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held(_))
    }

    /// Where its step wants to stop next; 0 when it makes none, or goes by single instructions.
    #[must_use]
    pub fn step_address(&self) -> Address {
        self.step.as_ref().map_or(Address(0), StepPlan::hardware_address)
    }

    /// What its debug registers should hold.
    #[must_use]
    pub fn wanted_registers(
        &self,
        breakpoints: [DebugRegister; HARDWARE_SITES],
    ) -> [DebugRegister; DEBUG_REGISTERS] {
        let mut wanted = [DebugRegister::default(); DEBUG_REGISTERS];
        wanted[..HARDWARE_SITES].copy_from_slice(&breakpoints);
        // A step over calls wants to know where a panic that passes them goes on. Breakpoints come first: with all registers in use
        // such a step runs to the next breakpoint.
        if let Some(hook) = self.step.as_ref().and_then(StepPlan::unwind_hook)
            && let Some(free) = wanted[..HARDWARE_SITES].iter_mut().find(|register| register.is_off())
        {
            *free = DebugRegister::execute(hook);
        }
        wanted[STEP_REGISTER] = DebugRegister::execute(self.step_address());
        wanted
    }
}

impl Threads {
    /// Adds a thread.
    pub fn add(
        &mut self,
        tid: Tid,
        state: State,
        debug_registers: Option<[DebugRegister; DEBUG_REGISTERS]>,
    ) -> &mut Thread {
        self.next_id += 1;
        let thread = Thread {
            tid,
            id: self.next_id,
            state,
            is_announced: true,
            debug_registers,
            interrupt_pending: false,
            trap_pending: false,
            pause_wanted: false,
            step: None,
            left_stop: 0,
            registers: None,
            judged: None,
            signal: 0,
            seen_signal: None,
            registers_changed: false,
        };
        self.threads.insert(tid, thread);
        self.threads.get_mut(&tid).expect("it was inserted just now")
    }

    /// Forgets a thread that has ended.
    pub fn remove(&mut self, tid: Tid) -> Option<Thread> {
        let thread = self.threads.remove(&tid)?;
        if !thread.is_announced {
            self.ended_early.insert(tid);
        }
        Some(thread)
    }

    /// A thread is announced by the one that made it. True when it is new: neither known yet nor ended already.
    pub fn announce(&mut self, tid: Tid) -> bool {
        match self.threads.get_mut(&tid) {
            Some(thread) => {
                thread.is_announced = true;
                false
            }
            None => !self.ended_early.remove(&tid),
        }
    }

    /// A thread.
    #[must_use]
    pub fn get(&self, tid: Tid) -> Option<&Thread> {
        self.threads.get(&tid)
    }

    /// A thread, to change it.
    pub fn get_mut(&mut self, tid: Tid) -> Option<&mut Thread> {
        self.threads.get_mut(&tid)
    }

    /// The thread that the client knows by this id.
    #[must_use]
    pub fn by_id(&self, id: i32) -> Option<&Thread> {
        self.threads.values().find(|thread| thread.id == id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Thread> {
        self.threads.values()
    }

    /// All of them, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Thread> {
        self.threads.values_mut()
    }

    /// Ids of those for which something holds.
    #[must_use]
    pub fn those(&self, which: impl Fn(&Thread) -> bool) -> Vec<Tid> {
        self.threads.values().filter(|thread| which(thread)).map(|thread| thread.tid).collect()
    }

    /// Are there none left?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_controlled_by_its_bits() {
        let at = Address(0x1000);
        assert_eq!(DebugRegister::execute(at).control(1), 0b100);
        assert_eq!(DebugRegister::default().control(1), 0);
        let write = DebugRegister { address: at, kind: RegisterKind::Write { bytes: 8 } };
        assert_eq!(write.control(0), 1 | 0b1001 << 16);
        let any = DebugRegister { address: at, kind: RegisterKind::ReadWrite { bytes: 4 } };
        assert_eq!(any.control(2), 1 << 4 | 0b1111 << 24);
    }
}
