//! What a register held when a function was called, which only its caller knows.
//!
//! Some compilers describe each call and what was passed in it (DWARF 5 section 3.4, and GCC's extension of DWARF 4). Rust's
//! does not; there the caller's own instructions before the call tell it, as long as they do so beyond doubt: what was read from
//! memory, or depends on the way that led to the call, is no answer.

use std::collections::HashSet;

use gimli::constants as dw;
use gimli::{Expression, Location, Operation, Register};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register as Name,
};

use super::evaluate::FrameContext;
use super::image::UnitIndex;
use super::modules::Module;
use super::{Attribute, Entry, Slice, UnitOffset};
use crate::address::{Address, FileAddress};
use crate::limits::{CALLER_BYTES_MAX, ENTRY_VALUES_DEPTH_MAX};
use crate::registers::{RSP, Registers};

/// General registers in DWARF's order.
const NAMES: [Name; 16] = [
    Name::RAX,
    Name::RDX,
    Name::RCX,
    Name::RBX,
    Name::RSI,
    Name::RDI,
    Name::RBP,
    Name::RSP,
    Name::R8,
    Name::R9,
    Name::R10,
    Name::R11,
    Name::R12,
    Name::R13,
    Name::R14,
    Name::R15,
];

fn number_of(name: Name) -> Option<Register> {
    let number = NAMES.iter().position(|own| *own == name.full_register())?;
    Some(Register(u16::try_from(number).ok()?))
}

/// The register that an entry value is of; other expressions are of no use in practice.
fn register_of(expression: Expression<Slice>, encoding: gimli::Encoding) -> Option<Register> {
    let mut operations = expression.operations(encoding);
    let first = operations.next().ok()??;
    if operations.next().ok()?.is_some() {
        return None;
    }
    match first {
        Operation::Register { register } | Operation::RegisterOffset { register, offset: 0, .. } => {
            Some(register)
        }
        _ => None,
    }
}

