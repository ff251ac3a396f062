//! A step over an `.await` that suspends: the function returns to whoever polls it, and goes on later, on whatever thread.
//!
//! The step waits for the very same future at the function's beginning, or, where the optimiser has put the function into the code that
//! polls it, at the jump by which it goes back to where it was. It is taken up by the thread that polls it. Until then no thread is
//! held, and none but those that come to that place are stopped, for as long as it takes to compare an address.

use super::resumptions::dispatch;
use super::step::StepPlan;
use super::step_view::StepView;
use super::stops::{Frame, FrameVariables, frames_of};
use super::threads::State;
use super::{Engine, Then, Waiting};
use crate::address::{Address, FileAddress, Tid};
use crate::dwarf::evaluate::Place;
use crate::dwarf::image::UnitIndex;
use crate::dwarf::modules::Module;
use crate::dwarf::scopes::{ScopeIndex, ScopeKind};
use crate::dwarf::types::TypeId;
use crate::dwarf::unwind::PhysicalFrame;
use crate::limits::SUSPENDED_STEPS_MAX;
use crate::registers::Registers;
use crate::values::Value;
use crate::values::future::{Future, Progress};

/// The async function in which a step is made.
#[derive(Clone, Copy, Debug)]
pub struct Awaiting {
    /// Where it is taken up: where it begins, or the jump of an inlined one.
    pub site: Address,
    /// How many functions are around its code, itself included; 1 when it is not inlined.
    pub depth: usize,
    /// Its own scope.
    scope: (UnitIndex, ScopeIndex),
    /// What it runs.
    future: Address,
    of: TypeId,
}

impl Awaiting {
    /// The innermost one among the frames, innermost first, of the physical frame that a thread is in. `None` where there is none, or
    /// the optimiser has left nothing by which to know its future again.
    #[must_use]
    pub fn at(view: &StepView<'_>, frames: &[Frame], cfa: Option<Address>) -> Option<Self> {
        let lookup = Address(view.registers.pc());
        let physical = PhysicalFrame { registers: view.registers.clone(), cfa, lookup };
        frames.iter().zip((1..=frames.len()).rev()).find_map(|(frame, depth)| {
            let machine = FrameVariables::of(frame, &physical, view.memory)?.machine()?;
            let Place::Memory(future) = machine.place else { return None };
            let (unit, scope) = frame.code.scope?;
            let module = frame.module.as_ref()?;
            let site = FileAddress(taken_up_at(module, unit, scope)?).live(module.bias);
            Some(Self { site, depth, scope: (unit, scope), future, of: machine.of.id })
        })
    }

    /// Is its code inside that of another function?
    #[must_use]
    pub fn is_inlined(&self) -> bool {
        self.depth > 1
    }

    /// Is the thread at the place where the function is taken up, with the same future?
    fn is_at(&self, view: &StepView<'_>, arguments: [u64; 2], cfa: Option<Address>) -> bool {
        let lookup = Address(view.registers.pc());
        if lookup != self.site {
            return false;
        }
        if !self.is_inlined() {
            return arguments.contains(&self.future.0);
        }
        let physical = PhysicalFrame { registers: view.registers.clone(), cfa, lookup };
        let frames = frames_of(view.modules, lookup, 0);
        let own = frames.iter().find(|frame| frame.code.scope == Some(self.scope));
        let machine = own
            .and_then(|frame| FrameVariables::of(frame, &physical, view.memory))
            .and_then(|own| own.machine());
        machine.is_some_and(|machine| matches!(machine.place, Place::Memory(future) if future == self.future))
    }

    /// How far its future has come.
    #[must_use]
    pub fn progress(&self, view: &StepView<'_>) -> Option<Progress> {
        let module = view.modules.at(self.site)?;
        let machine = Value::new(module, self.of, Place::Memory(self.future))?;
        Some(Future::of(&machine, view.memory)?.progress)
    }
}

/// Where a function begins, or an inlined one jumps to where it was.
fn taken_up_at(module: &Module, unit: UnitIndex, scope: ScopeIndex) -> Option<u64> {
    let own = module.image.scopes(unit).get(scope);
    match own.kind {
        ScopeKind::Function => own.ranges.iter().map(|range| range.start).min(),
        ScopeKind::Inlined { .. } => dispatch(module, unit, scope),
        ScopeKind::Block => None,
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
        self.suspended.iter().map(|step| step.awaiting.site)
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
        if !self.causes.contains_key(&awaiting.site) {
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

    /// A thread is at a place where a step waits for a future. True when it takes the step up.
    pub(super) fn take_up_step(&mut self, tid: Tid) -> bool {
        let Ok(kernel) = self.registers(tid) else { return false };
        let registers = Registers::from_kernel(&kernel);
        let view = self.step_view(&registers);
        // The future is the first argument, or the second behind the place for a large result.
        let arguments = [kernel.rdi, kernel.rsi];
        let cfa = view.cfa();
        let is_it = |step: &SuspendedStep| step.awaiting.is_at(&view, arguments, cfa);
        let Some(index) = self.suspended.iter().position(is_it) else { return false };
        if !self.may_stop(tid) {
            return false;
        }
        let step = self.suspended.remove(index);
        self.place_sites();
        let decision = step.plan.resumed(&self.step_view(&registers));
        self.follow(tid, decision);
        true
    }
}
