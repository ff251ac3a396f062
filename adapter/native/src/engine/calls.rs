//! The calls of a line: what a step can go into, by name.
//!
//! Found by reading the line's instructions and the calls that were inlined into it. Where a call leads is known for direct
//! calls, for those through a table that the loader filled, and for those whose pointer can be followed from the registers as
//! they are now; the others can be stepped into all the same, without their names.

use std::collections::BTreeSet;
use std::ops::Range;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};

use super::run::register_value;
use super::user_code::is_user_code;
use crate::address::{Address, FileAddress};
use crate::dwarf::image::UnitIndex;
use crate::dwarf::lines::Row;
use crate::dwarf::modules::{Module, Modules};
use crate::dwarf::scopes::{ScopeIndex, ScopeKind};
use crate::limits::{LINE_CALLS_MAX, LINE_INSTRUCTIONS_MAX};
use crate::target::Memory;

/// How many steps back a pointer is followed.
const FOLLOW_DEPTH_MAX: u32 = 8;
/// Functions that are called where a check has failed, and never return.
const CHECKS: [&str; 8] = [
    "core::panicking::",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
    "core::str::slice_error_fail",
    "core::cell::panic_already",
    "alloc::alloc::handle_alloc_error",
];
/// Registers that a called function may change.
const SCRATCH: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// The functions around an address, from outside inwards.
pub type Chain = Vec<(UnitIndex, ScopeIndex)>;

/// What a step is to go into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepTarget {
    /// Whatever the call instruction at this address calls.
    Call(Address),
    /// A call that was inlined, in one place or in several.
    Inlined(Vec<Chain>),
}

/// A call of a line.
#[derive(Clone, Debug)]
pub struct LineCall {
    /// The function's path.
    pub name: String,
    /// Where the call is in the line; 0 when unknown.
    pub column: u32,
    /// What goes into it.
    pub target: StepTarget,
}

/// A function that is called.
struct Callee {
    name: String,
    is_user: bool,
}

/// Looks at one line.
struct Reader<'a> {
    modules: &'a Modules,
    memory: &'a dyn Memory,
    registers: &'a libc::user_regs_struct,
    module: &'a Module,
    unit: UnitIndex,
    /// The function in which the thread is, with what is inlined around it.
    functions: Vec<ScopeIndex>,
    line: (u32, u32),
    calls: Vec<LineCall>,
}

/// The calls that the line has from where the thread is, in the order of the code. So many of the innermost frames are inlined calls of
/// the line that are about to begin.
#[must_use]
pub fn calls_of_line(
    modules: &Modules,
    memory: &dyn Memory,
    registers: &libc::user_regs_struct,
    hidden: usize,
) -> Vec<LineCall> {
    let pc = Address(registers.rip);
    let Some(module) = modules.at(pc) else { return Vec::new() };
    let at = module.file_address(pc).0;
    let Some(unit) = module.image.unit_at(FileAddress(at)) else { return Vec::new() };
    let scopes = module.image.scopes(unit);
    let mut functions = scopes.functions_at(at);
    let outer = functions.len().saturating_sub(hidden);
    let line = match functions.get(outer).map(|call| &scopes.get(*call).kind) {
        Some(ScopeKind::Inlined { file, line, .. }) => Some((*file, *line)),
        _ => module.image.lines(unit).row_at(at).map(|row| (row.file, row.line)),
    };
    let Some(line) = line.filter(|(_, line)| *line != 0) else { return Vec::new() };
    functions.truncate(outer);
    let mut reader = Reader { modules, memory, registers, module, unit, functions, line, calls: Vec::new() };
    reader.read(at);
    reader.tell_apart();
    reader.calls
}

