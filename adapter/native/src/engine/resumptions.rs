//! Where an async function goes on when it is polled again: code that belongs to the line of an `.await` and is not how that line is
//! first come to.
//!
//! Its body begins with a jump through a table, by the number of its state (0 not started, 1 returned, 2 panicked, from 3 on one for
//! each `.await`). The table tells the blocks; nothing else that the compiler writes down does.

use std::collections::BTreeSet;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::address::FileAddress;
use crate::dwarf::image::UnitIndex;
use crate::dwarf::modules::Module;
use crate::dwarf::scopes::{ScopeIndex, ScopeKind};
use crate::dwarf::types::{TypeId, TypeKind};
use crate::limits::{AWAITS_MAX, LOCATIONS_MAX};

/// States before the first `.await`.
const OTHER_STATES: usize = 3;
/// Instructions before the jump: what the function saves first, and the jump itself.
const INSTRUCTIONS_BEFORE_MAX: usize = 64;
/// Instructions of a block that takes the function up: it puts the context in its place and jumps on.
const INSTRUCTIONS_OF_BLOCK_MAX: usize = 64;
const INSTRUCTION_BYTES: usize = 15;
/// Instructions that are followed from where a body is taken up.
const REACHED_MAX: usize = 4096;

/// How the body of an async function or block is taken up.
pub struct Resumptions {
    /// Where it is begun, if that is known.
    beginning: Option<u64>,
    /// The block of each `.await`.
    blocks: Vec<Range<u64>>,
}

/// Of a body; `None` when the scope is none, or its table is not found.
#[must_use]
pub fn resumptions(module: &Module, unit: UnitIndex, scope: ScopeIndex) -> Option<Resumptions> {
    let states = states(module, unit, scope)?;
    let scopes = module.image.scopes(unit);
    let ranges = &scopes.get(scope).ranges;
    let jump = jump_of(module, unit, scope)?;
    let table = jump.table.or_else(|| table_of(module, unit, scope, jump.base))?;
    let is_own = |target: u64| ranges.iter().any(|range| range.contains(&target));
    let entry = |index: usize| {
        let place = FileAddress(table.wrapping_add(index as u64 * 4));
        let offset = <[u8; 4]>::try_from(module.image.code(place, 4)?).ok()?;
        let target = table.wrapping_add_signed(i64::from(i32::from_le_bytes(offset)));
        is_own(target).then_some(target)
    };
    let targets = (OTHER_STATES..states).map(entry).collect::<Option<Vec<u64>>>()?;
    let blocks = targets.into_iter().map(|target| target..end_of_block(module, target)).collect();
    Some(Resumptions { beginning: entry(0), blocks })
}

impl Resumptions {
    /// Is it in one of the blocks?
    #[must_use]
    pub fn contain(&self, address: u64) -> bool {
        self.blocks.iter().any(|block| block.contains(&address))
    }

    /// What is run when the `.await` of a line is polled again, which has code at these addresses: from its blocks on, as far as the
    /// body stays in the line.
    #[must_use]
    pub fn polled_again(&self, module: &Module, body: (UnitIndex, ScopeIndex), own: &[u64]) -> BTreeSet<u64> {
        let is_its_own = |block: &&Range<u64>| own.iter().any(|address| block.contains(address));
        let blocks: Vec<&Range<u64>> = self.blocks.iter().filter(is_its_own).collect();
        let line = own.first().and_then(|address| line_in(module, body, *address));
        let stays = |at: u64| {
            blocks.iter().any(|block| block.contains(&at))
                || line_in(module, body, at).is_some_and(|own| own.1 == 0 || Some(own) == line)
        };
        reached(module, blocks.iter().map(|block| block.start).collect(), stays)
    }

    /// What is run at all, as far as jumps tell: not what only cleans up.
    #[must_use]
    pub fn reached(&self, module: &Module) -> BTreeSet<u64> {
        let starts = self.blocks.iter().map(|block| block.start).chain(self.beginning);
        reached(module, starts.collect(), |_| true)
    }
}

/// The body's own file and line at an address: calls that were inlined are at the line that makes them. `None` outside the body.
fn line_in(module: &Module, (unit, body): (UnitIndex, ScopeIndex), at: u64) -> Option<(u32, u32)> {
    let scopes = module.image.scopes(unit);
    let chain = scopes.functions_at(at);
    let own = chain.iter().position(|scope| *scope == body)?;
    match chain.get(own + 1).map(|call| &scopes.get(*call).kind) {
        Some(ScopeKind::Inlined { file, line, .. }) => Some((*file, *line)),
        _ => module.image.lines(unit).row_at(at).map(|row| (row.file, row.line)),
    }
}

/// The instructions that can be come to, while they are wanted; calls return.
fn reached(module: &Module, mut starts: Vec<u64>, is_wanted: impl Fn(u64) -> bool) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    while let Some(start) = starts.pop() {
        let mut next = Some(start);
        while let Some(at) = next.take() {
            if found.len() >= REACHED_MAX || !is_wanted(at) || !found.insert(at) {
                break;
            }
            let one = at..at.saturating_add(INSTRUCTION_BYTES as u64);
            let Some(instruction) = decoded(module, &one, 1).pop() else { break };
            let flow = instruction.flow_control();
            if matches!(flow, FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch) {
                starts.push(instruction.near_branch_target());
            }
            let goes_on = [
                FlowControl::Next,
                FlowControl::ConditionalBranch,
                FlowControl::Call,
                FlowControl::IndirectCall,
            ];
            next = goes_on.contains(&flow).then(|| instruction.next_ip());
        }
    }
    found
}

