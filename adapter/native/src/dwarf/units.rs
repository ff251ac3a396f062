//! The units of a program file: which has an address, a source file or a function, and what is in each.
//!
//! They come from the index when there is one: then a unit is read when it is first looked at. Else all are read, but only
//! their beginnings, and an index can be made on the side for the next time.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::thread;

use super::image::{Image, UnitIndex};
use super::index::build::{build, code_of};
use super::index::{CodeRange, Index, Key, Place, SourceFile, cache, last_part};
use super::lines::{LineTable, Row, file_paths, is_code_of_a_line, rows_of_file};
use super::outline::{Outline, name_hash};
use super::scopes::UnitScopes;
use super::split::SplitUnit;
use super::{Slice, Unit, text};
use crate::address::FileAddress;
use crate::limits::{INDEX_THREADS_MAX, SPLIT_UNITS_LOOKED_AT};

/// All units of a file.
pub(super) struct Units {
    units: Vec<UnitEntry>,
    /// Sorted by start; ranges of one file do not overlap but where the linker merged equal functions.
    code: Cow<'static, [CodeRange]>,
    sources: OnceCell<HashMap<String, Vec<SourceFile>>>,
}

struct UnitEntry {
    /// Its place in `.debug_info`.
    offset: usize,
    /// The unit as it is in the program; of a split unit that is the skeleton.
    unit: OnceCell<Rc<Unit>>,
    split: OnceCell<Option<Result<SplitUnit, String>>>,
    files: OnceCell<Vec<String>>,
    lines: OnceCell<LineTable>,
    scopes: OnceCell<UnitScopes>,
}

impl UnitEntry {
    fn at(offset: usize) -> Self {
        Self {
            offset,
            unit: OnceCell::new(),
            split: OnceCell::new(),
            files: OnceCell::new(),
            lines: OnceCell::new(),
            scopes: OnceCell::new(),
        }
    }
}

/// The index of a file, from wherever it comes.
#[derive(Default)]
pub(super) struct Indexed {
    /// From the disk.
    kept: OnceCell<Option<Index>>,
    /// Why that on the disk is not used.
    note: RefCell<Option<String>>,
    /// Made because somebody asked for a function.
    made: OnceCell<Index>,
    /// Is being made for the next time, or needs not be.
    is_begun: Cell<bool>,
}

impl Image {
    /// The index that an earlier agent has left.
    fn kept_index(&self) -> Option<&Index> {
        let load = || {
            let (directory, key) = (cache::directory()?, self.index_key()?);
            cache::load(&directory, &key).unwrap_or_else(|reason| {
                *self.indexed.note.borrow_mut() = Some(reason);
                None
            })
        };
        self.indexed.kept.get_or_init(load).as_ref()
    }

    fn index(&self) -> Option<&Index> {
        self.indexed.made.get().or_else(|| self.kept_index())
    }

    /// What people should know of the index on the disk, once.
    pub fn take_index_note(&self) -> Option<String> {
        self.indexed.note.borrow_mut().take()
    }

    /// Makes the index for the next time, on a thread of its own that gives way to others, unless there is one or another agent
    /// makes it.
    pub fn index_in_background(&self) {
        if self.indexed.is_begun.replace(true) || self.index().is_some() {
            return;
        }
        let (Some(directory), Some(key)) = (cache::directory(), self.index_key()) else { return };
        let source = self.index_source();
        let work = move || {
            let Some(_turn) = cache::turn(&directory, &key) else { return };
            // SAFETY: it changes the priority of the calling thread alone.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
            let built = build(&source, 1);
            if built.is_complete {
                keep(&directory, &key, &built.lists.into_bytes(&key));
            }
        };
        if let Err(error) = thread::Builder::new().name("index".to_owned()).spawn(work) {
            tracing::debug!("no thread for an index: {error}");
        }
    }

