//! `BTreeMap` and `BTreeSet`: nodes of up to eleven keys, with children between them.

use super::Value;
use crate::address::Address;
use crate::dwarf::types::{TypeId, TypeKind};
use crate::limits::{TREE_ENTRIES_MAX, TREE_HEIGHT_MAX};
use crate::target::Memory;

/// The entries of a tree, in order.
#[derive(Clone)]
pub struct Tree {
    entries: Vec<(Value, Value)>,
}

/// The types of a tree's two kinds of nodes.
struct Nodes<'a> {
    memory: &'a dyn Memory,
    map: &'a Value,
    leaf: TypeId,
    internal: TypeId,
    key: TypeId,
    value: TypeId,
}

impl Tree {
    /// Reads a map's entries, up to a limit; `None` when its memory is not what it should be.
    #[must_use]
    pub fn read(map: &Value, memory: &dyn Memory) -> Option<Self> {
        let (key, value) = (map.of.parameter("K")?, map.of.parameter("V")?);
        let mut tree = Self { entries: Vec::new() };
        let (variant, root) = map.field("root")?.variant(memory)?;
        if variant == "None" {
            return Some(tree);
        }
        let root = root.field("__0")?;
        let height = root.field("height")?.word(memory)?;
        let pointer = root.field("node")?.first_pointer()?;
        let TypeKind::Pointer(Some(leaf)) = pointer.of.kind else { return None };
        let address = Address(pointer.word(memory)?);
        // A node names the type of its parent, and that is the other kind.
        let parent = map.at(address, leaf)?.field("parent")?;
        let internal = internal_of(&parent)?;
        let nodes = Nodes { memory, map, leaf, internal, key, value };
        if height > TREE_HEIGHT_MAX {
            return None;
        }
        nodes.read(address, height, &mut tree.entries)?;
        Some(tree)
    }

    /// An entry, if it was read.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<(Value, Value)> {
        self.entries.get(usize::try_from(index).ok()?).cloned()
    }
}

/// The type that the `Some` of an optional pointer points at.
fn internal_of(parent: &Value) -> Option<TypeId> {
    let TypeKind::Struct { variants: Some(part), .. } = &parent.of.kind else { return None };
    let some = part.variants.iter().find(|variant| variant.member.name == "Some")?;
    let pointer = parent.member(&some.member)?.first_pointer()?;
    match pointer.of.kind {
        TypeKind::Pointer(to) => to,
        _ => None,
    }
}

impl Nodes<'_> {
    fn read(&self, address: Address, height: u64, entries: &mut Vec<(Value, Value)>) -> Option<()> {
        let leaf = self.map.at(address, self.leaf)?;
        let len = leaf.field("len")?.word(self.memory)?;
        let (keys, values) = (leaf.field("keys")?, leaf.field("vals")?);
        let TypeKind::Array { count, .. } = keys.of.kind else { return None };
        if len > count {
            return None;
        }
        let edges =
            if height > 0 { Some(self.map.at(address, self.internal)?.field("edges")?) } else { None };
        for index in 0..=len {
            if entries.len() >= TREE_ENTRIES_MAX {
                return Some(());
            }
            if let Some(edges) = &edges {
                let child = edges.part(index * 8, self.pointer_word(edges)?)?.word(self.memory)?;
                self.read(Address(child), height - 1, entries)?;
            }
            if index < len {
                let key = keys.part(index * self.bytes_of(self.key)?, self.key)?;
                entries.push((key, values.part(index * self.bytes_of(self.value)?, self.value)?));
            }
        }
        Some(())
    }

    fn bytes_of(&self, id: TypeId) -> Option<u64> {
        self.map.module.type_of(id).map(|of| of.bytes)
    }

    /// The type of a child: as wide as a pointer, whatever wraps it.
    fn pointer_word(&self, edges: &Value) -> Option<TypeId> {
        let TypeKind::Array { element, .. } = edges.of.kind else { return None };
        Some(element).filter(|element| self.bytes_of(*element) == Some(8))
    }
}
