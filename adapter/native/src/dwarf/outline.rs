//! What a unit holds, without what is in it: its functions with their addresses, its containers, its global variables.
//!
//! An outline is read in one pass over the unit's entries that skips most of them, or taken from the index on the disk. What is
//! inside a function is read when it is looked at.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use gimli::constants as dw;
use object::pod::Pod;

use super::{Attribute, Entry, Slice, Unit, UnitOffset, text};

/// No container.
pub const NONE: u32 = u32::MAX;

/// Code of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FunctionRange {
    /// Where it begins, as in the file.
    pub begin: u64,
    /// One past its end.
    pub end: u64,
    /// Which function of the unit.
    pub function: u32,
    /// Always 0.
    pub unused: u32,
}

/// A namespace, a type or a function that has others of them inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Container {
    /// Its entry, as an offset in the unit.
    pub start: u32,
    /// One past the last entry inside it.
    pub end: u32,
    /// The container around it, by its position in the list; [`NONE`] without one.
    pub parent: u32,
}

// SAFETY: both consist of integers only, without padding, and any bits are a value.
unsafe impl Pod for FunctionRange {}
// SAFETY: as above.
unsafe impl Pod for Container {}

/// The outline of a unit.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Entries of functions that have code, in the order of the unit.
    pub functions: Cow<'static, [u32]>,
    /// Their code, sorted by start.
    pub ranges: Cow<'static, [FunctionRange]>,
    /// Sorted by start; they nest.
    pub containers: Cow<'static, [Container]>,
    /// Entries of variables outside functions.
    pub globals: Cow<'static, [u32]>,
}

/// A function's name, or the entry that has it.
#[derive(Clone, Copy)]
enum Name {
    Hash(u32),
    Unit(u32),
    Elsewhere(gimli::DebugInfoOffset),
}

/// The names of a unit's functions, and of those that were inlined into them.
#[derive(Default)]
pub struct FunctionNames {
    /// By entry: every function of the unit, also those without code.
    entries: HashMap<u32, Name>,
    /// Functions with code: which, and the entry of itself or of what was inlined.
    used: Vec<(u32, u32)>,
}

impl FunctionNames {
    /// Each hashed name with the function in whose code it is. `elsewhere` looks into other units.
    #[must_use]
    pub fn resolve(
        &self,
        elsewhere: &mut dyn FnMut(gimli::DebugInfoOffset) -> Option<u32>,
    ) -> BTreeSet<(u32, u32)> {
        let mut found = BTreeSet::new();
        for (function, entry) in &self.used {
            let mut next = *entry;
            // An instance refers to its pattern, and that to its declaration.
            for _ in 0..4 {
                match self.entries.get(&next) {
                    Some(Name::Hash(hash)) => {
                        found.insert((*hash, *function));
                    }
                    Some(Name::Unit(origin)) => {
                        next = *origin;
                        continue;
                    }
                    Some(Name::Elsewhere(offset)) => {
                        found.extend(elsewhere(*offset).map(|hash| (hash, *function)));
                    }
                    None => {}
                }
                break;
            }
        }
        found
    }
}

