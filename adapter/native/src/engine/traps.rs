//! A thread has trapped: whose trap is it, and does the thread stop there?

use super::breakpoints::LogPart;
use super::calls::StepTarget;
use super::copies::Code;
use super::exceptions;
use super::handler::Look;
use super::report::source_body;
use super::step::{StepDecision, StepKind, StepPlan, StepUnit};
use super::step_view::StepView;
use super::stops::{FrameVariables, Reason, frames_of};
use super::threads::State;
use super::user_code::is_user_code;
use super::watches::Touched;
use super::{Cause, Engine, Mode};
use crate::address::{Address, Tid};
use crate::dwarf::modules::Modules;
use crate::dwarf::unwind::PhysicalFrame;
use crate::expression::evaluate;
use crate::limits::ENTRY_VALUES_DEPTH_MAX;
use crate::registers::Registers;
use crate::target::MappedModule;
use crate::tracer::Go;

/// An `int3`.
const SI_KERNEL: i32 = 0x80;
/// A single step over a system call: the kernel reports it when the call is over, which may be long after the step was given up.
const TRAP_BRKPT: i32 = 1;
/// A single step, or a debug register.
const TRAP_TRACE: i32 = 2;
/// A debug register.
const TRAP_HWBKPT: i32 = 4;

/// What a breakpoint says to a hit.
enum Judgement {
    Pass,
    Stop(Option<String>),
}

impl Engine {
    pub(super) fn on_trap(&mut self, tid: Tid) {
        let (Ok(code), Ok(registers)) = (self.process.signal_code(tid), self.registers(tid)) else { return };
        match code {
            SI_KERNEL => {
                let at = self.process.trap_at(tid, registers.rip);
                if !self.sites.was_patched(at) {
                    return self.on_foreign_trap(tid);
                }
                // At once, so that an agent that dies now leaves a thread that hits the patch again.
                let rewound = self.change_registers(tid, |registers| registers.rip = at.0);
                if rewound.and_then(|()| self.write_registers(tid)).is_err() {
                    return;
                }
                if self.keep_handler(tid, Look::AtMasked) {
                    self.on_arrival(tid, at, true);
                }
            }
            TRAP_BRKPT | TRAP_TRACE | TRAP_HWBKPT => {
                let touched = self.touched(tid);
                if !self.keep_handler(tid, Look::AtMasked) {
                    return;
                }
                if will_call_again(&registers) {
                    // A step over a system call that was interrupted: the call is not over.
                    return self.go(tid, 0);
                }
                let Some(at) = self.leave_scratch(tid, Address(registers.rip)) else { return };
                match self.judge_touched(tid, at, &touched) {
                    Some(reason) => self.hold(tid, reason),
                    None => self.on_arrival(tid, at, code == TRAP_HWBKPT),
                }
            }
            // Somebody has sent the signal: it is the program's.
            _ => self.go(tid, libc::SIGTRAP),
        }
    }

    /// A breakpoint instruction of the program's own. Without a debugger it would end the process; a cluster's agent without
    /// breakpoints is none.
    fn on_foreign_trap(&mut self, tid: Tid) {
        if self.mode == Mode::Standalone || !self.causes.is_empty() {
            self.hold(tid, Reason::Instruction);
        } else {
            self.go(tid, libc::SIGTRAP);
        }
    }

    /// A thread that has run one instruction in the scratch area is where the original would have left it. `None` when it
    /// is in the middle of a copy that takes several, and has been sent on.
    fn leave_scratch(&mut self, tid: Tid, pc: Address) -> Option<Address> {
        let is_in_scratch = self.guard.as_ref().is_some_and(|guard| guard.scratch().contains(&pc.0));
        if !is_in_scratch && !self.sites.margins.contains(pc) {
            return Some(pc);
        }
        let code = Code { modules: &self.modules };
        let next = |at: Address| {
            code.original(at)
                .and_then(|code| super::relocate::decode(&code, at))
                .map_or(at, |instruction| Address(instruction.next_ip()))
        };
        match self.sites.original_of(pc, next) {
            Some(original) => {
                let moved = self.change_registers(tid, |registers| registers.rip = original.0);
                moved.is_ok().then_some(original)
            }
            None => {
                // When this fails the thread is gone.
                let _ = self.process.go(tid, Go::OneInstruction, 0);
                None
            }
        }
    }

    /// A thread has come to an address, by a trap that is set there or by its own step.
    fn on_arrival(&mut self, tid: Tid, at: Address, by_trap: bool) {
        let Some(thread) = self.threads.get_mut(tid) else { return };
        thread.judged = Some(at);
        let is_stepping = thread.step.is_some();
        let (mut reason, mut waits) = (None, false);
        if (by_trap || is_stepping)
            && let Some(causes) = self.causes.get(&at)
        {
            let (loads, resumes) = (causes.contains(&Cause::Loader), causes.contains(&Cause::Resumption));
            waits = loads && self.on_loader(tid);
            reason = self.judge(tid, at);
            waits |= reason.is_none() && resumes && self.take_up_step(tid);
        }
        match reason {
            Some(reason) => self.hold(tid, reason),
            None if waits => {}
            None => self.on_step_stop(tid),
        }
    }

