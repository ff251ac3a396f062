//! A held thread: why it is held, its stack, and what the client has opened of it.

use std::cell::OnceCell;
use std::rc::Rc;

use super::exceptions::Fatal;
use super::guard::Task;
use crate::address::Address;
use crate::dwarf::UnitOffset;
use crate::dwarf::evaluate::{FrameContext, Place, VariableEntry};
use crate::dwarf::image::UnitIndex;
use crate::dwarf::modules::{CodeFrame, Module, Modules};
use crate::dwarf::scopes::ScopeIndex;
use crate::dwarf::unwind::{PhysicalFrame, StackEnd, Unwinder};
use crate::expression::Names;
use crate::limits::FRAMES_MAX;
use crate::registers::Registers;
use crate::target::Memory;
use crate::values::Value;
use crate::values::future::Future;
use crate::values::library::is_begun;
use crate::values::render::unwrapped;

/// Why a thread is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A breakpoint.
    Breakpoint {
        /// Its ids.
        ids: Vec<i32>,
        /// What the user should know, such as a condition that could not be evaluated.
        text: Option<String>,
    },
    /// A data breakpoint: the instruction before has accessed a watched place.
    Data {
        /// Its ids.
        ids: Vec<i32>,
        /// What happened.
        text: String,
    },
    /// A step has ended.
    Step,
    /// The client has moved it.
    Goto,
    /// The client asked for it.
    Pause,
    /// A panic begins.
    Panic {
        /// What it says, when that could be read.
        message: Option<String>,
    },
    /// A signal is about to end the program.
    Signal(Fatal),
    /// The program itself has a breakpoint instruction here.
    Instruction,
}

impl Reason {
    /// Is it something that went wrong, for which `exceptionInfo` can be asked?
    #[must_use]
    pub fn is_exception(&self) -> bool {
        matches!(self, Self::Panic { .. } | Self::Signal(_))
    }
}

/// One stop of one thread.
pub struct Stop {
    /// Rises with each stop of the process.
    pub number: u64,
    /// Why.
    pub reason: Reason,
    /// What the thread runs.
    pub task: Option<Task>,
    /// The session under whose breakpoints it stopped.
    pub session_id: Option<String>,
    /// The thread's registers.
    pub registers: Registers,
    /// How many of the innermost frames are not shown: inlined calls that are about to begin, of the line at which the thread stopped.
    pub hidden: usize,
    /// The innermost frames are known at once, the others when somebody asks.
    stack: OnceCell<Rc<Stack>>,
    /// Ids that the client has for frames, by position in the stack.
    pub frame_ids: Vec<i32>,
    /// What waits for this stack's task, as the client has it, once somebody has asked.
    pub awaiters: Option<Rc<Vec<dap::StackFrame>>>,
}

/// A stack.
pub struct Stack {
    /// As people see it.
    pub frames: Vec<Frame>,
    /// As the processor sees it.
    pub physical: Vec<PhysicalFrame>,
    /// Why it ends.
    pub end: StackEnd,
}

/// One frame as people see it.
#[derive(Clone)]
pub struct Frame {
    /// Its function, file and line.
    pub code: Rc<CodeFrame>,
    /// Which physical frame it is in.
    pub physical: usize,
    /// The module of its code.
    pub module: Option<Rc<Module>>,
}

impl Stop {
    /// A stop that nobody has looked at.
    #[must_use]
    pub fn new(number: u64, reason: Reason, task: Option<Task>, registers: Registers, hidden: usize) -> Self {
        Self {
            number,
            reason,
            task,
            session_id: None,
            registers,
            hidden,
            stack: OnceCell::new(),
            frame_ids: Vec::new(),
            awaiters: None,
        }
    }

    /// The whole stack.
    pub fn stack(&self, modules: &Modules, memory: &dyn Memory, unwinder: &Unwinder) -> Rc<Stack> {
        let walk =
            || Rc::new(Stack::walk(modules, memory, unwinder, &self.registers, self.hidden, FRAMES_MAX));
        Rc::clone(self.stack.get_or_init(walk))
    }

    /// Walks further, when the stack was cut and has fewer frames than this.
    pub fn walk_to(&mut self, frames: usize, modules: &Modules, memory: &dyn Memory, unwinder: &Unwinder) {
        let Some(known) = self.stack.get() else { return };
        if known.end != StackEnd::Cut || known.frames.len() >= frames {
            return;
        }
        // Twice as deep at least, so that a client that asks page by page does not walk the stack for each page.
        let most = frames.max(known.physical.len().saturating_mul(2));
        let deeper = Stack::walk(modules, memory, unwinder, &self.registers, self.hidden, most);
        self.stack = OnceCell::from(Rc::new(deeper));
    }