impl FrameContext<'_> {
    /// What the expression had for its value when the frame's function was called.
    pub(super) fn entry_value(&self, expression: Expression<Slice>) -> Option<u64> {
        let register = register_of(expression, self.module.image.unit(self.unit).encoding())?;
        self.entry_register(register)
    }

    fn entry_register(&self, register: Register) -> Option<u64> {
        let depth = self.depth.checked_add(1).filter(|depth| *depth <= ENTRY_VALUES_DEPTH_MAX)?;
        let physical = self.callers.first()?;
        // Where a signal interrupted nothing was passed.
        if physical.lookup.0 == physical.registers.pc() {
            return None;
        }
        let modules = self.modules?;
        let module = modules.at(physical.lookup)?;
        let pc = module.file_address(physical.lookup);
        let unit = module.image.unit_at(pc)?;
        let function = module.image.scopes(unit).function_at(pc.0)?;
        let caller = FrameContext {
            memory: self.memory,
            module,
            unit,
            function,
            registers: &physical.registers,
            cfa: physical.cfa,
            pc,
            callers: &self.callers[1..],
            modules: self.modules,
            depth,
        };
        caller.described(self, register).or_else(|| Call::before(&caller, self)?.value(register))
    }

    /// The first address of the function, which is what callers call.
    fn entry_address(&self) -> Option<Address> {
        let scope = self.module.image.scopes(self.unit).get(self.function);
        let start = scope.ranges.iter().map(|range| range.start).min()?;
        Some(FileAddress(start).live(self.module.bias))
    }

    fn linker_name(module: &Module, unit: UnitIndex, entry: UnitOffset) -> Option<&'static str> {
        module
            .inherited_text(unit, entry, dw::DW_AT_linkage_name)
            .or_else(|| module.inherited_text(unit, entry, dw::DW_AT_name))
    }

    /// What the debug information of this frame says was passed in the call that it is at.
    fn described(&self, callee: &FrameContext<'_>, register: Register) -> Option<u64> {
        let image = &self.module.image;
        let unit = image.unit(self.unit);
        let returns_to = self.module.file_address(Address(self.registers.pc())).0;
        let start = image.scopes(self.unit).get(self.function).entry;
        let mut entries = unit.entries_raw(Some(start)).ok()?;
        let mut entry = Entry::null();
        let (mut is_first, mut is_inside) = (true, false);
        let mut outer_depth = 0;
        while !entries.is_empty() {
            if !entries.read_entry(&mut entry).ok()? {
                continue;
            }
            if !is_first && entry.depth() <= outer_depth {
                break;
            }
            if std::mem::take(&mut is_first) {
                outer_depth = entry.depth();
                continue;
            }
            match entry.tag() {
                dw::DW_TAG_call_site | dw::DW_TAG_GNU_call_site => {
                    is_inside = self.return_address(&entry) == Some(returns_to) && self.calls(&entry, callee);
                }
                dw::DW_TAG_call_site_parameter | dw::DW_TAG_GNU_call_site_parameter if is_inside => {
                    let Some(Attribute::Exprloc(place)) = entry.attr_value(dw::DW_AT_location) else {
                        continue;
                    };
                    if register_of(place, unit.encoding()) != Some(register) {
                        continue;
                    }
                    let value = entry
                        .attr_value(dw::DW_AT_call_value)
                        .or_else(|| entry.attr_value(dw::DW_AT_GNU_call_site_value));
                    let Some(Attribute::Exprloc(value)) = value else { return None };
                    return self.number(value);
                }
                _ => {}
            }
        }
        None
    }

    fn return_address(&self, call: &Entry) -> Option<u64> {
        let value =
            call.attr_value(dw::DW_AT_call_return_pc).or_else(|| call.attr_value(dw::DW_AT_low_pc))?;
        let image = &self.module.image;
        image.dwarf(self.unit).attr_address(image.unit(self.unit), value).ok()?
    }

    /// Is this a call of that function? Behind a tail call another function runs than the one that was called.
    fn calls(&self, call: &Entry, callee: &FrameContext<'_>) -> bool {
        let origin = call
            .attr_value(dw::DW_AT_call_origin)
            .or_else(|| call.attr_value(dw::DW_AT_abstract_origin))
            .and_then(|value| self.module.resolve(self.unit, value));
        if let Some((unit, entry)) = origin {
            let own = callee.module.image.scopes(callee.unit).get(callee.function).entry;
            let name = Self::linker_name(callee.module, callee.unit, own);
            return name.is_some() && Self::linker_name(self.module, unit, entry) == name;
        }
        let target = call
            .attr_value(dw::DW_AT_call_target)
            .or_else(|| call.attr_value(dw::DW_AT_GNU_call_site_target));
        match target {
            Some(Attribute::Exprloc(target)) => {
                callee.entry_address().is_some_and(|entry| self.number(target) == Some(entry.0))
            }
            _ => false,
        }
    }

    /// The number that an expression comes to.
    fn number(&self, expression: Expression<Slice>) -> Option<u64> {
        match self.run(expression, true).ok()?.first()?.location {
            Location::Value { value } => value.to_u64(u64::MAX).ok(),
            Location::Address { address } => Some(address),
            Location::Register { register } => self.registers.get(register),
            _ => None,
        }
    }
}

/// The instructions of a function up to a call that it is in.
struct Call<'a> {
    caller: &'a FrameContext<'a>,
    instructions: Vec<Instruction>,
    /// Where jumps inside the function lead.
    targets: HashSet<u64>,
    /// The instructions begin with the function itself.
    is_from_entry: bool,
}