    /// Goes on with a thread's step, if it makes one, or lets it run.
    pub(super) fn on_step_stop(&mut self, tid: Tid) {
        let Ok(kernel) = self.registers(tid) else { return };
        let registers = Registers::from_kernel(&kernel);
        let Some(thread) = self.threads.get_mut(tid) else { return };
        // An instruction that was done in the thread's place has brought it here.
        thread.judged = thread.judged.filter(|judged| judged.0 == registers.pc());
        match thread.step.take() {
            Some(mut plan) if plan.unwind_hook() == Some(Address(registers.pc())) => {
                // The second argument of `_Unwind_SetIP`.
                plan.unwound_to(Address(kernel.rsi));
                thread.step = Some(plan);
                self.go(tid, 0);
            }
            Some(plan) if plan.has_arrived(&registers) => {
                let decision = plan.arrived(&self.step_view(&registers));
                self.follow(tid, decision);
            }
            plan => {
                thread.step = plan;
                self.go(tid, 0);
            }
        }
    }

    pub(super) fn step_view<'a>(&'a self, registers: &'a Registers) -> StepView<'a> {
        StepView {
            modules: &self.modules,
            memory: &self.process,
            unwinder: &self.unwinder,
            registers,
            unwind_hook: self.unwind_hook.flatten(),
        }
    }

    /// Begins a step of a held thread.
    pub(crate) fn step(&mut self, tid: Tid, kind: StepKind, unit: StepUnit, into: Option<StepTarget>) {
        if self.unwind_hook.is_none() {
            self.unwind_hook = Some(unwind_hook(&self.modules));
        }
        let Ok(kernel) = self.registers(tid) else { return };
        let registers = Registers::from_kernel(&kernel);
        let hidden = self.threads.get(tid).and_then(|thread| thread.stop()).map_or(0, |stop| stop.hidden);
        let view = self.step_view(&registers);
        let into_framework = self.configuration.into_framework;
        let decision = match unit {
            StepUnit::Line => StepPlan::begin(&view, kind, into_framework, into, hidden),
            StepUnit::Instruction => StepPlan::by_instruction(&view, kind),
        };
        self.forget_stop(tid, true);
        self.follow(tid, decision);
    }

    pub(super) fn follow(&mut self, tid: Tid, decision: StepDecision) {
        let Some(thread) = self.threads.get_mut(tid) else { return };
        match decision {
            StepDecision::Stop { hidden } => self.hold_hiding(tid, Reason::Step, Some(hidden)),
            StepDecision::Continue(plan) => {
                thread.step = Some(*plan);
                self.go(tid, 0);
            }
            StepDecision::Suspend(awaiting, plan) => self.suspend_step(tid, awaiting, *plan),
            StepDecision::RunOn => {
                thread.step = None;
                self.tell_task_ended(tid);
                self.go(tid, 0);
            }
        }
    }

    /// Does a thread stop that has accessed watched memory just before this address?
    fn judge_touched(&mut self, tid: Tid, at: Address, touched: &[Touched]) -> Option<Reason> {
        if touched.is_empty() || !self.may_stop(tid) {
            return None;
        }
        let registers = Registers::from_kernel(&self.registers(tid).ok()?);
        let cfa = self.unwinder.cfa(&self.modules, &self.process, &registers, at);
        let physical = PhysicalFrame { registers, cfa, lookup: at };
        let (mut ids, mut texts) = (Vec::new(), Vec::new());
        for Touched { breakpoint, text } in touched {
            if let Judgement::Stop(note) = self.judge_breakpoint(*breakpoint, &physical) {
                ids.push(self.configuration.breakpoints[*breakpoint].specification.id);
                texts.push(text.clone());
                texts.extend(note);
            }
        }
        (!ids.is_empty()).then(|| Reason::Data { ids, text: texts.join(" ") })
    }

    /// Does this thread stop at all? In a cluster only tasks do.
    pub(super) fn may_stop(&self, tid: Tid) -> bool {
        let runs_none = |guard: &super::guard::Guard| guard.task_of(&self.process, tid).is_none();
        self.mode == Mode::Standalone || !self.guard.as_ref().is_some_and(runs_none)
    }

