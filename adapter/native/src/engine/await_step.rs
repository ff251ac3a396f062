//! A step over an `.await` that suspends: the function returns to whoever polls it, and goes on later, on whatever thread.
//!
//! The step waits at the function's beginning for the very same future, and is taken up by the thread that polls it. Until then
//! no thread is held, and none but those that come to that function are stopped, for as long as it takes to compare an address.

use super::step::{StepPlan, StepView};
use super::stops::{Frame, FrameVariables};
use super::threads::State;
use super::{Engine, Then, Waiting};
use crate::address::{Address, FileAddress, Tid};
use crate::dwarf::evaluate::Place;
use crate::dwarf::types::TypeId;
use crate::dwarf::unwind::PhysicalFrame;
use crate::limits::SUSPENDED_STEPS_MAX;
use crate::values::Value;
use crate::values::future::{Future, Progress};

/// The async function in which a step is made.
#[derive(Clone, Copy, Debug)]
pub struct Awaiting {
    /// Where the function begins.
    entry: Address,
    /// What the function runs.
    future: Address,
    of: TypeId,
}

impl Awaiting {
    /// Of the physical frame that a thread is in. `None` where that is no async function: the optimiser may have put one
    /// into the code that polls it.
    #[must_use]
    pub fn at(view: &StepView<'_>, frame: &Frame, cfa: Option<Address>) -> Option<Self> {
        let lookup = Address(view.registers.pc());
        let physical = PhysicalFrame { registers: view.registers.clone(), cfa, lookup };
        let machine = FrameVariables::of(frame, &physical, view.memory)?.machine()?;
        let Place::Memory(future) = machine.place else { return None };
        let (unit, scope) = frame.code.scope?;
        let module = frame.module.as_ref()?;
        let ranges = &module.image.scopes(unit).get(scope).ranges;
        let start = ranges.iter().map(|range| range.start).min()?;
        Some(Self { entry: FileAddress(start).live(module.bias), future, of: machine.of.id })
    }

    /// The line at which the future waits, if it does.
    #[must_use]
    pub fn waits_at(&self, view: &StepView<'_>) -> Option<u32> {
        let module = view.modules.at(self.entry)?;
        let machine = Value::new(module, self.of, Place::Memory(self.future))?;
        match Future::of(&machine, view.memory)?.progress {
            Progress::Suspended(at) => Some(at.line),
            Progress::Fresh | Progress::Finished | Progress::Panicked => None,
        }
    }
}

/// A step whose function is suspended.
pub struct SuspendedStep {
    awaiting: Awaiting,
    plan: StepPlan,
}

impl Engine {
    /// Where threads are looked at for them.
    pub(super) fn suspended_entries(&self) -> impl Iterator<Item = Address> {
        self.suspended.iter().map(|step| step.awaiting.entry)
    }

    /// A stepping thread's function has been suspended: it runs on when every thread would be seen that takes the function up.
    pub(super) fn suspend_step(&mut self, tid: Tid, awaiting: Awaiting, plan: StepPlan) {
        if self.suspended.len() >= SUSPENDED_STEPS_MAX {
            self.suspended.remove(0);
        }
        self.suspended.push(SuspendedStep { awaiting, plan });
        self.place_sites();
        let Some(thread) = self.threads.get_mut(tid) else { return };
        thread.step = None;
        if !self.causes.contains_key(&awaiting.entry) {
            self.suspended.pop();
            self.outbox.console(
                "The step has left its function, which waits, and is not taken up again: all debug registers are in use.\n",
            );
            return self.go(tid, 0);
        }
        thread.state = State::Parked;
        let threads = self.sync_all();
        let then = Then::GoOn(tid);
        if threads.is_empty() {
            self.carry_out(then);
        } else {
            self.waiting.push(Waiting { threads, then });
        }
    }

    /// A thread is at the beginning of a function that a step waits for. True when it takes the step up.
    pub(super) fn take_up_step(&mut self, tid: Tid, at: Address) -> bool {
        let Ok(registers) = self.registers(tid) else { return false };
        // The future is the first argument, or the second behind the place for a large result.
        let arguments = [registers.rdi, registers.rsi];
        let is_it =
            |step: &SuspendedStep| step.awaiting.entry == at && arguments.contains(&step.awaiting.future.0);
        let Some(index) = self.suspended.iter().position(is_it) else { return false };
        if !self.may_stop(tid) {
            return false;
        }
        let step = self.suspended.remove(index);
        self.place_sites();
        let registers = crate::registers::Registers::from_kernel(&registers);
        let decision = step.plan.resumed(&self.step_view(&registers));
        self.follow(tid, decision);
        true
    }
}
