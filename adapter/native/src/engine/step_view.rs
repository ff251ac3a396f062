//! What a step looks at: the thread that makes it, and where that thread is.

use iced_x86::Instruction;

use super::relocate::decode;
use super::sites::instruction_bytes;
use super::stops::{Frame, frames_of};
use super::user_code::is_user_code;
use crate::address::{Address, FileAddress};
use crate::dwarf::image::UnitIndex;
use crate::dwarf::modules::{Module, Modules};
use crate::dwarf::scopes::{ScopeIndex, ScopeKind};
use crate::dwarf::unwind::Unwinder;
use crate::registers::Registers;
use crate::target::Memory;

/// What a step looks at.
pub struct StepView<'a> {
    /// The process's modules.
    pub modules: &'a Modules,
    /// Its memory.
    pub memory: &'a dyn Memory,
    /// Walks its stacks.
    pub unwinder: &'a Unwinder,
    /// The thread's registers.
    pub registers: &'a Registers,
    /// Where the unwinder is told where a thread goes on.
    pub unwind_hook: Option<Address>,
}

/// Where a thread is.
#[derive(Clone)]
pub(super) struct Here<'a> {
    pub(super) module: &'a Module,
    pub(super) at: FileAddress,
    pub(super) unit: Option<UnitIndex>,
    pub(super) functions: Vec<(UnitIndex, ScopeIndex)>,
    pub(super) line: Option<(UnitIndex, u32, u32)>,
    pub(super) is_statement: bool,
    pub(super) frames: Vec<Frame>,
}

impl<'a> StepView<'a> {
    /// The canonical address of the innermost frame.
    #[must_use]
    pub fn cfa(&self) -> Option<Address> {
        self.unwinder.cfa(self.modules, self.memory, self.registers, Address(self.registers.pc()))
    }

    /// The instruction that comes next.
    pub(super) fn instruction(&self) -> Option<Instruction> {
        let pc = Address(self.registers.pc());
        let module = self.modules.at(pc)?;
        let code = module.image.code(module.file_address(pc), instruction_bytes())?;
        decode(code, pc)
    }

    pub(super) fn here(&self) -> Option<Here<'a>> {
        let pc = Address(self.registers.pc());
        let module = self.modules.at(pc)?;
        let at = module.file_address(pc);
        let unit = module.image.unit_at(at);
        let scopes = unit.map(|unit| (unit, module.image.scopes(unit)));
        let functions = scopes.map_or_else(Vec::new, |(unit, scopes)| {
            scopes.functions_at(at.0).into_iter().map(|index| (unit, index)).collect()
        });
        let row = unit.and_then(|unit| module.image.lines(unit).row_at(at.0).map(|row| (unit, row)));
        Some(Here {
            module,
            at,
            unit,
            functions,
            line: row.filter(|(_, row)| row.line != 0).map(|(unit, row)| (unit, row.file, row.line)),
            is_statement: unit.is_some_and(|unit| module.image.lines(unit).is_statement_start(at.0)),
            frames: frames_of(self.modules, pc, 0),
        })
    }
}

impl Here<'_> {
    /// The same place without the innermost inlined calls: in the line that makes them.
    pub(super) fn without(&self, hidden: usize) -> Self {
        let mut shown = self.clone();
        shown.frames.drain(..hidden.min(self.frames.len()));
        let outer = self.functions.len().saturating_sub(hidden);
        if let Some((unit, call)) = self.functions.get(outer) {
            shown.line = match self.module.image.scopes(*unit).get(*call).kind {
                ScopeKind::Inlined { file, line, .. } if line != 0 => Some((*unit, file, line)),
                _ => None,
            };
        }
        shown.functions.truncate(outer);
        shown
    }

    /// The line of another place of the same unit.
    pub(super) fn line_of(&self, at: Address) -> Option<(UnitIndex, u32, u32)> {
        let unit = self.unit?;
        let row = self.module.image.lines(unit).row_at(self.module.file_address(at).0)?;
        (row.line != 0).then_some((unit, row.file, row.line))
    }

    /// May a step end here: the code has lines, and is the user's or is wanted all the same?
    pub(super) fn is_stoppable(&self, into_framework: bool) -> bool {
        let has_line = self.line.is_some();
        has_line && (into_framework || self.frames.first().is_some_and(|frame| is_user_code(&frame.code)))
    }
}