    /// Forgets the stack, because a register or the memory under it was changed.
    pub fn forget_stack(&mut self) {
        self.stack = OnceCell::new();
        self.awaiters = None;
    }
}

impl Stack {
    /// Walks a stack, and leaves out so many of the innermost frames.
    #[must_use]
    pub fn walk(
        modules: &Modules,
        memory: &dyn Memory,
        unwinder: &Unwinder,
        registers: &Registers,
        hidden: usize,
        most: usize,
    ) -> Self {
        let (physical, end) = unwinder.frames(modules, memory, registers, most);
        let mut frames = Vec::with_capacity(physical.len());
        for (index, frame) in physical.iter().enumerate() {
            let left_out = if index == 0 { hidden } else { 0 };
            frames.extend(frames_of(modules, frame.lookup, index).into_iter().skip(left_out));
        }
        Self { frames, physical, end }
    }
}

/// The frames as people see them of one physical frame, innermost first.
#[must_use]
pub fn frames_of(modules: &Modules, lookup: Address, physical: usize) -> Vec<Frame> {
    match modules.at(lookup) {
        Some(module) => module
            .frames_at(lookup)
            .iter()
            .map(|code| Frame { code: Rc::clone(code), physical, module: Some(Rc::clone(module)) })
            .collect(),
        None => {
            let code = CodeFrame {
                name: lookup.to_string(),
                file: None,
                line: 0,
                column: 0,
                scope: None,
                is_inlined: false,
                begins_here: false,
            };
            vec![Frame { code: Rc::new(code), physical, module: None }]
        }
    }
}

/// How many of the frames at an address are inlined calls that begin just there.
#[must_use]
pub fn begun(frames: &[Frame]) -> usize {
    frames.iter().take_while(|frame| frame.code.begins_here).count()
}

/// The variables of one frame.
pub struct FrameVariables<'a> {
    memory: &'a dyn Memory,
    module: Rc<Module>,
    unit: UnitIndex,
    /// The frame's own function, perhaps an inlined one.
    scope: ScopeIndex,
    /// The function around it that has the frame base.
    function: ScopeIndex,
    line: u32,
    physical: &'a PhysicalFrame,
    callers: &'a [PhysicalFrame],
    modules: Option<&'a Modules>,
}

impl<'a> FrameVariables<'a> {
    /// Of a frame of a stack; `None` when there is no debug information for it.
    #[must_use]
    pub fn of(frame: &Frame, physical: &'a PhysicalFrame, memory: &'a dyn Memory) -> Option<Self> {
        let module = Rc::clone(frame.module.as_ref()?);
        let (unit, scope) = frame.code.scope?;
        let function = module.image.scopes(unit).function_at(module.file_address(physical.lookup).0)?;
        let line = frame.code.line;
        Some(Self { memory, module, unit, scope, function, line, physical, callers: &[], modules: None })
    }

    /// The same with the physical frames around it, the nearest first: some values only they know.
    #[must_use]
    pub fn with_callers(mut self, callers: &'a [PhysicalFrame], modules: &'a Modules) -> Self {
        (self.callers, self.modules) = (callers, Some(modules));
        self
    }

