//! The functions of a unit, with the calls that were inlined into them, their blocks and their variables.

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use gimli::constants as dw;

use super::outline::{Outline, is_named};
use super::{Attribute, Entry, Slice, Unit, UnitOffset, text};

/// Which scope of its unit: a function's number in the upper half, the place in that function in the lower.
pub type ScopeIndex = usize;

const FUNCTION_SHIFT: u32 = usize::BITS / 2;

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
    /// Where its code begins to run: what the compiler says, or else the lowest of its addresses.
    pub begin: u64,
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

/// All scopes of a unit; those of a function are read when they are first asked for.
pub struct UnitScopes {
    dwarf: Rc<gimli::Dwarf<Slice>>,
    unit: Rc<Unit>,
    outline: Outline,
    functions: Vec<OnceCell<Vec<Scope>>>,
}

impl UnitScopes {
    /// The scopes of a unit of which the outline is known.
    #[must_use]
    pub fn new(dwarf: Rc<gimli::Dwarf<Slice>>, unit: Rc<Unit>, outline: Outline) -> Self {
        let functions = vec![OnceCell::new(); outline.functions.len()];
        Self { dwarf, unit, outline, functions }
    }

    /// The scopes of one function, itself first; empty when its entry is damaged.
    #[must_use]
    pub fn of_function(&self, function: usize) -> &[Scope] {
        let Some(cell) = self.functions.get(function) else { return &[] };
        cell.get_or_init(|| {
            let entry = gimli::UnitOffset(self.outline.functions[function] as usize);
            let (dwarf, unit) = (&*self.dwarf, &*self.unit);
            let mut reader = Reader {
                dwarf,
                unit,
                base: function << FUNCTION_SHIFT,
                scopes: Vec::new(),
                stack: Vec::new(),
            };
            // A damaged function gives the scopes before the damage.
            let _ = reader.run(entry);
            reader.scopes
        })
    }

    /// A scope.
    #[must_use]
    pub fn get(&self, index: ScopeIndex) -> &Scope {
        &self.of_function(index >> FUNCTION_SHIFT)[index & ((1 << FUNCTION_SHIFT) - 1)]
    }

    /// The scopes of one function, with their indices.
    pub fn indexed(&self, function: usize) -> impl Iterator<Item = (ScopeIndex, &Scope)> {
        let base = function << FUNCTION_SHIFT;
        self.of_function(function).iter().enumerate().map(move |(place, scope)| (base | place, scope))
    }

    /// All scopes of the function that a scope is in, the function first.
    pub fn beside(&self, scope: ScopeIndex) -> impl Iterator<Item = (ScopeIndex, &Scope)> {
        self.indexed(scope >> FUNCTION_SHIFT)
    }

    /// The function, or the inlined one, that a scope is directly in.
    #[must_use]
    pub fn caller_of(&self, scope: ScopeIndex) -> Option<ScopeIndex> {
        let mut outer = self.get(scope).parent?;
        while !self.get(outer).is_function() {
            outer = self.get(outer).parent?;
        }
        Some(outer)
    }

    /// How many functions have code here.
    #[must_use]
    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    /// All scopes. Reads the whole unit.
    pub fn all(&self) -> impl Iterator<Item = (ScopeIndex, &Scope)> {
        (0..self.functions.len()).flat_map(move |function| self.indexed(function))
    }

    /// Name and container of an entry.
    #[must_use]
    pub fn named(&self, entry: UnitOffset) -> Option<Named> {
        let die = self.unit.entry(entry).ok().filter(|die| is_named(die.tag()))?;
        let name = die.attr_value(dw::DW_AT_name);
        let name = name.and_then(|value| self.dwarf.attr_string(&self.unit, value).ok()).map(text);
        let is_type = !matches!(die.tag(), dw::DW_TAG_namespace | dw::DW_TAG_subprogram);
        Some(Named { parent: self.outline.container_of(entry), name, is_type })
    }

    /// The namespace, type or function directly around an entry.
    #[must_use]
    pub fn container_of(&self, entry: UnitOffset) -> Option<UnitOffset> {
        self.outline.container_of(entry)
    }