/// The jump by which the body of an async function or block goes to where it was suspended; `None` when it is not found.
#[must_use]
pub fn dispatch(module: &Module, unit: UnitIndex, scope: ScopeIndex) -> Option<u64> {
    states(module, unit, scope)?;
    jump_of(module, unit, scope).map(|jump| jump.at)
}

/// A jump through a table.
struct TableJump {
    at: u64,
    /// What holds the table's address.
    base: Register,
    /// That address, if it is loaded just before.
    table: Option<u64>,
}

/// An inlined body has its jump in whichever of its parts; another part may begin with that of a body inlined further in.
fn jump_of(module: &Module, unit: UnitIndex, scope: ScopeIndex) -> Option<TableJump> {
    let scopes = module.image.scopes(unit);
    let is_own = |jump: &TableJump| scopes.functions_at(jump.at).last() == Some(&scope);
    let parts = scopes.get(scope).ranges.iter().take(LOCATIONS_MAX);
    parts.filter_map(|range| jump_in(module, range)).find(is_own)
}

/// The table of a body that is polled in a loop of the code around it: its address is loaded before the loop. `None` when the register
/// has several in that function.
fn table_of(module: &Module, unit: UnitIndex, scope: ScopeIndex, base: Register) -> Option<u64> {
    let (_, function) = module.image.scopes(unit).beside(scope).next()?;
    let code = function.ranges.iter().flat_map(|range| decoded(module, range, REACHED_MAX));
    let loads = code.filter(|own| loads_address(own) && own.op0_register() == base);
    let tables: BTreeSet<u64> = loads.map(|load| load.ip_rel_memory_address()).collect();
    tables.first().copied().filter(|_| tables.len() == 1)
}

fn loads_address(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand()
}

/// How many states the machine has that a function runs: its argument without a name is a pinned reference to it.
fn states(module: &Module, unit: UnitIndex, scope: ScopeIndex) -> Option<usize> {
    let arguments = &module.image.scopes(unit).get(scope).variables;
    let pinned = arguments.iter().find_map(|entry| module.unnamed_argument_type(unit, *entry))?;
    let TypeKind::Struct { members, .. } = &module.type_of(pinned)?.kind else { return None };
    let to = members.iter().find_map(|member| pointee(module, member.type_id))?;
    let machine = module.type_of(to)?;
    let TypeKind::Struct { variants: Some(part), .. } = &machine.kind else { return None };
    machine.name.contains("{async_").then_some(part.variants.len().min(AWAITS_MAX + OTHER_STATES))
}

fn pointee(module: &Module, pointer: TypeId) -> Option<TypeId> {
    match module.type_of(pointer)?.kind {
        TypeKind::Pointer(to) => to,
        _ => None,
    }
}

fn decoded(module: &Module, range: &Range<u64>, most: usize) -> Vec<Instruction> {
    let bytes = range.end.saturating_sub(range.start).min((most * INSTRUCTION_BYTES) as u64) as usize;
    let Some(code) = module.image.code(FileAddress(range.start), bytes) else { return Vec::new() };
    Decoder::with_ip(64, code, range.start, DecoderOptions::NONE).into_iter().take(most).collect()
}

/// The jump through a table of the code at the beginning of a range: `lea base, [table]`, `movsxd at, [base + state * 4]`, `add at, base`,
/// `jmp at`.
fn jump_in(module: &Module, range: &Range<u64>) -> Option<TableJump> {
    let code = decoded(module, range, INSTRUCTIONS_BEFORE_MAX);
    let ends = |instruction: &Instruction| {
        matches!(
            instruction.flow_control(),
            FlowControl::IndirectBranch | FlowControl::Call | FlowControl::IndirectCall | FlowControl::Return
        )
    };
    let jump = code.iter().position(ends)?;
    if code[jump].flow_control() != FlowControl::IndirectBranch || code[jump].op0_kind() != OpKind::Register {
        return None;
    }
    let before = &code[..jump];
    let load = before.iter().rposition(|own| {
        own.mnemonic() == Mnemonic::Movsxd
            && own.op1_kind() == OpKind::Memory
            && own.memory_index_scale() == 4
            && own.memory_index() != Register::None
    })?;
    let base = before[load].memory_base();
    let from =
        before[..load].iter().rfind(|own| own.op0_kind() == OpKind::Register && own.op0_register() == base);
    if from.is_some_and(|from| !loads_address(from)) {
        return None;
    }
    Some(TableJump { at: code[jump].ip(), base, table: from.map(Instruction::ip_rel_memory_address) })
}

fn end_of_block(module: &Module, start: u64) -> u64 {
    let most = start..start.saturating_add((INSTRUCTIONS_OF_BLOCK_MAX * INSTRUCTION_BYTES) as u64);
    let code = decoded(module, &most, INSTRUCTIONS_OF_BLOCK_MAX);
    let last = code.iter().find(|own| own.flow_control() != FlowControl::Next).or(code.last());
    last.map_or(start, Instruction::next_ip)
}