    fn context(&self) -> FrameContext<'_> {
        FrameContext {
            memory: self.memory,
            module: &self.module,
            unit: self.unit,
            function: self.function,
            registers: &self.physical.registers,
            cfa: self.physical.cfa,
            pc: self.module.file_address(self.physical.lookup),
            callers: self.callers,
            modules: self.modules,
            depth: 0,
        }
    }

    /// Entries of the variables in scope, outermost block first.
    fn entries(&self) -> Vec<UnitOffset> {
        let scopes = self.module.image.scopes(self.unit);
        let at = self.module.file_address(self.physical.lookup).0;
        let mut entries = self.left_out();
        let mut next = Some(self.scope);
        let mut chain = Vec::new();
        while let Some(index) = next {
            chain.push(index);
            // Only blocks: a function inlined further in has variables of its own.
            next = scopes.get(index).children.iter().copied().find(|child| {
                let scope = scopes.get(*child);
                !scope.is_function() && scope.contains(at)
            });
        }
        for index in chain {
            entries.extend(scopes.get(index).variables.iter().copied());
        }
        entries
    }

    /// Entries of variables of which the optimiser has left nothing in this copy of the function: its arguments, and what was declared
    /// before the line.
    fn left_out(&self) -> Vec<UnitOffset> {
        let scopes = self.module.image.scopes(self.unit);
        let pattern = self.module.pattern_of(self.unit, scopes.get(self.scope).entry);
        let Some(pattern) = pattern else { return Vec::new() };
        let mut described = Vec::new();
        let mut inside = vec![self.scope];
        while let Some(index) = inside.pop() {
            let scope = scopes.get(index);
            let variables = scope.variables.iter();
            described.extend(variables.filter_map(|entry| self.module.pattern_of(self.unit, *entry)));
            inside.extend(scope.children.iter().copied().filter(|child| !scopes.get(*child).is_function()));
        }
        let declared = self.module.declared_in(self.unit, pattern);
        let is_left_out = |(entry, line): &(UnitOffset, Option<u32>)| {
            line.is_none_or(|line| line < self.line) && !described.contains(entry)
        };
        declared.into_iter().filter(is_left_out).map(|(entry, _)| entry).collect()
    }

    /// What the function runs, if it is the body of an async function or block: its argument without a name.
    #[must_use]
    pub fn machine(&self) -> Option<Value> {
        let context = self.context();
        let arguments = &self.module.image.scopes(self.unit).get(self.scope).variables;
        let pinned = arguments.iter().find_map(|entry| context.unnamed_argument(*entry))?;
        let machine = unwrapped(&Value::new(&self.module, pinned.type_id, pinned.place)?, self.memory);
        Future::is_one(&machine).then_some(machine)
    }

    /// All variables: each name once, the innermost one; arguments first, then in the order of the source.
    #[must_use]
    pub fn all(&self) -> Vec<VariableEntry> {
        let context = self.context();
        let mut variables: Vec<(usize, VariableEntry)> = Vec::new();
        for entry in self.entries() {
            let Some(variable) = context.variable(entry) else { continue };
            // A copy of the function has some of its arguments, in an order of its own.
            let declared = self.module.pattern_of(self.unit, entry).unwrap_or(entry);
            let order = if variable.is_argument { declared.0 } else { usize::MAX };
            variables.retain(|(_, outer)| outer.name != variable.name);
            variables.push((order, variable));
        }
        variables.sort_by_key(|(order, _)| *order);
        variables.into_iter().map(|(_, variable)| variable).collect()
    }

    /// A variable as a value.
    #[must_use]
    pub fn value(&self, variable: &VariableEntry) -> Option<Value> {
        Value::new(&self.module, variable.type_id, variable.place.clone())
    }
}

impl FrameVariables<'_> {
    /// What a `thread_local!` of the frame's unit has in the frame's thread. The macro makes a constant of this name, and inside it a
    /// variable for each way in which the type may have to be stored; one of them is used.
    fn thread_local(&self, name: &str) -> Option<Value> {
        const STORED: [&str; 2] = ["__RUST_STD_INTERNAL_VAL", "VAL"];
        let context = self.context();
        let is_its_own = |entry: &UnitOffset| {
            let own = self.module.inherited_text(self.unit, *entry, gimli::constants::DW_AT_name);
            own.is_some_and(|own| STORED.contains(&own))
                && self.module.container_path(self.unit, *entry).split("::").any(|part| part == name)
        };
        let globals = self.module.image.scopes(self.unit).globals().filter(is_its_own);
        let places: Vec<Value> = globals.filter_map(|entry| self.value(&context.variable(entry)?)).collect();
        // One that the linker has left out has its place at the beginning of the thread's storage.
        let start = self.module.thread_local(0, self.physical.registers.fs_base);
        let is_elsewhere = |value: &&Value| !matches!(value.place, Place::Memory(at) if Some(at) == start);
        let linked: Vec<Value> = places.iter().filter(is_elsewhere).cloned().collect();
        let places = if linked.is_empty() { places } else { linked };
        let has_state = |value: &&Value| value.of.member("state").is_some();
        let begun = |value: &&Value| is_begun(value, self.memory) == Some(true);
        let used = places.iter().filter(has_state).find(begun);
        used.or_else(|| places.iter().find(|value| !has_state(value))).or_else(|| places.first()).cloned()
    }
}

impl Names for FrameVariables<'_> {
    /// A variable of the frame, or a static of the frame's own unit.
    fn variable(&self, name: &str) -> Option<Value> {
        let context = self.context();
        let last = name.rsplit("::").next().unwrap_or(name);
        let has_name = |entry: &UnitOffset, wanted: &str| {
            self.module.inherited_text(self.unit, *entry, gimli::constants::DW_AT_name) == Some(wanted)
        };
        let own = self.entries().into_iter().rev().find(|entry| has_name(entry, name));
        let mut globals = self.module.image.scopes(self.unit).globals();
        match own.or_else(|| globals.find(|entry| has_name(entry, last))) {
            Some(found) => self.value(&context.variable(found)?),
            None => self.thread_local(last),
        }
    }
}
