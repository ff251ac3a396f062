//! Stepping one thread by lines, while all others run.
//!
//! A step runs at full speed from one branch to the next with a debug register of its own, and by a single instruction only
//! over the branch itself: a line costs a handful of stops, not one for each instruction. Calls that are not stepped into
//! are run through.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

use super::await_step::Awaiting;
use super::calls::StepTarget;
use super::step_view::{Here, StepView};
use super::stops::{Stack, begun};
use super::user_code::is_user_code;
use crate::address::{Address, FileAddress};
use crate::dwarf::image::UnitIndex;
use crate::dwarf::scopes::ScopeIndex;
use crate::limits::STEP_STOPS_MAX;
use crate::registers::Registers;
use crate::values::future::Progress;

/// Which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// To the next line of this function.
    Over,
    /// To the next line, also of a function that is called.
    In,
    /// To the caller.
    Out,
}

/// How far a step goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepUnit {
    /// To another line. Statements of one line are one step: the compiler tells them apart by columns that optimisation mixes.
    Line,
    /// One instruction.
    Instruction,
}

/// What the thread runs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunTo {
    /// The next instruction.
    OneInstruction,
    /// An address, in a frame that is not deeper than these say: a recursion passes by.
    Address { address: Address, stack_at_least: u64, cfa_at_least: Option<Address> },
}

/// A step that a thread is making.
#[derive(Clone, Debug)]
pub struct StepPlan {
    kind: StepKind,
    into_framework: bool,
    /// The frame in which it began: its canonical address and its chain of inlined functions.
    cfa: Option<Address>,
    functions: Vec<(UnitIndex, ScopeIndex)>,
    line: Option<(UnitIndex, u32, u32)>,
    run_to: RunTo,
    /// It has found the place where it ends, once it gets there.
    ends_there: bool,
    /// The one call that it goes into.
    target: Option<StepTarget>,
    /// The next instruction goes into it.
    is_at_target: bool,
    /// Where to learn that calls which it runs over are unwound by a panic.
    unwind_hook: Option<Address>,
    /// It goes by instructions, which are in the innermost frame.
    is_by_instruction: bool,
    /// What it ran to before it was unwound.
    before_unwind: Option<RunTo>,
    /// The async function in which it is made.
    awaiting: Option<Awaiting>,
    /// That function is suspended, and the thread is in the code around it, where the optimiser has put it.
    is_away: bool,
    /// That function has been taken up again, and has to come to this line first, where it was suspended.
    resumes_at: Option<u32>,
    stops: u32,
}

/// What to do with a stepping thread that has arrived somewhere.
#[derive(Clone, Debug)]
pub enum StepDecision {
    /// Hold it here.
    Stop {
        /// So many of the innermost frames are inlined calls that the line is about to make.
        hidden: usize,
    },
    /// Let it go on with the step.
    Continue(Box<StepPlan>),
    /// Its function is suspended: let the thread go, and wait for the one that takes the function up.
    Suspend(Awaiting, Box<StepPlan>),
    /// It has left the task: there is nothing more to step in.
    RunOn,
}

impl StepPlan {
    /// The address for the thread's own debug register.
    #[must_use]
    pub fn hardware_address(&self) -> Address {
        match self.run_to {
            RunTo::OneInstruction => Address(0),
            RunTo::Address { address, .. } => address,
        }
    }

    /// Where the thread is to be seen when it is unwound; `None` while it makes no call that it runs over.
    #[must_use]
    pub fn unwind_hook(&self) -> Option<Address> {
        self.unwind_hook
    }

    /// A panic unwinds the thread to this address. In which frame is seen there: one further in catches it, or only cleans up.
    pub fn unwound_to(&mut self, address: Address) {
        self.before_unwind.get_or_insert(self.run_to);
        self.run_to = RunTo::Address { address, stack_at_least: 0, cfa_at_least: self.cfa };
    }

    /// Has the thread arrived, or is it somewhere else on its way?
    #[must_use]
    pub fn has_arrived(&self, registers: &Registers) -> bool {
        match self.run_to {
            RunTo::OneInstruction => true,
            RunTo::Address { address, stack_at_least, .. } => {
                registers.pc() == address.0 && registers.sp() >= stack_at_least
            }
        }
    }

    fn new(view: &StepView<'_>, kind: StepKind, into_framework: bool, here: Option<&Here<'_>>) -> Self {
        Self {
            kind,
            into_framework,
            cfa: view.cfa(),
            functions: here.map(|here| here.functions.clone()).unwrap_or_default(),
            line: here.and_then(|here| here.line),
            run_to: RunTo::OneInstruction,
            ends_there: false,
            target: None,
            is_at_target: false,
            unwind_hook: None,
            is_by_instruction: false,
            before_unwind: None,
            awaiting: None,
            is_away: false,
            resumes_at: None,
            stops: 0,
        }
    }

