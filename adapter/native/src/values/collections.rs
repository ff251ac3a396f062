//! Lists and maps of the standard library.
//!
//! Dispatch is on the full type name and on the fields that are there, never on the compiler's version. What does not look as
//! expected is shown as the struct that it is.

use std::cell::OnceCell;
use std::rc::Rc;

use super::tree::Tree;
use super::{Child, Value, channels, iterators};
use crate::address::Address;
use crate::dwarf::evaluate::Place;
use crate::dwarf::types::{Type, TypeId, TypeKind};
use crate::limits::{HASH_BUCKETS_MAX, LENGTH_BELIEVED_MAX, LIST_NODES_MAX};
use crate::target::Memory;

/// Where a list of nodes goes on that is not followed to its end.
const NOT_WALKED: Place = Place::Unavailable("too far along the list to be looked for");

/// Elements one after another, perhaps around the end of a ring.
#[derive(Clone)]
pub struct List {
    /// What holds them.
    owner: Value,
    element: TypeId,
    stride: u64,
    start: Start,
    /// How many there are.
    pub len: u64,
    /// Index of the first in a ring of `capacity`.
    head: u64,
    capacity: u64,
}

#[derive(Clone)]
pub(super) enum Start {
    /// One after another in memory.
    Memory(Address),
    /// Inside the owner's own bytes.
    Inside,
    /// Each on its own. There may be more than were looked for.
    Linked(Rc<[Address]>),
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
    /// One after another.
    Listed(List),
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
                Place::Memory(address) => Start::Memory(*address),
                _ => Start::Inside,
            };
            return Self::new(value, *element, start, *count);
        }
        if name.starts_with("alloc::vec::Vec<") {
            let element = value.of.parameter("T")?;
            let start = value.field("buf")?.first_pointer()?.word(memory)?;
            let start = Start::Memory(Address(start));
            return Self::new(value, element, start, value.field("len")?.word(memory)?);
        }
        if name.starts_with("alloc::collections::linked_list::LinkedList<") {
            return Self::of_nodes(value, memory);
        }
        if name.starts_with("alloc::rc::Rc<[") || name.starts_with("alloc::sync::Arc<[") {
            return Self::of_counted(value, memory);
        }
        if name.starts_with("alloc::collections::vec_deque::VecDeque<") {
            return Self::of_ring(value, memory);
        }
        if let Some(list) = iterators::list(value, memory).or_else(|| channels::waiting(value, memory)) {
            return Some(list);
        }
        let is_slice = name.starts_with("&[")
            || name.starts_with("&mut [")
            || name.starts_with("*const [")
            || name.starts_with("*mut [")
            || name.starts_with("alloc::boxed::Box<[");
        let start = value.field("data_ptr").filter(|_| is_slice)?;
        let TypeKind::Pointer(Some(element)) = start.of.kind else { return None };
        let start = Start::Memory(Address(start.word(memory)?));
        Self::new(value, element, start, value.field("length")?.word(memory)?)
    }

    /// The elements of a list of nodes. The walk follows the program's own pointers, which may lead anywhere.
    fn of_nodes(value: &Value, memory: &dyn Memory) -> Option<Self> {
        let len = value.field("len")?.word(memory)?;
        let mut nodes = Vec::new();
        let mut element = value.of.parameter("T")?;
        let mut next = value.field("head")?;
        while nodes.len() < LIST_NODES_MAX.min(usize::try_from(len).unwrap_or(usize::MAX)) {
            let (_, some) = next.variant(memory).filter(|(variant, _)| variant == "Some")?;
            let node = some.first_pointer()?.pointee(memory)?;
            let own = node.field("element")?;
            let Place::Memory(address) = own.place else { return None };
            element = own.of.id;
            nodes.push(address);
            next = node.field("next")?;
        }
        Self::new(value, element, Start::Linked(nodes.into()), len)
    }

    /// The elements that an `Rc` or `Arc` shares, which stand behind its counts.
    fn of_counted(value: &Value, memory: &dyn Memory) -> Option<Self> {
        let wide = value.field("ptr")?.find(4, &|part| part.of.member("data_ptr").is_some())?;
        let shared = wide.field("data_ptr")?.pointee(memory)?;
        let elements = shared.field("value").or_else(|| shared.field("data"))?;
        // What has no size of its own is described by its element.
        let element = match elements.of.kind {
            TypeKind::Array { element, .. } => element,
            _ => elements.of.id,
        };
        let Place::Memory(start) = elements.place else { return None };
        Self::new(value, element, Start::Memory(start), wide.field("length")?.word(memory)?)
    }

    pub(super) fn new(owner: &Value, element: TypeId, start: Start, len: u64) -> Option<Self> {
        let stride = owner.module.type_of(element)?.bytes;
        if len > LENGTH_BELIEVED_MAX {
            return None;
        }
        Some(Self { owner: owner.clone(), element, stride, start, len, head: 0, capacity: u64::MAX })
    }

    fn of_ring(value: &Value, memory: &dyn Memory) -> Option<Self> {
        let element = value.of.parameter("T")?;
        let start = value.field("buf")?.first_pointer()?.word(memory)?;
        let list =
            Self::new(value, element, Start::Memory(Address(start)), value.field("len")?.word(memory)?)?;
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
        match &self.start {
            Start::Memory(start) => self.owner.at(start.offset(offset), self.element),
            Start::Inside => self.owner.part(offset, self.element),
            Start::Linked(nodes) => match nodes.get(usize::try_from(index).ok()?) {
                Some(address) => self.owner.at(*address, self.element),
                None => Value::new(&self.owner.module, self.element, NOT_WALKED),
            },
        }
    }

    /// Some of the elements as a value of their own; `None` where they do not lie one after another.
    #[must_use]
    pub fn slice(&self, from: u64, to: u64) -> Option<Value> {
        let count = to.checked_sub(from)?;
        let first = self.head.checked_add(from)?;
        // From one end of the ring to the other, or all behind the end.
        let is_behind = first >= self.capacity;
        if !is_behind && count > 0 && first.checked_add(count)? > self.capacity {
            return None;
        }
        let first = if is_behind { first - self.capacity } else { first };
        let (offset, bytes) = (first.checked_mul(self.stride)?, count.checked_mul(self.stride)?);
        let place = match (&self.start, &self.owner.place) {
            (Start::Memory(start), _) => Place::Memory(start.offset(offset)),
            (Start::Inside, Place::Bytes { bytes: all, .. }) => {
                let part = all.get(usize::try_from(offset).ok()?..)?.get(..usize::try_from(bytes).ok()?)?;
                Place::Bytes { bytes: part.into(), register: None }
            }
            _ => return None,
        };
        let element = self.owner.module.type_of(self.element)?;
        let of = Type {
            // It has no description of its own; that of its elements is the nearest.
            id: self.element,
            name: format!("[{}]", element.name),
            bytes,
            kind: TypeKind::Array { element: self.element, count },
            parameters: Vec::new(),
            called: OnceCell::new(),
            bits: None,
        };
        Some(Value { module: Rc::clone(&self.owner.module), of: Rc::new(of), place })
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
        type Read = fn(&Value, &dyn Memory) -> Option<Entries>;
        const KINDS: [(&str, Read, bool); 10] = [
            ("std::collections::hash::map::HashMap<", Table::hashed, false),
            ("std::collections::hash::set::HashSet<", Table::hashed, true),
            ("hashbrown::map::HashMap<", Table::hashed, false),
            ("hashbrown::set::HashSet<", Table::hashed, true),
            ("alloc::collections::btree::map::BTreeMap<", Table::ordered, false),
            ("alloc::collections::btree::set::BTreeSet<", Table::ordered, true),
            ("indexmap::map::IndexMap<", Table::listed, false),
            ("indexmap::set::IndexSet<", Table::listed, true),
            ("std::map<", Table::cpp_tree, false),
            ("std::set<", Table::cpp_tree, true),
        ];
        let kind = KINDS.iter().find(|(start, ..)| value.of.name.starts_with(start))?;
        let (_, read, is_set) = *kind;
        let entries = read(value, memory)?;
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

    /// Entries in the order in which they came, each with its hash.
    fn listed(value: &Value, memory: &dyn Memory) -> Option<Entries> {
        let core = value.find(4, &|part| part.of.member("entries").is_some())?;
        Some(Entries::Listed(List::of(&core.field("entries")?, memory)?))
    }

    fn cpp_tree(value: &Value, memory: &dyn Memory) -> Option<Entries> {
        super::cpp::tree(value, memory).map(Entries::Listed)
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
            Entries::Listed(list) => list.len,
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
            Entries::Listed(list) => {
                let entry = list.get(index)?;
                let fields = |key: &str, value: &str| Some((entry.field(key)?, entry.field(value)?));
                let pair = fields("key", "value").or_else(|| fields("first", "second"));
                pair.or_else(|| self.is_set.then(|| (entry.clone(), entry.clone())))
            }
            Entries::Ordered { tree, .. } => tree.get(index),
        }
    }
}