/// The name of the last part of a function's path, without generic arguments, as a number.
#[must_use]
pub fn name_hash(name: &str) -> u32 {
    let end = name.find('<').filter(|at| *at > 0).unwrap_or(name.len());
    // FNV-1a.
    name.as_bytes()[..end]
        .iter()
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Namespaces, types and functions: what makes paths.
#[must_use]
pub fn is_named(tag: gimli::DwTag) -> bool {
    matches!(
        tag,
        dw::DW_TAG_namespace
            | dw::DW_TAG_structure_type
            | dw::DW_TAG_class_type
            | dw::DW_TAG_union_type
            | dw::DW_TAG_enumeration_type
            | dw::DW_TAG_typedef
            | dw::DW_TAG_variant_part
            | dw::DW_TAG_base_type
            | dw::DW_TAG_pointer_type
            | dw::DW_TAG_array_type
            | dw::DW_TAG_subroutine_type
            | dw::DW_TAG_subprogram
    )
}

impl Outline {
    /// Reads a unit's outline; of a damaged unit, what is before the damage. With `names`, the names of its functions too.
    #[must_use]
    pub fn read(dwarf: &gimli::Dwarf<Slice>, unit: &Unit, names: Option<&mut FunctionNames>) -> Self {
        let mut reader =
            Reader { dwarf, unit, names, levels: Vec::new(), found: Found::default(), used: Vec::new() };
        let _ = reader.run();
        reader.close(0, u32::MAX);
        reader.finish()
    }

    /// The container directly around an entry.
    #[must_use]
    pub fn container_of(&self, entry: UnitOffset) -> Option<UnitOffset> {
        let at = u32::try_from(entry.0).ok()?;
        let mut next = self.containers.partition_point(|container| container.start < at).checked_sub(1)?;
        loop {
            let container = self.containers.get(next)?;
            if at < container.end {
                return Some(gimli::UnitOffset(container.start as usize));
            }
            // Outer ones stand before inner ones, also in a damaged list.
            next = Some(container.parent as usize).filter(|parent| *parent < next)?;
        }
    }

    /// The function that has code at an address.
    #[must_use]
    pub fn function_at(&self, address: u64) -> Option<usize> {
        let after = self.ranges.partition_point(|range| range.begin <= address);
        self.ranges[..after]
            .iter()
            .rev()
            .take(4)
            .find(|range| (range.begin..range.end).contains(&address))
            .map(|range| range.function as usize)
            .filter(|function| *function < self.functions.len())
    }
}

/// Lists that grow while a unit is read.
#[derive(Default)]
struct Found {
    functions: Vec<u32>,
    ranges: Vec<FunctionRange>,
    containers: Vec<Container>,
    globals: Vec<u32>,
}

/// What encloses the next entry.
#[derive(Clone, Copy)]
struct Level {
    depth: isize,
    /// Its place among the containers, when it is one.
    container: Option<u32>,
    /// The function with code around the entry.
    function: Option<u32>,
    in_function: bool,
}

struct Reader<'a> {
    dwarf: &'a gimli::Dwarf<Slice>,
    unit: &'a Unit,
    names: Option<&'a mut FunctionNames>,
    levels: Vec<Level>,
    found: Found,
    /// Containers that have others inside.
    used: Vec<bool>,
}