    /// Begins a step by one instruction, wherever that leads. A step over a call runs until the call has returned.
    #[must_use]
    pub fn by_instruction(view: &StepView<'_>, kind: StepKind) -> StepDecision {
        let mut plan = Self::new(view, kind, true, view.here().as_ref());
        plan.is_by_instruction = true;
        if kind == StepKind::Out {
            return plan.out_of_this_frame(view);
        }
        plan.ends_there = true;
        let calls = [FlowControl::Call, FlowControl::IndirectCall];
        if kind == StepKind::Over
            && let Some(instruction) = view.instruction()
            && calls.contains(&instruction.flow_control())
        {
            plan.run_to = RunTo::Address {
                address: Address(instruction.next_ip()),
                stack_at_least: view.registers.sp(),
                cfa_at_least: None,
            };
            plan.unwind_hook = view.unwind_hook;
        }
        StepDecision::Continue(Box::new(plan))
    }

    /// Begins a step, into one call of the line if that is given. So many of the innermost frames are inlined calls that the line is
    /// about to make: a step into them leads to their first line without running anything.
    #[must_use]
    pub fn begin(
        view: &StepView<'_>,
        kind: StepKind,
        into_framework: bool,
        target: Option<StepTarget>,
        hidden: usize,
    ) -> StepDecision {
        let inner = view.here();
        let here = inner.as_ref().map(|here| here.without(hidden));
        let mut plan = Self::new(view, kind, into_framework, here.as_ref());
        plan.target = target;
        if let Some(hidden) = inner.as_ref().and_then(|inner| plan.reveals(inner, hidden)) {
            return StepDecision::Stop { hidden };
        }
        plan.awaiting = here.as_ref().and_then(|here| Awaiting::at(view, &here.frames, plan.cfa));
        let is_physical = plan.functions.len() <= 1;
        if here.is_none() || plan.line.is_none() || (kind == StepKind::Out && is_physical) {
            return plan.out_of_this_frame(view);
        }
        plan.next_stretch(view)
    }

    /// Goes on where the function that was suspended is taken up.
    #[must_use]
    pub fn resumed(mut self, view: &StepView<'_>) -> StepDecision {
        self.cfa = view.cfa();
        self.unwind_hook = None;
        self.before_unwind = None;
        self.ends_there = false;
        self.is_away = false;
        match self.awaiting {
            // Its jump leads straight to the line where it was suspended.
            Some(awaiting) if awaiting.is_inlined() => {
                if let Some(line) = self.resumes_at.take() {
                    self.was_suspended_at(line);
                }
            }
            _ if self.kind == StepKind::Out => return self.out_of_this_frame(view),
            _ => {}
        }
        self.next_stretch(view)
    }

    /// Another line than this is where a step ends that has waited.
    fn was_suspended_at(&mut self, at: u32) {
        if let Some((.., line)) = &mut self.line {
            *line = at;
        }
    }

    /// Is the inlined function suspended in which the step is made? Its thread then runs the code around it, which may poll it again
    /// without having returned to anybody.
    fn has_left_its_function(&mut self, view: &StepView<'_>, here: &Here<'_>) -> bool {
        let Some(awaiting) = self.awaiting.filter(Awaiting::is_inlined) else { return false };
        let is_inside =
            here.functions.starts_with(&self.functions[..awaiting.depth.min(self.functions.len())]);
        match awaiting.progress(view) {
            Some(Progress::Suspended(_)) if !is_inside => true,
            // One that runs still says where it waited last.
            Some(Progress::Suspended(at)) if view.registers.pc() == awaiting.site.0 => {
                self.was_suspended_at(at.line);
                true
            }
            Some(Progress::Suspended(_)) => here.line.is_some() && here.line == here.line_of(awaiting.site),
            Some(Progress::Fresh) => false,
            Some(Progress::Finished | Progress::Panicked) | None => {
                // Its memory may soon be another's.
                self.awaiting = Some(awaiting).filter(|_| is_inside);
                false
            }
        }
    }

