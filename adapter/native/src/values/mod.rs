//! Values of the debugged program: a type and a place, looked into one level at a time.
//!
//! Nothing here runs code of the program. What a value's memory says is never believed without a bound.

pub mod assign;
pub mod channels;
pub mod collections;
pub mod cpp;
pub mod errors;
pub mod foreign;
pub mod future;
pub mod iterators;
pub mod library;
pub mod render;
pub mod scalar;
pub mod text;
pub mod tree;
pub mod view;

use std::rc::Rc;

use crate::address::Address;
use crate::dwarf::evaluate::{OPTIMIZED_OUT, Place};
use crate::dwarf::modules::Module;
use crate::dwarf::types::{Member, ScalarKind, Type, TypeId, TypeKind, mask};
use crate::limits::VALUE_BYTES_MAX;
use crate::target::Memory;

const PARTLY_KNOWN: &str = "only a part of it is known";

/// A value that has not been looked at yet.
#[derive(Clone)]
pub struct Value {
    /// The module that describes its type.
    pub module: Rc<Module>,
    /// Its type.
    pub of: Rc<Type>,
    /// Where it is.
    pub place: Place,
}

/// A part of a value.
#[derive(Clone)]
pub struct Child {
    /// As the client shows it.
    pub name: String,
    /// The part.
    pub value: Value,
}

impl Value {
    /// A value of the type with this id.
    #[must_use]
    pub fn new(module: &Rc<Module>, type_id: TypeId, place: Place) -> Option<Self> {
        Some(Self { module: Rc::clone(module), of: module.type_of(type_id)?, place })
    }

    /// The value's bytes.
    pub fn bytes(&self, memory: &dyn Memory) -> Result<Vec<u8>, String> {
        if self.of.bytes > VALUE_BYTES_MAX {
            return Err(format!("too large to be read whole ({} bytes)", self.of.bytes));
        }
        let whole = match &self.place {
            Place::Memory(address) => {
                memory.read_vec(*address, self.of.bytes as usize).map_err(|error| error.to_string())?
            }
            Place::Bytes { bytes, .. } => {
                let whole = bytes.get(..self.of.bytes as usize);
                whole.map(<[u8]>::to_vec).ok_or_else(|| PARTLY_KNOWN.to_owned())?
            }
            Place::Partly { .. } => return Err(PARTLY_KNOWN.to_owned()),
            Place::Unavailable(reason) => return Err((*reason).to_owned()),
        };
        let is_signed = self.is_scalar(ScalarKind::Signed);
        Ok(self.of.bits.map_or(whole.clone(), |bits| bits.taken_from(&whole, is_signed)))
    }

    /// The value as an unsigned number, if it has at most sixteen bytes.
    #[must_use]
    pub fn unsigned(&self, memory: &dyn Memory) -> Option<u128> {
        if self.of.bytes > 16 {
            return None;
        }
        let bytes = self.bytes(memory).ok()?;
        let mut wide = [0; 16];
        wide[..bytes.len()].copy_from_slice(&bytes);
        Some(u128::from_le_bytes(wide))
    }

    /// The same, of eight bytes: a length or an address.
    #[must_use]
    pub fn word(&self, memory: &dyn Memory) -> Option<u64> {
        u64::try_from(self.unsigned(memory)?).ok()
    }

    /// A part at an offset.
    #[must_use]
    pub fn part(&self, offset: u64, type_id: TypeId) -> Option<Self> {
        let of = self.module.type_of(type_id)?;
        let place = match &self.place {
            Place::Memory(address) => Place::Memory(address.offset(offset)),
            Place::Bytes { bytes, register } => {
                let end = offset.checked_add(of.bytes)? as usize;
                match bytes.get(offset as usize..end) {
                    Some(part) => {
                        Place::Bytes { bytes: part.into(), register: register.filter(|_| offset == 0) }
                    }
                    None => Place::Unavailable(PARTLY_KNOWN),
                }
            }
            Place::Partly { bytes, is_known } => {
                let range = offset as usize..offset.checked_add(of.bytes)? as usize;
                match (bytes.get(range.clone()), is_known.get(range)) {
                    (Some(part), Some(known)) if known.iter().all(|is_known| *is_known) => {
                        Place::Bytes { bytes: part.into(), register: None }
                    }
                    (Some(part), Some(known)) if known.contains(&true) => {
                        Place::Partly { bytes: part.into(), is_known: known.into() }
                    }
                    _ => OPTIMIZED_OUT,
                }
            }
            Place::Unavailable(reason) => Place::Unavailable(reason),
        };
        Some(Self { module: Rc::clone(&self.module), of, place })
    }