    /// The index, made now if there is none.
    fn index_now(&self) -> &Index {
        if let Some(index) = self.index() {
            return index;
        }
        self.indexed.made.get_or_init(|| {
            let threads = thread::available_parallelism().map_or(1, usize::from).min(INDEX_THREADS_MAX);
            let built = build(&self.index_source(), threads);
            let wanted = self.index_key();
            let key = wanted.clone().unwrap_or(Key { build_id: Vec::new(), debug_bytes: 0 });
            let bytes = built.lists.into_bytes(&key);
            if let (Some(directory), Some(key), true) = (cache::directory(), &wanted, built.is_complete)
                && !self.indexed.is_begun.replace(true)
            {
                keep(&directory, key, &bytes);
            }
            Index::parse(aligned(&bytes), &key).expect("what was just made is whole")
        })
    }

    pub(super) fn units(&self) -> &Units {
        self.units.get_or_init(|| match self.kept_index() {
            Some(index) => Units {
                units: index.unit_offsets().map(|offset| UnitEntry::at(offset as usize)).collect(),
                code: Cow::Borrowed(index.code()),
                sources: OnceCell::new(),
            },
            None => self.read_units(),
        })
    }

    fn read_units(&self) -> Units {
        let mut units = Vec::new();
        let mut code = Vec::new();
        let dwarf = &self.debug().dwarf;
        let mut headers = dwarf.units();
        // A damaged unit ends the list; what came before it stays usable.
        while let Ok(Some(header)) = headers.next() {
            let offset = header.debug_info_offset().map_or(0, |offset| offset.0);
            let Ok(read) = dwarf.unit(header) else { continue };
            let unit = units.len() as u32;
            let ranges = code_of(dwarf, &read).into_iter();
            code.extend(ranges.map(|(begin, end)| CodeRange { begin, end, unit, unused: 0 }));
            let entry = UnitEntry::at(offset);
            entry.unit.get_or_init(|| Rc::new(read));
            units.push(entry);
        }
        code.sort_by_key(|range| range.begin);
        Units { units, code: code.into(), sources: OnceCell::new() }
    }

    /// Is there any debug information?
    pub fn has_units(&self) -> bool {
        !self.units().units.is_empty()
    }

    /// All units.
    pub fn unit_indices(&self) -> impl Iterator<Item = UnitIndex> + use<> {
        (0..self.units().units.len() as u32).map(UnitIndex)
    }

    fn entry(&self, index: UnitIndex) -> &UnitEntry {
        &self.units().units[index.0 as usize]
    }

    /// The unit as it is in the program.
    fn skeleton(&self, index: UnitIndex) -> &Rc<Unit> {
        let entry = self.entry(index);
        entry.unit.get_or_init(|| {
            let dwarf = &self.debug().dwarf;
            let header = dwarf.unit_header(gimli::DebugInfoOffset(entry.offset));
            Rc::new(header.and_then(|header| dwarf.unit(header)).unwrap_or_else(|_| empty_unit()))
        })
    }

    fn split(&self, index: UnitIndex) -> Option<&Result<SplitUnit, String>> {
        let debug = self.debug();
        let load = || debug.split.load(&debug.dwarf, self.skeleton(index));
        self.entry(index).split.get_or_init(load).as_ref()
    }

    fn dwarf_and_unit(&self, index: UnitIndex) -> (&Rc<gimli::Dwarf<Slice>>, &Rc<Unit>) {
        match self.split(index) {
            Some(Ok(split)) => (&split.dwarf, &split.unit),
            _ => (&self.debug().dwarf, self.skeleton(index)),
        }
    }

    /// A unit, with the entries of all that it describes; of a split unit whose file is missing, with none.
    pub fn unit(&self, index: UnitIndex) -> &Unit {
        self.dwarf_and_unit(index).1
    }