    /// Goes on after the thread has arrived at the place that it ran to.
    #[must_use]
    pub fn arrived(mut self, view: &StepView<'_>) -> StepDecision {
        if let RunTo::Address { cfa_at_least: Some(least), .. } = self.run_to
            && view.cfa().is_some_and(|cfa| cfa < least)
        {
            if let Some(before) = self.before_unwind.take() {
                self.run_to = before;
            }
            return StepDecision::Continue(Box::new(self));
        }
        self.before_unwind = None;
        self.unwind_hook = None;
        let is_entering = std::mem::take(&mut self.is_at_target);
        self.stops += 1;
        let here = view.here();
        if self.ends_there || self.stops > STEP_STOPS_MAX {
            let is_shown = self.is_by_instruction;
            let hidden = here.filter(|_| !is_shown).map_or(0, |here| begun(&here.frames));
            return StepDecision::Stop { hidden };
        }
        let Some(here) = here else { return self.out_of_this_frame(view) };
        let (Some(start), Some(now)) = (self.cfa, view.cfa()) else { return self.out_of_this_frame(view) };
        // A call at a function's end may be a jump, into a frame at the same place.
        let is_tail_call = is_entering && here.functions.first() != self.functions.first();
        if now < start || is_tail_call {
            self.in_a_callee(view, &here, is_entering)
        } else if now > start {
            self.in_a_caller(view, &here)
        } else {
            self.in_the_same_frame(view, &here)
        }
    }

    fn in_a_callee(mut self, view: &StepView<'_>, here: &Here<'_>, is_entering: bool) -> StepDecision {
        let hidden = begun(&here.frames);
        let is_wanted = match &self.target {
            // Whoever has chosen a call wants to see it, also in a library.
            Some(_) => is_entering && here.line.is_some(),
            None => self.kind == StepKind::In && here.without(hidden).is_stoppable(self.into_framework),
        };
        if !is_wanted {
            let leads_on =
                |instruction: Instruction| instruction.flow_control() == FlowControl::IndirectBranch;
            if is_entering && here.line.is_none() && view.instruction().is_some_and(leads_on) {
                // A stub that the linker has put between.
                self.is_at_target = true;
                self.run_to = RunTo::OneInstruction;
                return StepDecision::Continue(Box::new(self));
            }
            return self.out_of_this_frame(view);
        }
        let prologue_end = here.unit.and_then(|unit| {
            let scopes = here.module.image.scopes(unit);
            let function = scopes.get(scopes.function_at(here.at.0)?);
            let range = function.ranges.iter().find(|range| range.contains(&here.at.0))?;
            here.module.image.lines(unit).prologue_end(range)
        });
        match prologue_end {
            Some(end) if end > here.at.0 => {
                self.run_to = RunTo::Address {
                    address: FileAddress(end).live(here.module.bias),
                    stack_at_least: 0,
                    cfa_at_least: None,
                };
                self.ends_there = true;
                StepDecision::Continue(Box::new(self))
            }
            _ => StepDecision::Stop { hidden },
        }
    }

    /// Back in the code that called: it stops there when that is the user's, in the middle of the line with the call.
    fn in_a_caller(mut self, view: &StepView<'_>, here: &Here<'_>) -> StepDecision {
        if let Some(awaiting) = self.awaiting.take()
            && let Some(Progress::Suspended(at)) = awaiting.progress(view)
        {
            (self.awaiting, self.resumes_at) = (Some(awaiting), Some(at.line));
            return StepDecision::Suspend(awaiting, Box::new(self));
        }
        let hidden = begun(&here.frames);
        if here.without(hidden).is_stoppable(self.into_framework) {
            return StepDecision::Stop { hidden };
        }
        if let Some(outer) = here.frames.iter().position(|frame| is_user_code(&frame.code)) {
            // A library's code inside the user's function: to the next line of that.
            let around = here.functions.len().saturating_sub(outer);
            self.kind = StepKind::Over;
            self.cfa = view.cfa();
            self.functions = here.functions[..around].to_vec();
            self.line = None;
            return self.next_stretch(view);
        }
        let most = crate::limits::FRAMES_MAX;
        let stack = Stack::walk(view.modules, view.memory, view.unwinder, view.registers, 0, most);
        if stack.frames.iter().any(|frame| is_user_code(&frame.code)) {
            self.out_of_this_frame(view)
        } else {
            StepDecision::RunOn
        }
    }

