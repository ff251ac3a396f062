//! Where a variable is: DWARF expressions and location lists.

use std::collections::HashMap;
use std::rc::Rc;

use gimli::constants as dw;
use gimli::{EvaluationResult, Expression, Location, Piece, Register, Value};

use super::image::UnitIndex;
use super::modules::{Module, Modules};
use super::scopes::ScopeIndex;
use super::types::TypeId;
use super::unwind::PhysicalFrame;
use super::{Attribute, Entry, Slice, UnitOffset};
use crate::address::{Address, FileAddress};
use crate::limits::DWARF_OPERATIONS_MAX;
use crate::registers::Registers;
use crate::target::Memory;

/// Where a value is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In memory.
    Memory(Address),
    /// Not in memory; `register` when it is the lower part of one, which can be set.
    Bytes {
        /// The value, in memory order.
        bytes: Rc<[u8]>,
        /// The register it came from.
        register: Option<Register>,
    },
    /// Some of its bytes are known.
    Partly {
        /// The value, in memory order, with any bytes where it is not known.
        bytes: Rc<[u8]>,
        /// Of each byte, whether it is.
        is_known: Rc<[bool]>,
    },
    /// Nowhere, and why.
    Unavailable(&'static str),
}

/// What the compiler left nothing of.
pub const OPTIMIZED_OUT: Place = Place::Unavailable("optimized out");

/// One physical frame, for expressions.
#[derive(Clone, Copy)]
pub struct FrameContext<'a> {
    /// The thread's memory.
    pub memory: &'a dyn Memory,
    /// The module of the frame's code.
    pub module: &'a Module,
    /// The unit of the frame's code.
    pub unit: UnitIndex,
    /// The physical function around the frame, which has the frame base.
    pub function: ScopeIndex,
    /// The frame's registers.
    pub registers: &'a Registers,
    /// The frame's canonical address: the stack pointer before the call.
    pub cfa: Option<Address>,
    /// An address inside the frame's current instruction.
    pub pc: FileAddress,
    /// The physical frames around this one, the nearest first, as far as they are known.
    pub callers: &'a [PhysicalFrame],
    /// The modules of their code.
    pub modules: Option<&'a Modules>,
    /// How many frames further in asked for this one.
    pub depth: usize,
}

/// A variable or an argument of a scope.
#[derive(Clone, Debug)]
pub struct VariableEntry {
    /// As in the source; empty for what the compiler has added.
    pub name: &'static str,
    /// Its type.
    pub type_id: TypeId,
    /// An argument of the function.
    pub is_argument: bool,
    /// Where it is.
    pub place: Place,
}

/// What the debug information says of a variable, wherever it is.
#[derive(Clone, Debug)]
pub struct VariableFacts {
    name: &'static str,
    type_id: TypeId,
    bytes: u64,
    is_argument: bool,
    location: Option<Attribute>,
    constant: Option<Attribute>,
}

/// Variables that were read, by their unit and entry; `None` stands for one without a type.
pub type KnownVariables = HashMap<(UnitIndex, UnitOffset), Option<Rc<VariableFacts>>>;

impl Module {
    /// Reads a variable's entry, or gives what was read before; `None` when it has no type.
    fn variable_facts(&self, unit: UnitIndex, entry: UnitOffset) -> Option<Rc<VariableFacts>> {
        if let Some(known) = self.variables.borrow().get(&(unit, entry)) {
            return known.clone();
        }
        let read = self.read_variable(unit, entry).map(Rc::new);
        self.variables.borrow_mut().insert((unit, entry), read.clone());
        read
    }

    /// The type of an argument that the compiler has added; `None` for what is none.
    #[must_use]
    pub fn unnamed_argument_type(&self, unit: UnitIndex, entry: UnitOffset) -> Option<TypeId> {
        let facts = self.variable_facts(unit, entry)?;
        (facts.is_argument && facts.name.is_empty()).then_some(facts.type_id)
    }

    /// What an inlined copy is a copy of, in the same unit.
    #[must_use]
    pub fn pattern_of(&self, unit: UnitIndex, entry: UnitOffset) -> Option<UnitOffset> {
        let die = self.image.unit(unit).entry(entry).ok()?;
        let (own, pattern) = self.resolve(unit, die.attr_value(dw::DW_AT_abstract_origin)?)?;
        (own == unit).then_some(pattern)
    }