    /// A field, by its member.
    #[must_use]
    pub fn member(&self, member: &Member) -> Option<Self> {
        let part = self.part(member.offset, member.type_id)?;
        match member.bits {
            Some(bits) => Some(Self { of: Rc::new(part.of.narrowed(bits)?), ..part }),
            None => Some(part),
        }
    }

    /// A field, by name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Self> {
        self.member(self.of.member(name)?)
    }

    /// A field of a field of a field.
    #[must_use]
    pub fn path(&self, names: &[&str]) -> Option<Self> {
        names.iter().try_fold(self.clone(), |value, name| value.field(name))
    }

    /// A value somewhere else in memory, described by the same module.
    #[must_use]
    pub fn at(&self, address: Address, type_id: TypeId) -> Option<Self> {
        Self::new(&self.module, type_id, Place::Memory(address))
    }

    /// What a thin pointer points at; `None` when this is no pointer to a described type.
    #[must_use]
    pub fn pointee(&self, memory: &dyn Memory) -> Option<Self> {
        let TypeKind::Pointer(Some(to)) = &self.of.kind else { return None };
        self.at(Address(self.word(memory)?), *to)
    }

    /// The one variant that an enum with data holds, with its fields; `None` when this is no such enum, or its
    /// discriminant names none. The discriminant is looked at before anything else: what lies there may be no value yet.
    #[must_use]
    pub fn variant(&self, memory: &dyn Memory) -> Option<(String, Self)> {
        let variant = self.variant_member(memory)?;
        Some((variant.name.clone(), self.member(variant)?))
    }

    /// The same, as the member that has the variant's fields.
    #[must_use]
    pub fn variant_member(&self, memory: &dyn Memory) -> Option<&Member> {
        let TypeKind::Struct { variants: Some(part), .. } = &self.of.kind else { return None };
        let tag = match &part.discriminant {
            Some(member) => Some(mask(self.member(member)?.unsigned(memory)?, 16)),
            None => None,
        };
        part.variant_of(tag).map(|variant| &variant.member)
    }

    /// The first thin pointer inside, at any depth: that is how the standard library's containers wrap theirs.
    #[must_use]
    pub fn first_pointer(&self) -> Option<Self> {
        self.find(8, &|value| matches!(value.of.kind, TypeKind::Pointer(_)))
    }

    /// The first part, at most `depth` levels down, for which `wanted` holds.
    #[must_use]
    pub fn find(&self, depth: usize, wanted: &dyn Fn(&Self) -> bool) -> Option<Self> {
        if wanted(self) {
            return Some(self.clone());
        }
        let TypeKind::Struct { members, .. } = &self.of.kind else { return None };
        if depth == 0 {
            return None;
        }
        members.iter().filter_map(|member| self.member(member)).find_map(|part| part.find(depth - 1, wanted))
    }

    /// Its only part that has a size; wrappers such as `Cell` have one.
    #[must_use]
    pub fn only_part(&self) -> Option<Self> {
        let TypeKind::Struct { members, variants: None } = &self.of.kind else { return None };
        let mut sized =
            members.iter().filter_map(|member| self.member(member)).filter(|part| part.of.bytes > 0);
        let only = sized.next()?;
        sized.next().is_none().then_some(only)
    }

    /// The member of a union that has a size, if it is the only one: `MaybeUninit` has one.
    #[must_use]
    pub fn field_of_union(&self) -> Option<Self> {
        let TypeKind::Union(members) = &self.of.kind else { return None };
        let mut sized = members.iter().filter_map(|own| self.member(own)).filter(|part| part.of.bytes > 0);
        let only = sized.next()?;
        sized.next().is_none().then_some(only)
    }

    /// Is it a scalar of this kind?
    #[must_use]
    pub fn is_scalar(&self, kind: ScalarKind) -> bool {
        matches!(&self.of.kind, TypeKind::Scalar(own) if *own == kind)
    }
}