    /// Entries of functions and types whose own name begins so. Reads the whole unit.
    #[must_use]
    pub fn entries_named(&self, start: &str) -> Vec<UnitOffset> {
        let mut found = Vec::new();
        let Ok(mut entries) = self.unit.entries_raw(None) else { return found };
        let mut entry = Entry::null();
        // A damaged unit gives what comes before the damage.
        while !entries.is_empty() {
            match entries.read_entry(&mut entry) {
                Ok(true) if is_named(entry.tag()) => {}
                Ok(_) => continue,
                Err(_) => break,
            }
            let name = entry.attr_value(dw::DW_AT_name);
            let name = name.and_then(|value| self.dwarf.attr_string(&self.unit, value).ok()).map_or("", text);
            if name.starts_with(start) {
                found.push(entry.offset());
            }
        }
        found
    }

    /// Entries of global variables.
    pub fn globals(&self) -> impl Iterator<Item = UnitOffset> {
        self.outline.globals.iter().map(|entry| gimli::UnitOffset(*entry as usize))
    }

    /// The function that has code here.
    #[must_use]
    pub fn function_at(&self, address: u64) -> Option<ScopeIndex> {
        let function = self.outline.function_at(address)?;
        (!self.of_function(function).is_empty()).then_some(function << FUNCTION_SHIFT)
    }

    /// The scopes around an address, from the function inwards.
    #[must_use]
    pub fn chain_at(&self, address: u64) -> Vec<ScopeIndex> {
        let mut chain = Vec::new();
        let mut next = self.function_at(address);
        while let Some(index) = next {
            chain.push(index);
            let mut children = self.get(index).children.iter().copied();
            next = children.find(|child| self.get(*child).contains(address));
        }
        chain
    }

    /// The function and the inlined functions around an address, from outside inwards, without blocks.
    #[must_use]
    pub fn functions_at(&self, address: u64) -> Vec<ScopeIndex> {
        self.chain_at(address).into_iter().filter(|index| self.get(*index).is_function()).collect()
    }
}

/// Reads one function.
struct Reader<'a> {
    dwarf: &'a gimli::Dwarf<Slice>,
    unit: &'a Unit,
    /// The index of the function itself.
    base: ScopeIndex,
    scopes: Vec<Scope>,
    /// What encloses the next entry, by depth.
    stack: Vec<Level>,
}

#[derive(Clone, Copy)]
struct Level {
    depth: isize,
    /// None inside another function, which stands here only by its place in the source.
    scope: Option<ScopeIndex>,
}

impl Reader<'_> {
    fn run(&mut self, function: UnitOffset) -> gimli::Result<()> {
        let mut entries = self.unit.entries_raw(Some(function))?;
        let mut entry = Entry::null();
        if !entries.read_entry(&mut entry)? {
            return Ok(());
        }
        let own = self.scope(&entry, ScopeKind::Function, None);
        self.stack.push(Level { depth: entry.depth(), scope: own });
        // Without children the depth stays at that of the function.
        while entries.next_depth() > 0 && !entries.is_empty() {
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
        let outer = self.stack.last().and_then(|level| level.scope);
        let scope = match entry.tag() {
            dw::DW_TAG_subprogram => None,
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
                // The variables of a call that has no code are none of its caller's.
                self.scope(entry, kind, outer)
            }
            dw::DW_TAG_lexical_block => self.scope(entry, ScopeKind::Block, outer).or(outer),
            dw::DW_TAG_formal_parameter | dw::DW_TAG_variable => {
                if let Some(scope) = outer {
                    self.scope_mut(scope).variables.push(entry.offset());
                }
                outer
            }
            _ => outer,
        };
        if entry.has_children() {
            self.stack.push(Level { depth: entry.depth(), scope });
        }
    }

    fn scope_mut(&mut self, index: ScopeIndex) -> &mut Scope {
        &mut self.scopes[index - self.base]
    }

    /// Adds a scope; one without code (an inlined call that was optimised away) is none.
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
        let lowest = ranges.iter().map(|range| range.start).min()?;
        let begin = match entry.attr_value(dw::DW_AT_entry_pc) {
            Some(Attribute::Addr(address)) => address,
            Some(Attribute::DebugAddrIndex(index)) => self.dwarf.address(self.unit, index).unwrap_or(lowest),
            Some(value) => value.udata_value().map_or(lowest, |offset| lowest.wrapping_add(offset)),
            None => lowest,
        };
        let index = self.base | self.scopes.len();
        self.scopes.push(Scope {
            kind,
            ranges,
            begin,
            entry: entry.offset(),
            parent,
            children: Vec::new(),
            variables: Vec::new(),
        });
        if let Some(parent) = parent {
            self.scope_mut(parent).children.push(index);
        }
        Some(index)
    }
}