impl Reader<'_> {
    fn run(&mut self) -> gimli::Result<()> {
        let mut entries = self.unit.entries_raw(None)?;
        let mut entry = Entry::null();
        while !entries.is_empty() {
            let (offset, depth) = (entries.next_offset().0 as u32, entries.next_depth());
            let mut ahead = entries.clone();
            let Some(abbreviation) = ahead.read_abbreviation()? else {
                entries = ahead;
                continue;
            };
            self.close(depth, offset);
            let tag = abbreviation.tag();
            let is_call = tag == dw::DW_TAG_inlined_subroutine && self.names.is_some();
            let outer = self.levels.last().copied();
            let mut level = Level {
                depth,
                container: None,
                function: outer.and_then(|outer| outer.function),
                in_function: outer.is_some_and(|outer| outer.in_function),
            };
            if is_named(tag) {
                level.container = Some(self.container(offset));
            }
            if tag == dw::DW_TAG_subprogram || is_call {
                entries.read_entry(&mut entry)?;
                if tag == dw::DW_TAG_subprogram {
                    level.function = self.function(&entry, offset);
                    level.in_function = true;
                }
                self.name(&entry, offset, level.function);
            } else {
                if tag == dw::DW_TAG_variable && !level.in_function {
                    self.found.globals.push(offset);
                }
                ahead.skip_attributes(abbreviation.attributes())?;
                entries = ahead;
            }
            if abbreviation.has_children() {
                self.levels.push(level);
            } else if let Some(container) = level.container {
                self.found.containers[container as usize].end = offset;
            }
        }
        Ok(())
    }

    /// Ends everything that does not enclose an entry of this depth.
    fn close(&mut self, depth: isize, offset: u32) {
        while let Some(level) = self.levels.last().filter(|level| level.depth >= depth) {
            if let Some(container) = level.container {
                self.found.containers[container as usize].end = offset;
            }
            self.levels.pop();
        }
    }

    fn container(&mut self, offset: u32) -> u32 {
        let parent = self.levels.iter().rev().find_map(|level| level.container);
        if let Some(parent) = parent {
            self.used[parent as usize] = true;
        }
        self.found.containers.push(Container { start: offset, end: offset, parent: parent.unwrap_or(NONE) });
        self.used.push(false);
        self.used.len() as u32 - 1
    }

    /// A function that has code; a declaration and the pattern of an inlined one have none.
    fn function(&mut self, entry: &Entry, offset: u32) -> Option<u32> {
        let function = self.found.functions.len() as u32;
        let before = self.found.ranges.len();
        let mut ranges = self.dwarf.die_ranges(self.unit, entry).ok()?;
        while let Ok(Some(range)) = ranges.next() {
            if range.begin != 0 && range.begin < range.end {
                let (begin, end) = (range.begin, range.end);
                self.found.ranges.push(FunctionRange { begin, end, function, unused: 0 });
            }
        }
        if self.found.ranges.len() == before {
            return None;
        }
        self.found.functions.push(offset);
        Some(function)
    }

    fn name(&mut self, entry: &Entry, offset: u32, function: Option<u32>) {
        let Some(names) = self.names.as_deref_mut() else { return };
        names.used.extend(function.map(|function| (function, offset)));
        let own =
            entry.attr_value(dw::DW_AT_name).and_then(|name| self.dwarf.attr_string(self.unit, name).ok());
        let origin = || {
            entry.attr_value(dw::DW_AT_abstract_origin).or_else(|| entry.attr_value(dw::DW_AT_specification))
        };
        let name = match own {
            Some(name) => Some(Name::Hash(name_hash(text(name)))),
            None => match origin() {
                Some(Attribute::UnitRef(origin)) => Some(Name::Unit(origin.0 as u32)),
                Some(Attribute::DebugInfoRef(origin)) => Some(Name::Elsewhere(origin)),
                _ => None,
            },
        };
        if let Some(name) = name {
            names.entries.insert(offset, name);
        }
    }

    /// Leaves only containers with something inside, with their new places.
    fn finish(self) -> Outline {
        let mut places = vec![NONE; self.used.len()];
        let mut containers = Vec::new();
        for (old, container) in self.found.containers.iter().enumerate().filter(|(old, _)| self.used[*old]) {
            places[old] = containers.len() as u32;
            let parent = places.get(container.parent as usize).copied().unwrap_or(NONE);
            containers.push(Container { parent, ..*container });
        }
        let mut ranges = self.found.ranges;
        ranges.sort_by_key(|range| range.begin);
        Outline {
            functions: self.found.functions.into(),
            ranges: ranges.into(),
            containers: containers.into(),
            globals: self.found.globals.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_container_is_found() {
        let container = |start, end, parent| Container { start, end, parent };
        let outline = Outline {
            containers: vec![container(10, 100, NONE), container(20, 40, 0), container(50, 60, 0)].into(),
            ..Outline::default()
        };
        let of = |entry| outline.container_of(gimli::UnitOffset(entry)).map(|offset| offset.0);
        assert_eq!(of(5), None);
        assert_eq!(of(10), None);
        assert_eq!(of(11), Some(10));
        assert_eq!(of(20), Some(10));
        assert_eq!(of(30), Some(20));
        assert_eq!(of(45), Some(10));
        assert_eq!(of(55), Some(50));
        assert_eq!(of(100), None);
    }

    #[test]
    fn generic_arguments_do_not_change_the_hash() {
        assert_eq!(name_hash("map<u32, u8>"), name_hash("map"));
        assert_ne!(name_hash("map"), name_hash("map2"));
        assert_ne!(name_hash("<"), name_hash(""));
    }
}
