//! The functions of a unit, with the calls that were inlined into them, their blocks and their variables.

use std::collections::HashMap;
use std::ops::Range;

use gimli::constants as dw;

use super::{Attribute, Entry, Slice, Unit, UnitOffset, text};

/// Index of a scope in its unit.
pub type ScopeIndex = usize;

/// What a scope is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// A function with code of its own.
    Function,
    /// A function's code inside another one.
    Inlined {
        /// The file of the call, as an index into the unit's files.
        file: u32,
        /// Where it was called.
        line: u32,
        /// 0 when unknown.
        column: u32,
    },
    /// A block: in Rust each `let` begins one.
    Block,
}

/// A stretch of code with its own variables.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What it is.
    pub kind: ScopeKind,
    /// Its code, as in the file.
    pub ranges: Vec<Range<u64>>,
    /// Its entry in the debug information.
    pub entry: UnitOffset,
    /// The scope around it; none for a function.
    pub parent: Option<ScopeIndex>,
    /// Scopes directly inside it.
    pub children: Vec<ScopeIndex>,
    /// Entries of its arguments and variables, in the order of the source.
    pub variables: Vec<UnitOffset>,
}

impl Scope {
    /// Is this code of the scope?
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }

    /// A function or an inlined one, not a block.
    #[must_use]
    pub fn is_function(&self) -> bool {
        self.kind != ScopeKind::Block
    }
}

/// A named container: a namespace, a type or a function.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// The container around it.
    pub parent: Option<UnitOffset>,
    /// Without its path.
    pub name: Option<&'static str>,
    /// A type, not a namespace or a function.
    pub is_type: bool,
}

/// All scopes of a unit.
#[derive(Debug, Default)]
pub struct UnitScopes {
    scopes: Vec<Scope>,
    /// Ranges of functions, sorted by start.
    functions: Vec<(Range<u64>, ScopeIndex)>,
    names: HashMap<usize, Named>,
    /// Global variables: entries with a name at namespace level.
    globals: Vec<UnitOffset>,
}

impl UnitScopes {
    /// Reads a whole unit once.
    #[must_use]
    pub fn read(dwarf: &gimli::Dwarf<Slice>, unit: &Unit) -> Self {
        let mut reader = Reader { dwarf, unit, result: Self::default(), stack: Vec::new() };
        // A damaged unit gives the scopes before the damage.
        let _ = reader.run();
        let mut result = reader.result;
        for (index, scope) in result.scopes.iter().enumerate() {
            if scope.kind == ScopeKind::Function {
                result.functions.extend(scope.ranges.iter().map(|range| (range.clone(), index)));
            }
        }
        result.functions.sort_by_key(|(range, _)| range.start);
        result
    }

    /// A scope.
    #[must_use]
    pub fn get(&self, index: ScopeIndex) -> &Scope {
        &self.scopes[index]
    }

    /// All scopes.
    #[must_use]
    pub fn all(&self) -> &[Scope] {
        &self.scopes
    }

    /// Name and container of an entry.
    #[must_use]
    pub fn named(&self, entry: UnitOffset) -> Option<Named> {
        self.names.get(&entry.0).copied()
    }

    /// Entries of global variables.
    #[must_use]
    pub fn globals(&self) -> &[UnitOffset] {
        &self.globals
    }

    /// The function that has code here.
    #[must_use]
    pub fn function_at(&self, address: u64) -> Option<ScopeIndex> {
        let after = self.functions.partition_point(|(range, _)| range.start <= address);
        self.functions[..after]
            .iter()
            .rev()
            .take(4)
            .find(|(range, _)| range.contains(&address))
            .map(|(_, index)| *index)
    }

    /// The scopes around an address, from the function inwards.
    #[must_use]
    pub fn chain_at(&self, address: u64) -> Vec<ScopeIndex> {
        let mut chain = Vec::new();
        let mut next = self.function_at(address);
        while let Some(index) = next {
            chain.push(index);
            next = self.scopes[index]
                .children
                .iter()
                .copied()
                .find(|child| self.scopes[*child].contains(address));
        }
        chain
    }

    /// The function and the inlined functions around an address, from outside inwards, without blocks.
    #[must_use]
    pub fn functions_at(&self, address: u64) -> Vec<ScopeIndex> {
        self.chain_at(address).into_iter().filter(|index| self.scopes[*index].is_function()).collect()
    }
}