    /// The arguments of a function that is inlined elsewhere, and its variables with the lines where they are declared.
    #[must_use]
    pub fn declared_in(&self, unit: UnitIndex, pattern: UnitOffset) -> Vec<(UnitOffset, Option<u32>)> {
        let mut found = Vec::new();
        let Ok(mut entries) = self.image.unit(unit).entries_raw(Some(pattern)) else { return found };
        let mut entry = Entry::null();
        let mut outer = Vec::new();
        // A damaged one gives what comes before the damage.
        while !entries.is_empty() && matches!(entries.read_entry(&mut entry), Ok(true) | Ok(false)) {
            if entry.is_null() {
                if entries.next_depth() <= 0 {
                    break;
                }
                continue;
            }
            let is_first = outer.is_empty();
            outer.retain(|depth| *depth < entry.depth());
            if !is_first && outer.is_empty() {
                break;
            }
            let line = || entry.attr_value(dw::DW_AT_decl_line).and_then(|line| line.udata_value());
            // Only what is directly in the function or in its blocks.
            if !is_first && outer.len() as isize != entry.depth() - outer[0] {
                continue;
            }
            match entry.tag() {
                _ if is_first => outer.push(entry.depth()),
                dw::DW_TAG_lexical_block => outer.push(entry.depth()),
                dw::DW_TAG_formal_parameter => found.push((entry.offset(), None)),
                dw::DW_TAG_variable => {
                    found.extend(line().map(|line| (entry.offset(), u32::try_from(line).ok())));
                }
                _ => {}
            }
            if is_first && !entry.has_children() {
                break;
            }
        }
        found
    }

    fn read_variable(&self, unit: UnitIndex, entry: UnitOffset) -> Option<VariableFacts> {
        let die = self.image.unit(unit).entry(entry).ok()?;
        let (type_unit, type_value) = self.inherited(unit, entry, dw::DW_AT_type)?;
        let (type_unit, type_entry) = self.resolve(type_unit, type_value)?;
        let type_id = TypeId { unit: type_unit, entry: type_entry };
        let location = die.attr_value(dw::DW_AT_location);
        let constant = || self.inherited(unit, entry, dw::DW_AT_const_value).map(|(_, value)| value);
        Some(VariableFacts {
            name: self.inherited_text(unit, entry, dw::DW_AT_name).unwrap_or_default(),
            type_id,
            bytes: self.type_of(type_id)?.bytes,
            is_argument: die.tag() == dw::DW_TAG_formal_parameter,
            constant: if location.is_none() { constant() } else { None },
            location,
        })
    }
}

