//! Making an index: every unit is read once, on as many threads as asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use gimli::constants as dw;

use super::{CodeRange, Lists, Place};
use crate::dwarf::image::UnitIndex;
use crate::dwarf::lines::{file_paths, lines_of_files};
use crate::dwarf::outline::{FunctionNames, Outline, name_hash};
use crate::dwarf::provided::Outcome;
use crate::dwarf::split::SplitFiles;
use crate::dwarf::{Attribute, Slice, Unit, text};

/// What is indexed.
pub struct Source {
    /// The program's sections.
    pub dwarf: gimli::Dwarf<Slice>,
    /// The program, seen from here.
    pub beside: PathBuf,
    /// What `/` is for the program.
    pub root: PathBuf,
    /// A package that was brought from elsewhere.
    pub package: Option<Outcome>,
}

/// A finished index.
pub struct Built {
    /// Its lists.
    pub lists: Lists,
    /// Nothing was missing, so that it is worth keeping.
    pub is_complete: bool,
}

struct UnitContent {
    offset: u64,
    outline: Outline,
    names: BTreeSet<(u32, u32)>,
    code: Vec<(u64, u64)>,
    files: Vec<String>,
    lines: HashMap<u32, (u32, u32)>,
    is_complete: bool,
}

type Header = gimli::UnitHeader<Slice>;

/// Reads all units.
#[must_use]
pub fn build(source: &Source, threads: usize) -> Built {
    let mut headers = Vec::new();
    let mut iterator = source.dwarf.units();
    while let Ok(Some(header)) = iterator.next() {
        headers.push(header);
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut reader = Reader {
            source,
            headers: &headers,
            split: SplitFiles::of(&source.beside, &source.root, source.package.as_ref()),
            others: HashMap::new(),
        };
        let mut read = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(header) = headers.get(number) else { return read };
            // One that cannot be read is no unit for anybody.
            if let Ok(unit) = source.dwarf.unit(*header) {
                read.push((number, reader.content(&unit)));
            }
        }
    };
    let mut is_complete = true;
    let mut all: BTreeMap<usize, UnitContent> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut all: BTreeMap<usize, UnitContent> = work().into_iter().collect();
        for helper in helpers {
            match helper.join() {
                Ok(read) => all.extend(read),
                Err(_) => is_complete = false,
            }
        }
        all
    });
    is_complete &= all.values().all(|unit| unit.is_complete);
    let mut lists = Lists::default();
    let mut places: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for (unit, content) in (0u32..).zip(all.values_mut()) {
        lists.unit(content.offset, &content.outline, std::mem::take(&mut content.names));
        let code = content.code.iter();
        lists.code.extend(code.map(|(begin, end)| CodeRange { begin: *begin, end: *end, unit, unused: 0 }));
        for (file, path) in (0u32..).zip(content.files.drain(..)).filter(|(_, path)| !path.is_empty()) {
            let lines = Some(content.lines.get(&file).copied().unwrap_or((0, 0)));
            places.entry(path).or_default().push(Place { unit: UnitIndex(unit), file, lines });
        }
    }
    for (path, places) in &places {
        lists.source(path, places);
    }
    Built { lists, is_complete }
}

struct Reader<'a> {
    source: &'a Source,
    headers: &'a [Header],
    split: SplitFiles,
    /// Units that others refer to, by their number.
    others: HashMap<usize, Option<Unit>>,
}

impl Reader<'_> {
    fn content(&mut self, unit: &Unit) -> UnitContent {
        let dwarf = &self.source.dwarf;
        let split = self.split.load(dwarf, unit);
        let is_complete = !matches!(split, Some(Err(_)));
        let mut names = FunctionNames::default();
        let outline = match &split {
            Some(Ok(split)) => Outline::read(&split.dwarf, &split.unit, Some(&mut names)),
            _ => Outline::read(dwarf, unit, Some(&mut names)),
        };
        UnitContent {
            offset: unit.header.debug_info_offset().map_or(0, |offset| offset.0 as u64),
            outline,
            names: names.resolve(&mut |offset| self.name_elsewhere(offset)),
            code: code_of(dwarf, unit),
            files: file_paths(dwarf, unit),
            lines: lines_of_files(unit),
            is_complete,
        }
    }

    /// The name of a function that another unit describes, as link-time optimisation leaves them.
    fn name_elsewhere(&mut self, offset: gimli::DebugInfoOffset) -> Option<u32> {
        let dwarf = &self.source.dwarf;
        let mut offset = offset;
        for _ in 0..4 {
            let start = |header: &Header| header.debug_info_offset().map_or(0, |offset| offset.0);
            let number = self.headers.partition_point(|header| start(header) <= offset.0).checked_sub(1)?;
            let read = || dwarf.unit(self.headers[number]).ok();
            let unit = self.others.entry(number).or_insert_with(read).as_ref()?;
            let entry = unit.entry(offset.to_unit_offset(&unit.header)?).ok()?;
            if let Some(name) = entry.attr_value(dw::DW_AT_name) {
                return dwarf.attr_string(unit, name).ok().map(|name| name_hash(text(name)));
            }
            let origin = entry.attr_value(dw::DW_AT_abstract_origin);
            offset = match origin.or_else(|| entry.attr_value(dw::DW_AT_specification))? {
                Attribute::UnitRef(origin) => origin.to_debug_info_offset(&unit.header)?,
                Attribute::DebugInfoRef(origin) => origin,
                _ => return None,
            };
        }
        None
    }
}

/// The code of a unit. What the linker threw away keeps its entry, at address 0.
#[must_use]
pub fn code_of(dwarf: &gimli::Dwarf<Slice>, unit: &Unit) -> Vec<(u64, u64)> {
    let mut code = Vec::new();
    if let Ok(mut ranges) = dwarf.unit_ranges(unit) {
        while let Ok(Some(range)) = ranges.next() {
            if range.begin != 0 && range.begin < range.end {
                code.push((range.begin, range.end));
            }
        }
    }
    code
}