    /// The sections of debug information that a unit's entries refer to.
    #[must_use]
    pub fn dwarf(&self, index: UnitIndex) -> &gimli::Dwarf<Slice> {
        self.dwarf_and_unit(index).0
    }

    /// The folder in which a unit was compiled.
    pub fn directory(&self, index: UnitIndex) -> &'static str {
        self.skeleton(index).comp_dir.map_or("", text)
    }

    /// Why the variables and inlined calls of a unit are not known, when they should be: a part of a sentence.
    #[must_use]
    pub fn missing(&self, index: UnitIndex) -> Option<&str> {
        self.split(index)?.as_ref().err().map(String::as_str)
    }

    /// Is the part of split units missing? The first units are looked at: those of the user's own code come before the libraries'.
    pub(super) fn lacks_split_parts(&self) -> bool {
        let mut first = self.unit_indices().take(SPLIT_UNITS_LOOKED_AT);
        let split = first.find(|unit| self.skeleton(*unit).dwo_id.is_some());
        split.is_some_and(|unit| self.missing(unit).is_some())
    }

    /// How many units miss their part, of how many, and the first reason. Every unit is looked for.
    #[must_use]
    pub fn missing_units(&self) -> Option<(usize, usize, &str)> {
        let mut missing = self.unit_indices().filter_map(|index| self.missing(index)).peekable();
        let first = *missing.peek()?;
        Some((missing.count(), self.units().units.len(), first))
    }

    /// The unit that has code at this address.
    pub fn unit_at(&self, address: FileAddress) -> Option<UnitIndex> {
        let units = self.units();
        let after = units.code.partition_point(|range| range.begin <= address.0);
        // Ranges may nest after a linker folded equal functions, but never deeply.
        let around = units.code[..after].iter().rev().take(8);
        let mut around = around.filter(|range| (range.begin..range.end).contains(&address.0));
        let unit = around.next()?.unit;
        ((unit as usize) < units.units.len()).then_some(UnitIndex(unit))
    }

    /// The unit that has this place of `.debug_info`, and the place in it, as seen from a unit: a split unit is alone in its
    /// section.
    pub fn unit_of_offset(
        &self,
        from: UnitIndex,
        offset: gimli::DebugInfoOffset,
    ) -> Option<(UnitIndex, super::UnitOffset)> {
        if let Some(Ok(split)) = self.split(from) {
            return Some((from, offset.to_unit_offset(&split.unit.header)?));
        }
        let units = &self.units().units;
        let after = units.partition_point(|entry| entry.offset <= offset.0);
        let index = UnitIndex(after.checked_sub(1)? as u32);
        Some((index, offset.to_unit_offset(&self.skeleton(index).header)?))
    }

    /// Names of the unit's source files, by the line program's own index.
    pub fn files(&self, index: UnitIndex) -> &[String] {
        let entry = self.entry(index);
        entry.files.get_or_init(|| file_paths(&self.debug().dwarf, self.skeleton(index)))
    }

    /// The unit's line table, which is in the program also when the unit is split.
    pub fn lines(&self, index: UnitIndex) -> &LineTable {
        let entry = self.entry(index);
        entry.lines.get_or_init(|| LineTable::read(self.skeleton(index)))
    }

    /// The rows of a file in a unit at which breakpoints can be. The unit's other rows are not kept.
    pub fn rows_of_file(&self, index: UnitIndex, file: u32) -> Vec<Row> {
        match self.entry(index).lines.get() {
            Some(table) => {
                let rows = table.rows().iter();
                rows.filter(|row| row.file == file && is_code_of_a_line(row)).copied().collect()
            }
            None => rows_of_file(self.skeleton(index), file),
        }
    }

    /// The unit's functions, inlined calls and blocks.
    pub fn scopes(&self, index: UnitIndex) -> &UnitScopes {
        self.entry(index).scopes.get_or_init(|| {
            let (dwarf, unit) = self.dwarf_and_unit(index);
            let known = self.index().and_then(|own| own.outline(index));
            let outline = known.unwrap_or_else(|| Outline::read(dwarf, unit, None));
            UnitScopes::new(Rc::clone(dwarf), Rc::clone(unit), outline)
        })
    }

    /// Source files whose path ends in this part.
    pub fn sources_named(&self, name: &str) -> Vec<SourceFile> {
        match self.index() {
            Some(index) => index.sources_named(name),
            None => self.read_sources().get(name).cloned().unwrap_or_default(),
        }
    }

    /// Paths of all source files.
    pub fn source_paths(&self) -> Vec<Cow<'static, str>> {
        match self.index() {
            Some(index) => index.source_paths().map(Cow::Borrowed).collect(),
            None => self.read_sources().values().flatten().map(|source| source.path.clone()).collect(),
        }
    }

    /// The source files of all units, by the last part of their paths.
    fn read_sources(&self) -> &HashMap<String, Vec<SourceFile>> {
        self.units().sources.get_or_init(|| {
            let mut places: HashMap<&str, Vec<Place>> = HashMap::new();
            for unit in self.unit_indices() {
                for (file, path) in (0u32..).zip(self.files(unit)).filter(|(_, path)| !path.is_empty()) {
                    places.entry(path).or_default().push(Place { unit, file, lines: None });
                }
            }
            let mut sources: HashMap<String, Vec<SourceFile>> = HashMap::new();
            for (path, places) in places {
                let source = SourceFile { path: Cow::Owned(path.to_owned()), places };
                sources.entry(last_part(path).to_owned()).or_default().push(source);
            }
            sources
        })
    }

    /// Functions with code of a function with this name, be it their own or inlined: unit, and number in the unit. The name is
    /// the last part of a path; more may be found than have it.
    pub fn functions_named(&self, name: &str) -> Vec<(UnitIndex, usize)> {
        // A closure's name has many spellings.
        if name.starts_with(['{', '<']) {
            let of_unit =
                |unit| (0..self.scopes(unit).function_count()).map(move |function| (unit, function));
            return self.unit_indices().flat_map(of_unit).collect();
        }
        self.index_now().functions_named(name_hash(name)).collect()
    }
}

