//! Where a stepping thread is to be seen next, in a process without debug registers.
//!
//! The place is patched like that of a breakpoint. Other threads that come there are sent on, past the patch. Where there can be no patch,
//! the thread goes there by single instructions.

use std::collections::BTreeSet;

use super::copies::Code;
use super::threads::{State, Thread};
use super::{Cause, Engine};
use crate::address::{Address, Tid};
use crate::target::Target;
use crate::tracer::{Means, Waited};

impl Engine {
    /// Places that are patched for steps.
    pub(super) fn step_traps(&self) -> BTreeSet<Address> {
        self.step_traps.values().flatten().copied().collect()
    }

    /// Does a thread's step go by a single instruction?
    pub(super) fn goes_by_instruction(&self, thread: &Thread) -> bool {
        let to = thread.step_address();
        let is_unseen = || !self.hardware_works && self.sites.at(to).is_none();
        thread.step.is_some() && (to == Address(0) || is_unseen())
    }

    /// Sees to it that a thread traps where its step wants to see it, and nowhere else.
    pub(super) fn set_step_traps(&mut self, tid: Tid) {
        if self.hardware_works {
            return;
        }
        let plan = self.threads.get(tid).and_then(|thread| thread.step.as_ref());
        let wanted = plan.map_or_else(Vec::new, |plan| {
            let places = [Some(plan.hardware_address()), plan.unwind_hook()];
            places.into_iter().flatten().filter(|place| place.0 != 0).collect()
        });
        let before = self.step_traps.remove(&tid).unwrap_or_default();
        if !wanted.is_empty() {
            self.step_traps.insert(tid, wanted.clone());
        }
        if before == wanted {
            return;
        }
        for address in wanted {
            self.add_step_trap(address);
        }
        let still = self.step_traps();
        for address in before.into_iter().filter(|address| !still.contains(address)) {
            let Some(causes) = self.causes.get_mut(&address) else { continue };
            causes.retain(|cause| *cause != Cause::Step);
            if causes.is_empty() {
                self.causes.remove(&address);
                self.sites.remove(address, &self.process);
            }
        }
    }

    fn add_step_trap(&mut self, address: Address) {
        if self.sites.at(address).is_none() {
            if self.patches_harm.is_some() {
                return;
            }
            let code = Code { modules: &self.modules };
            let Some(guard) = &mut self.guard else { return };
            // Without it the step is slower.
            if self.sites.add(address, &self.process, guard, &code).is_err() {
                return;
            }
        }
        let causes = self.causes.entry(address).or_default();
        if !causes.contains(&Cause::Step) {
            causes.push(Cause::Step);
        }
    }

    /// Looks whether a thread would end the process at a patch.
    pub(super) fn look_for_deaf_threads(&mut self) {
        let deaf = self.process.deaf_threads().unwrap_or_default();
        self.patches_harm = deaf.first().map(|tid| {
            format!(
                "the thread {} ({tid}) blocks SIGTRAP and all else by which it could be told not to, and where the system refuses ptrace, the                  kernel ends a process in which such a thread comes to a breakpoint. It has blocked them before manta_guard::install, or by a                  system call of its own",
                self.process.thread_name(*tid)
            )
        });
    }

    /// Looks which threads there are, in a process of which nobody tells that.
    pub(crate) fn look_for_threads(&mut self) {
        if self.process.means() == Means::Ptrace {
            return;
        }
        // When this fails the process is ending.
        let Ok(now) = self.process.threads() else { return };
        for tid in self.threads.those(|thread| !now.contains(&thread.tid) && !thread.is_held()) {
            self.on_wait(tid, Waited::Exited(0));
        }
        for tid in now {
            if self.threads.get(tid).is_none() {
                self.threads.add(tid, State::Running, Some(Default::default()));
                self.on_new_thread(tid);
            }
        }
    }
}