impl Reader<'_> {
    fn read(&mut self, at: u64) {
        let lines = self.module.image.lines(self.unit);
        let scopes = self.module.image.scopes(self.unit);
        let Some(outermost) = self.functions.first() else { return };
        // What lies before the thread in its own stretch has been run.
        let own = lines.line_range(at).unwrap_or(at..at + 1);
        let mut budget = LINE_INSTRUCTIONS_MAX;
        for range in scopes.get(*outermost).ranges.clone() {
            let mut before: Vec<Instruction> = Vec::new();
            let mut last_end = 0;
            for (row, end) in lines.rows_in(&range) {
                let stretch = row.address..end;
                if own.contains(&stretch.start) && stretch.end <= at {
                    continue;
                }
                if last_end != stretch.start {
                    before.clear();
                }
                let start = if stretch.contains(&at) { at } else { stretch.start };
                if row.line == 0 {
                    // Between a line's own code the compiler puts some that it gives to no line.
                    before.extend(self.decode(start..stretch.end));
                    last_end = stretch.end;
                    continue;
                }
                let Some(inlined) = self.belongs(&row) else { continue };
                last_end = stretch.end;
                self.add_inlined(&row, &inlined);
                self.read_stretch(start..stretch.end, &row, &mut before, &mut budget, &inlined);
                if budget == 0 || self.calls.len() >= LINE_CALLS_MAX {
                    return;
                }
            }
        }
    }

    /// Is this row code of the line? Gives the calls that are inlined further in, if it is.
    fn belongs(&self, row: &Row) -> Option<Vec<ScopeIndex>> {
        let scopes = self.module.image.scopes(self.unit);
        let chain = scopes.functions_at(row.address);
        let inlined = chain.strip_prefix(self.functions.as_slice())?;
        let is_ours = match inlined.first() {
            None => (row.file, row.line) == self.line,
            Some(first) => match scopes.get(*first).kind {
                ScopeKind::Inlined { file, line, .. } => (file, line) == self.line,
                ScopeKind::Function | ScopeKind::Block => false,
            },
        };
        is_ours.then(|| inlined.to_vec())
    }

    /// Calls of the user's own functions that were inlined here; those of libraries have hardly ever a line of their own.
    fn add_inlined(&mut self, row: &Row, inlined: &[ScopeIndex]) {
        let scopes = self.module.image.scopes(self.unit);
        let address = FileAddress(row.address).live(self.module.bias);
        let frames = self.module.frames_at(address);
        for depth in 1..=inlined.len() {
            let Some(frame) = frames.iter().rev().nth(self.functions.len() + depth - 1) else { return };
            if !is_user_code(frame) {
                continue;
            }
            let own =
                self.functions.iter().chain(&inlined[..depth]).map(|scope| (self.unit, *scope)).collect();
            let column = match scopes.get(inlined[depth - 1]).kind {
                ScopeKind::Inlined { column, .. } => column,
                ScopeKind::Function | ScopeKind::Block => 0,
            };
            let same = |call: &&mut LineCall| {
                call.name == frame.name
                    && call.column == column
                    && matches!(call.target, StepTarget::Inlined(_))
            };
            match self.calls.iter_mut().find(same).map(|call| &mut call.target) {
                Some(StepTarget::Inlined(chains)) if !chains.contains(&own) => chains.push(own),
                Some(_) => {}
                None => self.calls.push(LineCall {
                    name: frame.name.clone(),
                    column,
                    target: StepTarget::Inlined(vec![own]),
                }),
            }
        }
    }

    fn read_stretch(
        &mut self,
        stretch: Range<u64>,
        row: &Row,
        before: &mut Vec<Instruction>,
        budget: &mut usize,
        inlined: &[ScopeIndex],
    ) {
        for instruction in self.decode(stretch).into_iter().take(*budget) {
            *budget -= 1;
            if self.is_call(&instruction) {
                let callee = self.callee(&instruction, before);
                let is_user = callee.as_ref().is_some_and(|callee| callee.is_user);
                let is_check = callee
                    .as_ref()
                    .is_some_and(|callee| CHECKS.iter().any(|check| callee.name.starts_with(check)));
                if !is_check && (inlined.is_empty() || is_user) {
                    self.calls.push(LineCall {
                        name: callee.map_or_else(
                            || "a function known when it is called".to_owned(),
                            |callee| callee.name,
                        ),
                        column: row.column,
                        target: StepTarget::Call(Address(instruction.ip())),
                    });
                }
            }
            before.push(instruction);
        }
    }

    fn decode(&self, stretch: Range<u64>) -> Vec<Instruction> {
        let start = FileAddress(stretch.start);
        let most = ((stretch.end - stretch.start) as usize).min(LINE_INSTRUCTIONS_MAX);
        let Some(code) = self.module.image.code(start, most) else { return Vec::new() };
        let decoder = Decoder::with_ip(64, code, start.live(self.module.bias).0, DecoderOptions::NONE);
        decoder.into_iter().take_while(|instruction| !instruction.is_invalid()).collect()
    }

    /// Calls, and jumps that leave the function, which the optimiser makes of calls at its end.
    fn is_call(&self, instruction: &Instruction) -> bool {
        match instruction.flow_control() {
            FlowControl::Call => instruction.code() != Code::Syscall,
            FlowControl::IndirectCall => true,
            FlowControl::UnconditionalBranch if instruction.op0_kind() == OpKind::NearBranch64 => {
                let target = self.module.file_address(Address(instruction.near_branch_target()));
                let scopes = self.module.image.scopes(self.unit);
                self.functions.first().is_some_and(|outermost| !scopes.get(*outermost).contains(target.0))
            }
            _ => false,
        }
    }

    fn callee(&self, call: &Instruction, before: &[Instruction]) -> Option<Callee> {
        let target = match call.op0_kind() {
            OpKind::NearBranch64 => call.near_branch_target(),
            OpKind::Register => self.value(call.op0_register(), before, FOLLOW_DEPTH_MAX)?,
            OpKind::Memory => self.load(call, before, FOLLOW_DEPTH_MAX)?,
            _ => return None,
        };
        self.function(Address(target), call.op0_kind() != OpKind::NearBranch64)
    }

    /// The function that begins at an address, or where a stub there leads.
    fn function(&self, address: Address, must_begin_there: bool) -> Option<Callee> {
        let module = self.modules.at(address)?;
        let at = module.file_address(address);
        let first = module.image.code(at, 16).and_then(|code| super::relocate::decode(code, address));
        if let Some(stub) = first.filter(|first| first.flow_control() == FlowControl::IndirectBranch)
            && stub.is_ip_rel_memory_operand()
        {
            let slot = Address(stub.ip_rel_memory_address());
            let target = Address(self.memory.read_u64(slot).ok()?);
            return (target != address).then(|| self.function(target, true))?;
        }
        if must_begin_there && module.image.symbol_before(at).is_none_or(|symbol| symbol.address != at) {
            return None;
        }
        let frames = module.frames_at(address);
        let frame = frames.last()?;
        Some(Callee { is_user: is_user_code(frame), name: frame.name.clone() })
    }

    /// What a register holds behind these instructions.
    fn value(&self, register: Register, before: &[Instruction], depth: u32) -> Option<u64> {
        let full = register.full_register();
        if full == Register::RSP {
            // It stays what it is from a function's beginning to its end.
            return Some(self.registers.rsp);
        }
        let mut factory = InstructionInfoFactory::new();
        for (index, instruction) in before.iter().enumerate().rev() {
            let is_call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
            if is_call && SCRATCH.contains(&full) {
                return None;
            }
            let writes = factory.info(instruction).used_registers().iter().any(|used| {
                used.register().full_register() == full
                    && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None)
            });
            if !writes {
                continue;
            }
            let before = &before[..index];
            return match instruction.code() {
                Code::Lea_r64_m => self.address(instruction, before, depth.checked_sub(1)?),
                Code::Mov_r64_rm64 if instruction.op1_kind() == OpKind::Memory => {
                    self.load(instruction, before, depth.checked_sub(1)?)
                }
                Code::Mov_r64_rm64 | Code::Mov_rm64_r64 if instruction.op1_kind() == OpKind::Register => {
                    self.value(instruction.op1_register(), before, depth.checked_sub(1)?)
                }
                _ => None,
            };
        }
        // Only from where the thread is, nothing unknown has run before.
        let is_from_here = before.first().is_none_or(|first| first.ip() == self.registers.rip);
        (is_from_here || full == Register::RBP).then(|| register_value(self.registers, full))
    }

    fn load(&self, instruction: &Instruction, before: &[Instruction], depth: u32) -> Option<u64> {
        let address = self.address(instruction, before, depth)?;
        self.memory.read_u64(Address(address)).ok()
    }

    fn address(&self, instruction: &Instruction, before: &[Instruction], depth: u32) -> Option<u64> {
        if instruction.is_ip_rel_memory_operand() {
            return Some(instruction.ip_rel_memory_address());
        }
        if !matches!(instruction.segment_prefix(), Register::None) {
            return None;
        }
        let part = |register: Register| match register {
            Register::None => Some(0),
            register => self.value(register, before, depth),
        };
        let scaled =
            part(instruction.memory_index())?.wrapping_mul(u64::from(instruction.memory_index_scale()));
        Some(
            part(instruction.memory_base())?
                .wrapping_add(scaled)
                .wrapping_add(instruction.memory_displacement64()),
        )
    }

    /// Calls of one function in one line get the column into their names, or else a number.
    fn tell_apart(&mut self) {
        let names: Vec<String> = self.calls.iter().map(|call| call.name.clone()).collect();
        let is_twice = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
        let mut used = BTreeSet::new();
        for call in self.calls.iter_mut().filter(|call| is_twice(&call.name)) {
            let base = match call.column {
                0 => call.name.clone(),
                column => format!("{} (column {column})", call.name),
            };
            let numbered = (2..).map(|number| format!("{base} #{number}"));
            call.name = std::iter::once(base.clone())
                .chain(numbered)
                .find(|name| used.insert(name.clone()))
                .unwrap_or_default();
        }
    }
}