impl FrameContext<'_> {
    /// Reads a variable's entry; `None` when it has no name or no type.
    #[must_use]
    pub fn variable(&self, entry: UnitOffset) -> Option<VariableEntry> {
        self.placed(entry).filter(|found| !found.name.is_empty())
    }

    /// Reads the entry of an argument that the compiler has added.
    #[must_use]
    pub fn unnamed_argument(&self, entry: UnitOffset) -> Option<VariableEntry> {
        self.placed(entry).filter(|found| found.name.is_empty() && found.is_argument)
    }

    fn placed(&self, entry: UnitOffset) -> Option<VariableEntry> {
        let facts = self.module.variable_facts(self.unit, entry)?;
        let bytes = facts.bytes;
        let place = match (facts.location, facts.constant) {
            (Some(value), _) => self.place(value, bytes),
            (None, Some(value)) => constant(value, bytes),
            // A value without bytes needs no place.
            (None, None) if bytes == 0 => Place::Bytes { bytes: Rc::new([]), register: None },
            (None, None) => OPTIMIZED_OUT,
        };
        let VariableFacts { name, type_id, is_argument, .. } = *facts;
        Some(VariableEntry { name, type_id, is_argument, place })
    }

    fn place(&self, value: Attribute, bytes: u64) -> Place {
        if let Attribute::Exprloc(expression) = value {
            return self.evaluate(expression, bytes);
        }
        let unit = self.module.image.unit(self.unit);
        let Ok(Some(mut locations)) = self.module.image.dwarf(self.unit).attr_locations(unit, value) else {
            return Place::Unavailable("damaged debug information");
        };
        while let Ok(Some(location)) = locations.next() {
            if (location.range.begin..location.range.end).contains(&self.pc.0) {
                return self.evaluate(location.data, bytes);
            }
        }
        OPTIMIZED_OUT
    }

    /// Runs an expression for a value of so many bytes.
    #[must_use]
    pub fn evaluate(&self, expression: Expression<Slice>, bytes: u64) -> Place {
        match self.run(expression, true) {
            Ok(pieces) => self.place_of(&pieces, bytes),
            Err(reason) => Place::Unavailable(reason),
        }
    }

    pub(super) fn run(
        &self,
        expression: Expression<Slice>,
        may_use_frame_base: bool,
    ) -> Result<Vec<Piece<Slice>>, &'static str> {
        const DAMAGED: &str = "damaged debug information";
        let unit = self.module.image.unit(self.unit);
        let mut evaluation = expression.evaluation(unit.encoding());
        evaluation.set_max_iterations(DWARF_OPERATIONS_MAX);
        let mut step = evaluation.evaluate().map_err(|_| DAMAGED)?;
        loop {
            let next = match step {
                EvaluationResult::Complete => return Ok(evaluation.result()),
                EvaluationResult::RequiresMemory { address, size, .. } => {
                    let mut buffer = [0; 8];
                    let wanted = buffer.get_mut(..usize::from(size)).ok_or(DAMAGED)?;
                    self.memory.read(Address(address), wanted).map_err(|_| "its address cannot be read")?;
                    evaluation.resume_with_memory(Value::Generic(u64::from_le_bytes(buffer)))
                }
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = self.registers.get(register).ok_or("optimized out")?;
                    evaluation.resume_with_register(Value::Generic(value))
                }
                EvaluationResult::RequiresFrameBase if may_use_frame_base => {
                    evaluation.resume_with_frame_base(self.frame_base().ok_or("optimized out")?)
                }
                EvaluationResult::RequiresCallFrameCfa => {
                    evaluation.resume_with_call_frame_cfa(self.cfa.ok_or("optimized out")?.0)
                }
                EvaluationResult::RequiresRelocatedAddress(address) => {
                    evaluation.resume_with_relocated_address(FileAddress(address).live(self.module.bias).0)
                }
                EvaluationResult::RequiresIndexedAddress { index, relocate } => {
                    let address =
                        self.module.image.dwarf(self.unit).address(unit, index).map_err(|_| DAMAGED)?;
                    let live = FileAddress(address).live(self.module.bias).0;
                    evaluation.resume_with_indexed_address(if relocate { live } else { address })
                }
                EvaluationResult::RequiresBaseType(offset) => {
                    evaluation.resume_with_base_type(self.base_type(offset).ok_or(DAMAGED)?)
                }
                EvaluationResult::RequiresTls(offset) => {
                    let place = self.module.thread_local(offset, self.registers.fs_base);
                    evaluation
                        .resume_with_tls(place.ok_or("the storage of a library's threads is not found")?.0)
                }
                // What an argument was when the function was called is known only to its caller.
                EvaluationResult::RequiresEntryValue(of) => {
                    let value = self.entry_value(of).ok_or("optimized out")?;
                    evaluation.resume_with_entry_value(Value::Generic(value))
                }
                _ => return Err("its place is described in a way that this engine does not know"),
            };
            step = next.map_err(|_| DAMAGED)?;
        }
    }

    fn base_type(&self, offset: UnitOffset) -> Option<gimli::ValueType> {
        if offset.0 == 0 {
            return Some(gimli::ValueType::Generic);
        }
        gimli::ValueType::from_entry(&self.module.image.unit(self.unit).entry(offset).ok()?).ok()?
    }

    fn frame_base(&self) -> Option<u64> {
        let scope = self.module.image.scopes(self.unit).get(self.function);
        let entry = self.module.image.unit(self.unit).entry(scope.entry).ok()?;
        let Some(Attribute::Exprloc(expression)) = entry.attr_value(dw::DW_AT_frame_base) else {
            return None;
        };
        let pieces = self.run(expression, false).ok()?;
        match pieces.first()?.location {
            Location::Register { register } => self.registers.get(register),
            Location::Address { address } => Some(address),
            Location::Value { value } => value.to_u64(u64::MAX).ok(),
            _ => None,
        }
    }

    fn place_of(&self, pieces: &[Piece<Slice>], bytes: u64) -> Place {
        if let [Piece { size_in_bits: None, location, .. }] = pieces {
            return match location {
                Location::Address { address } => Place::Memory(Address(*address)),
                Location::Register { register } => match self.piece_bytes(location, bytes) {
                    Some(bytes) => Place::Bytes { bytes: bytes.into(), register: Some(*register) },
                    None => OPTIMIZED_OUT,
                },
                location => match self.piece_bytes(location, bytes) {
                    Some(bytes) => Place::Bytes { bytes: bytes.into(), register: None },
                    None => OPTIMIZED_OUT,
                },
            };
        }
        let len = bytes.min(crate::limits::VALUE_BYTES_MAX) as usize;
        let (mut whole, mut known) = (vec![0u8; len], vec![0u8; len]);
        let mut at = 0;
        for piece in pieces {
            let size = piece.size_in_bits.unwrap_or(0);
            let own = self.piece_bytes(&piece.location, size.div_ceil(8));
            if let Some(own) = own.filter(|_| piece.bit_offset.unwrap_or(0) == 0) {
                put_bits(&mut whole, &mut known, at, size, &own);
            }
            at += size;
        }
        // What lies behind the last piece, within its last byte, is no part of the value.
        if let Some(last) = known.get_mut((at / 8) as usize).filter(|_| !at.is_multiple_of(8)) {
            *last |= 0xff << (at % 8);
        }
        let is_known: Vec<bool> = known.iter().map(|bits| *bits == 0xff).collect();
        match (is_known.contains(&true), is_known.contains(&false)) {
            (true, true) => Place::Partly { bytes: whole.into(), is_known: is_known.into() },
            (false, _) => OPTIMIZED_OUT,
            (true, false) => Place::Bytes { bytes: whole.into(), register: None },
        }
    }

    fn piece_bytes(&self, location: &Location<Slice>, bytes: u64) -> Option<Vec<u8>> {
        let bytes = usize::try_from(bytes.min(crate::limits::VALUE_BYTES_MAX)).ok()?;
        let mut found = match location {
            Location::Address { address } => self.memory.read_vec(Address(*address), bytes).ok()?,
            Location::Register { register } => self.registers.bytes(*register)?,
            Location::Value { value } => value_bytes(*value),
            Location::Bytes { value } => value.slice().to_vec(),
            Location::Empty | Location::ImplicitPointer { .. } => return None,
        };
        if found.len() < bytes {
            return None;
        }
        found.truncate(bytes);
        Some(found)
    }
}