impl<'a> Call<'a> {
    /// Reads the caller's code; `None` when the call is not one of that function, or the code jumps in ways that cannot be seen.
    fn before(caller: &'a FrameContext<'a>, callee: &FrameContext<'_>) -> Option<Self> {
        let returns_to = caller.registers.pc();
        let scope = caller.module.image.scopes(caller.unit).get(caller.function);
        let range = scope.ranges.iter().find(|range| range.contains(&caller.pc.0))?;
        let bytes =
            usize::try_from(range.end - range.start).ok().filter(|bytes| *bytes <= CALLER_BYTES_MAX)?;
        let code = caller.module.image.code(FileAddress(range.start), bytes)?;
        let start = FileAddress(range.start).live(caller.module.bias).0;
        let (mut instructions, mut targets) = (Vec::new(), HashSet::new());
        for instruction in &mut Decoder::with_ip(64, code, start, DecoderOptions::NONE) {
            match instruction.flow_control() {
                // A table of jumps may lead to anywhere in the function.
                FlowControl::IndirectBranch => return None,
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                    targets.insert(instruction.near_branch_target());
                }
                _ => {}
            }
            if instruction.next_ip() <= returns_to {
                instructions.push(instruction);
            }
        }
        let call = instructions.last().filter(|call| call.next_ip() == returns_to)?;
        let target = match call.flow_control() {
            FlowControl::Call => Some(call.near_branch_target()),
            FlowControl::IndirectCall if call.is_ip_rel_memory_operand() => {
                caller.memory.read_u64(Address(call.ip_rel_memory_address())).ok()
            }
            _ => None,
        };
        if target? != callee.entry_address()?.0 {
            return None;
        }
        let is_from_entry = scope.ranges.iter().all(|other| other.start >= range.start);
        Some(Self { caller, instructions, targets, is_from_entry })
    }

    /// What the register held at the call.
    fn value(&self, register: Register) -> Option<u64> {
        self.set_before(self.instructions.len() - 1, register, 0)
    }

    /// The value that a register has before an instruction, of what sets it on the only way there.
    fn set_before(&self, at: usize, register: Register, depth: usize) -> Option<u64> {
        if depth > ENTRY_VALUES_DEPTH_MAX {
            return None;
        }
        for index in (0..at).rev() {
            if self.targets.contains(&self.instructions[index + 1].ip()) {
                return None;
            }
            let instruction = &self.instructions[index];
            match instruction.flow_control() {
                FlowControl::Next | FlowControl::ConditionalBranch => {}
                FlowControl::Call | FlowControl::IndirectCall if Registers::is_callee_saved(register) => {
                    continue;
                }
                _ => return None,
            }
            if writes(instruction, register) {
                return self.result(index, register, depth);
            }
        }
        // Nothing has changed it since the function began.
        let is_entry = self.is_from_entry && !self.targets.contains(&self.instructions.first()?.ip());
        if is_entry { self.caller.entry_register(register) } else { None }
    }

    /// What an instruction leaves in the register that it writes.
    fn result(&self, index: usize, register: Register, depth: usize) -> Option<u64> {
        let instruction = &self.instructions[index];
        if instruction.op0_kind() != OpKind::Register
            || number_of(instruction.op0_register()) != Some(register)
        {
            return None;
        }
        let mask = match instruction.op0_register().size() {
            8 => u64::MAX,
            // The upper half becomes zero.
            4 => u64::from(u32::MAX),
            _ => return None,
        };
        let value = match instruction.mnemonic() {
            Mnemonic::Mov => match instruction.op1_kind() {
                OpKind::Register => self.held_before(index, number_of(instruction.op1_register())?, depth)?,
                OpKind::Immediate32 | OpKind::Immediate64 | OpKind::Immediate32to64 => {
                    instruction.immediate(1)
                }
                _ => return None,
            },
            Mnemonic::Xor | Mnemonic::Sub
                if instruction.op1_kind() == OpKind::Register
                    && instruction.op1_register() == instruction.op0_register() =>
            {
                0
            }
            Mnemonic::Lea => self.address(index, depth)?,
            _ => return None,
        };
        Some(value & mask)
    }

    fn address(&self, index: usize, depth: usize) -> Option<u64> {
        let instruction = &self.instructions[index];
        if matches!(instruction.code(), Code::Lea_r16_m) {
            return None;
        }
        if instruction.is_ip_rel_memory_operand() {
            return Some(instruction.ip_rel_memory_address());
        }
        let mut address = instruction.memory_displacement64();
        for (name, scale) in
            [(instruction.memory_base(), 1), (instruction.memory_index(), instruction.memory_index_scale())]
        {
            if name != Name::None {
                let value = self.held_before(index, number_of(name)?, depth)?;
                address = address.wrapping_add(value.wrapping_mul(u64::from(scale)));
            }
        }
        Some(address)
    }

    /// The value that a register has before an instruction.
    fn held_before(&self, index: usize, register: Register, depth: usize) -> Option<u64> {
        let after = &self.instructions[index..self.instructions.len() - 1];
        // What the call preserves is known as it was at the call; a call changes the stack's end and puts it back.
        if register == RSP || Registers::is_callee_saved(register) {
            let is_call = |own: &Instruction| {
                matches!(own.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
            };
            if !after.iter().any(|own| !is_call(own) && writes(own, register)) {
                return self.caller.registers.get(register);
            }
        }
        self.set_before(index, register, depth + 1)
    }
}

fn writes(instruction: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    factory.info(instruction).used_registers().iter().any(|used| {
        let is_written = matches!(
            used.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        is_written && number_of(used.register()) == Some(register)
    })
}