fn keep(directory: &std::path::Path, key: &Key, bytes: &[u8]) {
    if let Err(error) = cache::store(directory, key, bytes) {
        // A full or read-only disk costs time, and nothing else.
        tracing::debug!("the symbol index cannot be kept in {}: {error}", directory.display());
    }
}

/// A copy that lies as a mapping would.
fn aligned(bytes: &[u8]) -> &'static [u8] {
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    object::pod::bytes_of_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    &object::pod::bytes_of_slice(words.leak())[..bytes.len()]
}

/// Stands for a unit that an index promises and that cannot be read: it has nothing in it.
fn empty_unit() -> Unit {
    // A unit of version 4 with one entry without attributes (DWARF 4, sections 7.5.1 and 7.5.3).
    const INFO: &[u8] = &[8, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8, 1];
    const ABBREVIATIONS: &[u8] = &[1, 0x11, 0, 0, 0, 0];
    let load = |id: gimli::SectionId| {
        let bytes: &'static [u8] = match id {
            gimli::SectionId::DebugInfo => INFO,
            gimli::SectionId::DebugAbbrev => ABBREVIATIONS,
            _ => &[],
        };
        Ok::<Slice, gimli::Error>(gimli::EndianSlice::new(bytes, gimli::LittleEndian))
    };
    let dwarf = gimli::Dwarf::load(load).expect("loading constants cannot fail");
    let header = dwarf.units().next().ok().flatten().expect("the constant has one unit");
    dwarf.unit(header).expect("the constant's unit is whole")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_unit_has_one_entry() {
        let unit = empty_unit();
        let outline = Outline::read(&gimli::Dwarf::default(), &unit, None);
        assert_eq!(outline, Outline::default());
    }
}