/// Puts so many bits of `own` into a value from a bit on, and marks them as known.
fn put_bits(whole: &mut [u8], known: &mut [u8], first: u64, count: u64, own: &[u8]) {
    let (start, is_whole) = ((first / 8) as usize, first.is_multiple_of(8) && count.is_multiple_of(8));
    if is_whole {
        for (index, byte) in own.iter().enumerate() {
            if let (Some(to), Some(mark)) = (whole.get_mut(start + index), known.get_mut(start + index)) {
                (*to, *mark) = (*byte, 0xff);
            }
        }
        return;
    }
    for bit in 0..count {
        let (from, to) = (bit as usize, (first + bit) as usize);
        let Some(is_set) = own.get(from / 8).map(|byte| byte >> (from % 8) & 1) else { return };
        if let (Some(byte), Some(mark)) = (whole.get_mut(to / 8), known.get_mut(to / 8)) {
            *byte |= is_set << (to % 8);
            *mark |= 1 << (to % 8);
        }
    }
}

fn value_bytes(value: Value) -> Vec<u8> {
    match value {
        Value::Generic(value) | Value::U64(value) => value.to_le_bytes().to_vec(),
        Value::I8(value) => i64::from(value).to_le_bytes().to_vec(),
        Value::U8(value) => u64::from(value).to_le_bytes().to_vec(),
        Value::I16(value) => i64::from(value).to_le_bytes().to_vec(),
        Value::U16(value) => u64::from(value).to_le_bytes().to_vec(),
        Value::I32(value) => i64::from(value).to_le_bytes().to_vec(),
        Value::U32(value) => u64::from(value).to_le_bytes().to_vec(),
        Value::I64(value) => value.to_le_bytes().to_vec(),
        Value::F32(value) => value.to_le_bytes().to_vec(),
        Value::F64(value) => value.to_le_bytes().to_vec(),
    }
}

fn constant(value: Attribute, bytes: u64) -> Place {
    let mut found = match value {
        Attribute::Block(block) => block.slice().to_vec(),
        Attribute::Data16(value) => value.to_le_bytes().to_vec(),
        other => match other.sdata_value().or_else(|| other.udata_value().map(|value| value as i64)) {
            Some(value) => i128::from(value).to_le_bytes().to_vec(),
            None => return OPTIMIZED_OUT,
        },
    };
    if (found.len() as u64) < bytes {
        return OPTIMIZED_OUT;
    }
    found.truncate(bytes as usize);
    Place::Bytes { bytes: found.into(), register: None }
}
