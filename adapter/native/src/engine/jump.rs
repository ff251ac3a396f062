//! Going on from another line: the program counter moves, and nothing between is run or undone.

use std::collections::BTreeMap;

use super::Engine;
use super::resolve::files_named;
use super::stops::Reason;
use crate::address::{Address, FileAddress, Tid};
use crate::dwarf::scopes::{ScopeIndex, ScopeKind, UnitScopes};
use crate::limits::JUMPS_MAX;
use crate::registers::Registers;

/// A line that the client has asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    /// The file.
    pub path: String,
    /// The line, from 1 on.
    pub line: u32,
}

/// The newest of them, by their ids.
#[derive(Default)]
pub struct Jumps {
    by_id: BTreeMap<i32, Jump>,
    last: i32,
}

impl Jumps {
    /// A new one; the oldest goes when there are too many. `None` when no ids are left.
    pub fn add(&mut self, jump: Jump) -> Option<i32> {
        self.last = self.last.checked_add(1)?;
        self.by_id.insert(self.last, jump);
        if self.by_id.len() > JUMPS_MAX {
            self.by_id.pop_first();
        }
        Some(self.last)
    }

    /// The one of this id.
    #[must_use]
    pub fn get(&self, id: i32) -> Option<&Jump> {
        self.by_id.get(&id)
    }
}

/// Is code with this chain of functions around it a part of a line of `functions`? Calls that were inlined into the line are, and
/// often come first.
fn is_code_of(
    scopes: &UnitScopes,
    functions: &[ScopeIndex],
    chain: &[ScopeIndex],
    is_line: bool,
    line: (u32, u32),
) -> bool {
    match chain.strip_prefix(functions) {
        None => false,
        Some([]) => is_line,
        Some([inlined, ..]) => match scopes.get(*inlined).kind {
            ScopeKind::Inlined { file: call_file, line: call_line, .. } => (call_file, call_line) == line,
            ScopeKind::Function | ScopeKind::Block => false,
        },
    }
}

impl Engine {
    /// Where a held thread can go on from a line: the line's first statement in the very instance of the function in which
    /// the thread is, and where the function's stack is as it is now.
    pub(crate) fn place_of_jump(&self, tid: Tid, jump: &Jump) -> Result<Address, String> {
        let stop =
            self.threads.get(tid).and_then(|thread| thread.stop()).ok_or("The thread is not paused.")?;
        let pc = Address(stop.registers.pc());
        let Jump { path, line } = jump;
        let nowhere = "The code in which the thread is paused has no debug information.";
        let module = self.modules.at(pc).ok_or(nowhere)?;
        let at = module.file_address(pc);
        let unit = module.image.unit_at(at).ok_or(nowhere)?;
        let scopes = module.image.scopes(unit);
        let mut functions = scopes.functions_at(at.0);
        functions.truncate(functions.len().saturating_sub(stop.hidden));
        let mut others = Vec::new();
        let mut own = Vec::new();
        for place in files_named(module, std::slice::from_ref(path)) {
            let (row_unit, file) = (place.unit, place.file);
            let rows = module.image.lines(row_unit).rows().iter();
            for row in rows.filter(|row| row.is_statement && !row.is_end) {
                let is_line = row.file == file && row.line == *line;
                let chain = || scopes.functions_at(row.address);
                if row_unit == unit && is_code_of(scopes, &functions, &chain(), is_line, (file, *line)) {
                    own.push(row.address);
                } else if is_line {
                    others.push(FileAddress(row.address));
                }
            }
        }
        let name_at = |address: Address, hidden: usize| {
            module.frames_at(address).get(hidden).map(|frame| frame.name.clone())
        };
        let function = name_at(pc, stop.hidden).unwrap_or_default();
        let cfa_at = |address: u64, registers: &Registers| {
            let lookup = FileAddress(address).live(module.bias);
            self.unwinder.cfa(&self.modules, &self.process, registers, lookup)
        };
        let now = cfa_at(at.0, &stop.registers);
        own.sort_unstable();
        if let Some(found) = own.iter().find(|address| cfa_at(**address, &stop.registers) == now) {
            return Ok(FileAddress(*found).live(module.bias));
        }
        if !own.is_empty() {
            return Err(format!(
                "The thread cannot go on from line {line}: {function} has not the stack there that it has now. Choose a line \
                 between its first and its last."
            ));
        }
        let other = others.first().and_then(|address| name_at(address.live(module.bias), 0));
        Err(match other {
            Some(other) if other != function => format!(
                "The thread cannot go on from line {line}: that is in {other}, and the thread is paused in {function}. A thread can \
                 only be moved within its function."
            ),
            Some(_) => format!(
                "The thread cannot go on from line {line}: the thread is paused in a copy of {function} that has no code of \
                 this line of its own."
            ),
            None => format!("The thread cannot go on from line {line}: no code of {path} is there."),
        })
    }

    /// Moves a held thread, which is held there anew. A signal that it was about to take belongs to the place that it has left.
    pub(crate) fn move_to(&mut self, tid: Tid, address: Address) {
        let moved = self.change_registers(tid, |registers| {
            registers.rip = address.0;
            // No system call is begun again from there.
            registers.orig_rax = u64::MAX;
        });
        if moved.is_err() {
            // It has been killed; its end is reported by itself.
            return;
        }
        self.forget_stop(tid, true);
        if let Some(thread) = self.threads.get_mut(tid) {
            thread.judged = Some(address);
            thread.signal = 0;
            thread.seen_signal = None;
        }
        self.hold(tid, Reason::Goto);
    }
}