    /// Does a thread that came to this address stop, and why?
    fn judge(&mut self, tid: Tid, at: Address) -> Option<Reason> {
        if !self.may_stop(tid) {
            return None;
        }
        let kernel = self.registers(tid).ok()?;
        let registers = Registers::from_kernel(&kernel);
        let cfa = self.unwinder.cfa(&self.modules, &self.process, &registers, at);
        let physical = PhysicalFrame { registers, cfa, lookup: at };
        let (mut ids, mut texts, mut is_panic) = (Vec::new(), Vec::new(), false);
        for cause in self.causes.get(&at).cloned().unwrap_or_default() {
            match cause {
                Cause::Panic => is_panic = true,
                Cause::Loader | Cause::Resumption | Cause::Step => {}
                Cause::Breakpoint(index) => {
                    if let Judgement::Stop(text) = self.judge_breakpoint(index, &physical) {
                        ids.push(self.configuration.breakpoints[index].specification.id);
                        texts.extend(text);
                    }
                }
            }
        }
        if is_panic && !exceptions::is_resumed_panic(&self.modules, &self.process, &physical.registers) {
            let message = exceptions::panic_message(&self.modules, &self.process, &physical.registers);
            return Some(Reason::Panic { message });
        }
        let text = (!texts.is_empty()).then(|| texts.join(" "));
        (!ids.is_empty()).then_some(Reason::Breakpoint { ids, text })
    }

    fn judge_breakpoint(&mut self, index: usize, physical: &PhysicalFrame) -> Judgement {
        let mut frames = frames_of(&self.modules, physical.lookup, 0);
        let hidden = self.configuration.breakpoints[index].hides(&frames);
        let frame = frames.swap_remove(hidden);
        let names = FrameVariables::of(&frame, physical, &self.process);
        let breakpoint = &mut self.configuration.breakpoints[index];
        if let Some(condition) = &breakpoint.condition {
            let Some(names) = &names else {
                return Judgement::Stop(Some(
                    "The condition could not be evaluated: there is no debug information here.".to_owned(),
                ));
            };
            let judge = |names: &FrameVariables<'_>| {
                evaluate(condition, names, &self.process).and_then(|value| value.is_true(&self.process))
            };
            // Some values only the callers know; they are not walked to unless one is wanted.
            let judged = judge(names).or_else(|reason| {
                let most = ENTRY_VALUES_DEPTH_MAX;
                let (frames, _) =
                    self.unwinder.frames(&self.modules, &self.process, &physical.registers, most);
                let Some((own, callers)) = frames.split_first() else { return Err(reason) };
                match FrameVariables::of(&frame, own, &self.process) {
                    Some(names) => judge(&names.with_callers(callers, &self.modules)),
                    None => Err(reason),
                }
            });
            match judged {
                Ok(true) => {}
                Ok(false) => return Judgement::Pass,
                Err(reason) => {
                    return Judgement::Stop(Some(format!("The condition could not be evaluated: {reason}.")));
                }
            }
        }
        breakpoint.hits += 1;
        if breakpoint.hit_condition.is_some_and(|condition| !condition.holds(breakpoint.hits)) {
            return Judgement::Pass;
        }
        let Some(parts) = &breakpoint.log_message else { return Judgement::Stop(None) };
        let mut line = String::new();
        for part in parts {
            match (part, &names) {
                (LogPart::Text(text), _) => line.push_str(text),
                (LogPart::Value(expression), Some(names)) => match evaluate(expression, names, &self.process)
                {
                    Ok(value) => line.push_str(&value.text(&self.process)),
                    Err(reason) => line.push_str(&format!("<{reason}>")),
                },
                (LogPart::Value(_), None) => line.push_str("<no debug information here>"),
            }
        }
        line.push('\n');
        // The client shows where it was said.
        let file = frame.code.file.as_deref();
        let source = file.map(|file| source_body(file, is_user_code(&frame.code)));
        self.outbox.logged(&line, source, frame.code.line);
        Judgement::Pass
    }

    /// Asks a running thread to stop. A thread that is held already stays so.
    pub(crate) fn pause(&mut self, tid: Tid) -> Result<(), String> {
        self.look_for_threads();
        let thread = self.threads.get_mut(tid).ok_or_else(|| "the thread has ended".to_owned())?;
        if matches!(thread.state, State::Held(_)) {
            return Ok(());
        }
        if !thread.interrupt_pending {
            self.process.interrupt(tid).map_err(|error| format!("the thread cannot be stopped: {error}"))?;
            thread.interrupt_pending = true;
        }
        thread.pause_wanted = true;
        Ok(())
    }
}

/// Is the thread in a system call that the kernel begins again when the thread goes on? It is not where its program counter says: it
/// goes on at the instruction before. The numbers are `ERESTARTSYS` and its siblings of the kernel's `include/linux/errno.h`.
pub(super) fn will_call_again(registers: &libc::user_regs_struct) -> bool {
    registers.orig_rax as i64 >= 0 && matches!(registers.rax as i64, -512 | -513 | -514 | -516)
}

/// Where the unwinder is told at which address a thread goes on: each frame's personality routine calls this, also Rust's.
fn unwind_hook(modules: &Modules) -> Option<Address> {
    let has_it = |mapped: &MappedModule| {
        let name = mapped.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        mapped.is_program || name.starts_with("libgcc_s") || name.starts_with("libunwind")
    };
    modules
        .those(has_it)
        .find_map(|module| Some(module.image.symbol("_Unwind_SetIP")?.address.live(module.bias)))
}
