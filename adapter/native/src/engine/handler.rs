//! The guard's handler of SIGTRAP, which the kernel takes away when a thread traps that has the signal blocked.
//!
//! A trap cannot be blocked: the kernel lets the signal through, and gives it the default action for the whole process
//! (`force_sig_info_to_task` of `kernel/signal.c`). While a debugger takes the traps nobody notices. When it has died, the next
//! patched instruction would end the process. The C library blocks all signals where it makes threads, and a step may go through
//! there.

use std::io;

use super::Engine;
use crate::address::{Address, Tid};
use crate::limits::{REPAIR_STEPS_MAX, REPAIR_TIME_MAX};
use crate::target::Target;
use crate::tracer::{Go, Waited};

/// What a function may use below the stack pointer (System V ABI for x86-64, section 3.2.2), and the routine takes off the stack.
const RED_ZONE_BYTES: u64 = 128;
const WORD_BYTES: u64 = 8;
const TRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);

/// Which traps are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Those of a thread that has other signals blocked: nearly every one that blocks SIGTRAP has.
    AtMasked,
    /// Each.
    Always,
}

impl Engine {
    /// Looks after what [`Self::hold`] has put off. True when the client may have to hear something.
    pub(crate) fn keep_handlers(&mut self) -> bool {
        let due = std::mem::take(&mut self.handlers_due);
        // A thread that is gone is reported as ended.
        let gone = due.into_iter().filter(|tid| !self.keep_handler(*tid, Look::Always));
        gone.count() > 0
    }

    /// The same for one thread, which is about to run on. False when it is gone.
    pub(super) fn keep_handler_if_due(&mut self, tid: Tid) -> bool {
        match self.handlers_due.iter().position(|due| *due == tid) {
            Some(place) => {
                self.handlers_due.swap_remove(place);
                self.keep_handler(tid, Look::Always)
            }
            None => true,
        }
    }

    /// Gives the guard its handler back, if the trap that has stopped this thread, or one before, has taken it away. False when the
    /// thread is gone.
    pub(super) fn keep_handler(&mut self, tid: Tid, look: Look) -> bool {
        let Some(guard) = &self.guard else { return true };
        let Ok(mask) = self.process.signal_mask(tid) else { return true };
        if (mask == 0 && look == Look::AtMasked) || self.process.catches(tid, libc::SIGTRAP) {
            return true;
        }
        let Some(routine) = guard.repair_routine(&self.process) else { return true };
        // When this fails the thread has been killed, and its end is reported by itself.
        self.run_aside(tid, routine, mask).unwrap_or(true)
    }

    /// Has a stopped thread run a routine that needs nobody to come back, should the agent die meanwhile.
    fn run_aside(&mut self, tid: Tid, routine: Address, mask: u64) -> io::Result<bool> {
        self.write_registers(tid)?;
        let before = self.registers(tid)?;
        let mut inside = before;
        inside.rsp = before.rsp.wrapping_sub(RED_ZONE_BYTES + WORD_BYTES);
        inside.rip = routine.0;
        // A system call that begins again does so when the routine is done.
        inside.orig_rax = u64::MAX;
        self.process.write(Address(inside.rsp), &before.rip.to_le_bytes()).map_err(io::Error::other)?;
        // No other signal is taken on the way: its handler would run on the thread's stack.
        self.process.set_signal_mask(tid, !TRAP_BIT)?;
        self.process.set_kernel_registers(tid, &inside)?;
        for _ in 0..REPAIR_STEPS_MAX {
            self.process.go(tid, Go::OneInstruction, 0)?;
            match self.process.next_event_of(tid, REPAIR_TIME_MAX)? {
                // It is being killed, which is reported when its process is; or it finds its way back alone.
                None => return Ok(false),
                Some(end @ (Waited::Exited(_) | Waited::Killed(_))) => {
                    self.on_wait(tid, end);
                    return Ok(false);
                }
                Some(Waited::Signal(_) | Waited::Event { .. }) => {}
            }
            let now = self.process.kernel_registers(tid)?;
            if (now.rip, now.rsp) == (before.rip, before.rsp) {
                break;
            }
        }
        self.process.set_kernel_registers(tid, &before)?;
        self.process.set_signal_mask(tid, mask)?;
        if let Some(thread) = self.threads.get_mut(tid) {
            thread.interrupt_pending = false;
        }
        tracing::debug!(%tid, "the trap guard has its handler again");
        Ok(true)
    }
}