struct Reader<'a> {
    dwarf: &'a gimli::Dwarf<Slice>,
    unit: &'a Unit,
    result: UnitScopes,
    /// What encloses the next entry, by depth: its container and its scope.
    stack: Vec<Level>,
}

#[derive(Clone, Copy)]
struct Level {
    depth: isize,
    container: Option<UnitOffset>,
    scope: Option<ScopeIndex>,
    /// Also inside a function that has no code here (a declaration, or the pattern of an inlined one).
    in_function: bool,
}

impl Reader<'_> {
    fn run(&mut self) -> gimli::Result<()> {
        let mut entries = self.unit.entries_raw(None)?;
        let mut entry = Entry::null();
        while !entries.is_empty() {
            if entries.read_entry(&mut entry)? {
                self.entry(&entry);
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) {
        while self.stack.last().is_some_and(|level| level.depth >= entry.depth()) {
            self.stack.pop();
        }
        let outer = self.stack.last().copied().unwrap_or(Level {
            depth: -1,
            container: None,
            scope: None,
            in_function: false,
        });
        let mut level = Level { depth: entry.depth(), ..outer };
        match entry.tag() {
            dw::DW_TAG_namespace
            | dw::DW_TAG_structure_type
            | dw::DW_TAG_union_type
            | dw::DW_TAG_enumeration_type
            | dw::DW_TAG_variant_part
            | dw::DW_TAG_base_type
            | dw::DW_TAG_pointer_type
            | dw::DW_TAG_array_type
            | dw::DW_TAG_subroutine_type => self.name(entry, &mut level),
            dw::DW_TAG_subprogram => {
                self.name(entry, &mut level);
                level.scope = self.scope(entry, ScopeKind::Function, None);
                level.in_function = true;
            }
            dw::DW_TAG_inlined_subroutine => {
                let number =
                    |name| entry.attr_value(name).and_then(|value| value.udata_value()).unwrap_or(0) as u32;
                let file = match entry.attr_value(dw::DW_AT_call_file) {
                    Some(Attribute::FileIndex(file)) => file as u32,
                    _ => number(dw::DW_AT_call_file),
                };
                let kind = ScopeKind::Inlined {
                    file,
                    line: number(dw::DW_AT_call_line),
                    column: number(dw::DW_AT_call_column),
                };
                level.scope = self.scope(entry, kind, outer.scope).or(outer.scope);
            }
            dw::DW_TAG_lexical_block => {
                level.scope = self.scope(entry, ScopeKind::Block, outer.scope).or(outer.scope);
            }
            dw::DW_TAG_formal_parameter | dw::DW_TAG_variable => match outer.scope {
                Some(scope) => self.result.scopes[scope].variables.push(entry.offset()),
                None if !outer.in_function => self.result.globals.push(entry.offset()),
                None => {}
            },
            _ => {}
        }
        if entry.has_children() {
            self.stack.push(level);
        }
    }

    fn name(&mut self, entry: &Entry, level: &mut Level) {
        let name = entry
            .attr_value(dw::DW_AT_name)
            .and_then(|value| self.dwarf.attr_string(self.unit, value).ok())
            .map(text);
        let is_type = !matches!(entry.tag(), dw::DW_TAG_namespace | dw::DW_TAG_subprogram);
        self.result.names.insert(entry.offset().0, Named { parent: level.container, name, is_type });
        level.container = Some(entry.offset());
    }

    /// Adds a scope; one without code (a declaration, or an inlined call that was optimised away) is none.
    fn scope(&mut self, entry: &Entry, kind: ScopeKind, parent: Option<ScopeIndex>) -> Option<ScopeIndex> {
        if kind != ScopeKind::Function && parent.is_none() {
            return None;
        }
        let mut ranges = Vec::new();
        if let Ok(mut found) = self.dwarf.die_ranges(self.unit, entry) {
            while let Ok(Some(range)) = found.next() {
                if range.begin != 0 && range.begin < range.end {
                    ranges.push(range.begin..range.end);
                }
            }
        }
        if ranges.is_empty() {
            return None;
        }
        let index = self.result.scopes.len();
        self.result.scopes.push(Scope {
            kind,
            ranges,
            entry: entry.offset(),
            parent,
            children: Vec::new(),
            variables: Vec::new(),
        });
        if let Some(parent) = parent {
            self.result.scopes[parent].children.push(index);
        }
        Some(index)
    }
}
