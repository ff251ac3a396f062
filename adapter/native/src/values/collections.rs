//! Lists and maps of the standard library.
//!
//! Dispatch is on the full type name and on the fields that are there, never on the compiler's version. What does not look as
//! expected is shown as the struct that it is.

use super::tree::Tree;
use super::{Child, Value};
use crate::address::Address;
use crate::dwarf::evaluate::Place;
use crate::dwarf::types::{TypeId, TypeKind};
use crate::limits::{HASH_BUCKETS_MAX, LENGTH_BELIEVED_MAX};
use crate::target::Memory;

/// Elements one after another, perhaps around the end of a ring.
#[derive(Clone)]
pub struct List {
    /// What holds them.
    owner: Value,
    element: TypeId,
    stride: u64,
    /// In memory, or inside the owner's own bytes.
    start: Option<Address>,
    /// How many there are.
    pub len: u64,
    /// Index of the first in a ring of `capacity`.
    head: u64,
    capacity: u64,
}

/// Keys and values.
#[derive(Clone)]
pub struct Table {
    owner: Value,
    entries: Entries,
    /// A set has keys only.
    pub is_set: bool,
}

#[derive(Clone)]
enum Entries {
    /// Buckets of a hash table, of which those with these numbers are in use.
    Hashed { entry: TypeId, stride: u64, control: Address, full: Vec<u64> },
    /// A tree, in the order of the keys. There may be more than were read.
    Ordered { tree: Tree, len: u64 },
}

impl List {
    /// The list that a value is, if it is one.
    #[must_use]
    pub fn of(value: &Value, memory: &dyn Memory) -> Option<Self> {
        let name = value.of.name.as_str();
        if let TypeKind::Array { element, count } = &value.of.kind {
            let start = match &value.place {
                Place::Memory(address) => Some(*address),
                _ => None,
            };
            return Self::new(value, *element, start, *count);
        }
        if name.starts_with("alloc::vec::Vec<") {
            let element = value.of.parameter("T")?;
            let start = value.field("buf")?.first_pointer()?.word(memory)?;
            return Self::new(value, element, Some(Address(start)), value.field("len")?.word(memory)?);
        }
        if name.starts_with("alloc::collections::vec_deque::VecDeque<") {
            return Self::of_ring(value, memory);
        }
        let is_slice = name.starts_with("&[")
            || name.starts_with("&mut [")
            || name.starts_with("*const [")
            || name.starts_with("*mut [")
            || name.starts_with("alloc::boxed::Box<[");
        let start = value.field("data_ptr").filter(|_| is_slice)?;
        let TypeKind::Pointer(Some(element)) = start.of.kind else { return None };
        Self::new(value, element, Some(Address(start.word(memory)?)), value.field("length")?.word(memory)?)
    }

    fn new(owner: &Value, element: TypeId, start: Option<Address>, len: u64) -> Option<Self> {
        let stride = owner.module.type_of(element)?.bytes;
        if len > LENGTH_BELIEVED_MAX {
            return None;
        }
        Some(Self { owner: owner.clone(), element, stride, start, len, head: 0, capacity: u64::MAX })
    }

    fn of_ring(value: &Value, memory: &dyn Memory) -> Option<Self> {
        let element = value.of.parameter("T")?;
        let start = value.field("buf")?.first_pointer()?.word(memory)?;
        let list = Self::new(value, element, Some(Address(start)), value.field("len")?.word(memory)?)?;
        let capacity = value
            .field("buf")?
            .find(2, &|part| part.of.member("cap").is_some())?
            .field("cap")?
            .word(memory)?;
        Some(Self { head: value.field("head")?.word(memory)?, capacity: capacity.max(list.len), ..list })
    }

    /// An element.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<Value> {
        if index >= self.len {
            return None;
        }
        let logical = self.head.checked_add(index)?;
        let physical = if logical >= self.capacity { logical - self.capacity } else { logical };
        let offset = physical.checked_mul(self.stride)?;
        match self.start {
            Some(start) => self.owner.at(start.offset(offset), self.element),
            None => self.owner.part(offset, self.element),
        }
    }

    /// Some elements, named by their index.
    #[must_use]
    pub fn children(&self, start: u64, count: u64) -> Vec<Child> {
        (start..self.len.min(start.saturating_add(count)))
            .filter_map(|index| Some(Child { name: format!("[{index}]"), value: self.get(index)? }))
            .collect()
    }
}

impl Table {
    /// The table that a map or a set is.
    #[must_use]
    pub fn of(value: &Value, memory: &dyn Memory) -> Option<Self> {
        const KINDS: [(&str, bool, bool); 4] = [
            ("std::collections::hash::map::HashMap<", true, false),
            ("std::collections::hash::set::HashSet<", true, true),
            ("alloc::collections::btree::map::BTreeMap<", false, false),
            ("alloc::collections::btree::set::BTreeSet<", false, true),
        ];
        let kind = KINDS.iter().find(|(start, ..)| value.of.name.starts_with(start))?;
        let (_, is_hashed, is_set) = *kind;
        let entries = if is_hashed { Self::hashed(value, memory)? } else { Self::ordered(value, memory)? };
        Some(Self { owner: value.clone(), entries, is_set })
    }

    fn hashed(value: &Value, memory: &dyn Memory) -> Option<Entries> {
        let table = value.find(5, &|part| part.of.name.starts_with("hashbrown::raw::RawTable<"))?;
        let entry = table.of.parameter("T")?;
        let inner = table.field("table")?;
        let mask = inner.field("bucket_mask")?.word(memory)?;
        let items = inner.field("items")?.word(memory)?;
        let control = Address(inner.field("ctrl")?.first_pointer()?.word(memory)?);
        if mask >= HASH_BUCKETS_MAX || items > mask + 1 {
            return None;
        }
        // A full bucket's control byte has its top bit clear.
        let bytes = memory.read_vec(control, mask as usize + 1).ok()?;
        let full =
            (0u64..).zip(&bytes).filter(|(_, byte)| **byte & 0x80 == 0).map(|(index, _)| index).collect();
        let stride = value.module.type_of(entry)?.bytes;
        Some(Entries::Hashed { entry, stride, control, full })
    }

    fn ordered(value: &Value, memory: &dyn Memory) -> Option<Entries> {
        let map =
            value.find(2, &|part| part.of.name.starts_with("alloc::collections::btree::map::BTreeMap<"))?;
        let len = map.field("length")?.word(memory)?;
        Some(Entries::Ordered { tree: Tree::read(&map, memory)?, len })
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.entries {
            Entries::Hashed { full, .. } => full.len() as u64,
            Entries::Ordered { len, .. } => *len,
        }
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An entry's key and value; a set's value is `()`. `None` for an entry beyond those that were read.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<(Value, Value)> {
        match &self.entries {
            Entries::Hashed { entry, stride, control, full } => {
                let bucket = full.get(usize::try_from(index).ok()?)?;
                // Entries lie before the control bytes, the first one last.
                let address = Address(control.0.wrapping_sub((bucket + 1).wrapping_mul(*stride)));
                let entry = self.owner.at(address, *entry)?;
                Some((entry.field("__0")?, entry.field("__1")?))
            }
            Entries::Ordered { tree, .. } => tree.get(index),
        }
    }
}