    fn in_the_same_frame(mut self, view: &StepView<'_>, here: &Here<'_>) -> StepDecision {
        self.is_away = self.has_left_its_function(view, here);
        if self.is_away {
            return self.next_stretch(view);
        }
        if let Some(line) = self.resumes_at {
            if here.line.is_some_and(|(.., own)| own == line) {
                (self.resumes_at, self.line) = (None, here.line);
            }
            return self.next_stretch(view);
        }
        // A loop inside the function in which the step began may lead to its beginning; that is no new call of it.
        let common =
            here.functions.iter().zip(&self.functions).take_while(|(own, begun)| own == begun).count();
        let hidden = begun(&here.frames).min(here.functions.len() - common);
        let inner = here;
        let here = &inner.without(hidden);
        let begun_in = self.functions.len();
        let is_deeper = here.functions.len() > begun_in && here.functions.starts_with(&self.functions);
        let is_shallower = here.functions.len() < begun_in && self.functions.starts_with(&here.functions);
        let is_other_line = here.line != self.line && here.is_statement;
        let stops = match self.kind {
            StepKind::Out => is_shallower && here.line.is_some(),
            StepKind::In if is_deeper => match &self.target {
                None => is_other_line && here.is_stoppable(self.into_framework),
                Some(StepTarget::Inlined(chains)) => {
                    is_other_line && chains.iter().any(|chain| here.functions.starts_with(chain))
                }
                Some(StepTarget::Call(_)) => false,
            },
            _ if is_deeper => false,
            _ => {
                is_other_line && (here.is_stoppable(self.into_framework) || here.functions == self.functions)
            }
        };
        if stops {
            return StepDecision::Stop { hidden };
        }
        let is_at_its_line = here.functions == self.functions && here.line == self.line && inner.is_statement;
        match is_at_its_line.then(|| self.reveals(inner, hidden)).flatten() {
            Some(hidden) => StepDecision::Stop { hidden },
            None => self.next_stretch(view),
        }
    }

    /// Which of the inlined calls that begin here the step goes into: how many frames are hidden inside it.
    fn reveals(&self, inner: &Here<'_>, hidden: usize) -> Option<usize> {
        if self.kind != StepKind::In {
            return None;
        }
        (0..hidden).rev().find(|left| {
            let shown = inner.without(*left);
            match &self.target {
                None => shown.is_stoppable(self.into_framework),
                Some(StepTarget::Inlined(chains)) => chains.contains(&shown.functions),
                Some(StepTarget::Call(_)) => false,
            }
        })
    }

    /// Runs until this physical frame has returned.
    fn out_of_this_frame(mut self, view: &StepView<'_>) -> StepDecision {
        let Some((address, sp)) = view.unwinder.return_to(view.modules, view.memory, view.registers) else {
            return StepDecision::RunOn;
        };
        if address.0 == 0 {
            return StepDecision::RunOn;
        }
        self.run_to = RunTo::Address { address, stack_at_least: sp.0, cfa_at_least: None };
        self.unwind_hook = view.unwind_hook;
        StepDecision::Continue(Box::new(self))
    }

    /// Runs to the next place where the thread may leave the present line.
    fn next_stretch(mut self, view: &StepView<'_>) -> StepDecision {
        let pc = Address(view.registers.pc());
        self.run_to = RunTo::OneInstruction;
        let Some(here) = view.here() else { return self.out_of_this_frame(view) };
        let Some(range) = here.unit.and_then(|unit| here.module.image.lines(unit).line_range(here.at.0))
        else {
            return self.out_of_this_frame(view);
        };
        let most = (range.end - here.at.0).min(1 << 16) as usize;
        let Some(code) = here.module.image.code(here.at, most) else {
            return StepDecision::Continue(Box::new(self));
        };
        let mut decoder = Decoder::with_ip(64, code, pc.0, DecoderOptions::NONE);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            let is_first = instruction.ip() == pc.0;
            let leaves = match instruction.flow_control() {
                FlowControl::Next => false,
                FlowControl::Call | FlowControl::IndirectCall => self.goes_into(&instruction),
                _ => true,
            };
            if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) && !leaves
            {
                self.unwind_hook = view.unwind_hook;
            }
            if instruction.is_invalid() {
                return StepDecision::Continue(Box::new(self));
            }
            if leaves {
                self.is_at_target =
                    is_first && self.target == Some(StepTarget::Call(Address(instruction.ip())));
                if !is_first {
                    self.run_to = RunTo::Address {
                        address: Address(instruction.ip()),
                        stack_at_least: 0,
                        cfa_at_least: None,
                    };
                    self.bind_to_frame(view);
                }
                return StepDecision::Continue(Box::new(self));
            }
        }
        self.run_to = RunTo::Address {
            address: FileAddress(range.end).live(here.module.bias),
            stack_at_least: 0,
            cfa_at_least: None,
        };
        self.bind_to_frame(view);
        StepDecision::Continue(Box::new(self))
    }

    fn goes_into(&self, call: &Instruction) -> bool {
        match &self.target {
            None => self.kind == StepKind::In && !self.is_away,
            Some(target) => *target == StepTarget::Call(Address(call.ip())),
        }
    }

    /// The same code reached by a recursion is not where the step goes: its frame lies below this one.
    fn bind_to_frame(&mut self, view: &StepView<'_>) {
        if let RunTo::Address { cfa_at_least, .. } = &mut self.run_to {
            *cfa_at_least = view.cfa();
        }
    }
}
