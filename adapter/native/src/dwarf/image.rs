//! One program file: its debug information, unwind tables and symbols, each read when it is first needed.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gimli::{BaseAddresses, EhFrame, EhFrameHdr, ParsedEhFrameHdr, Section};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SymbolKind};

use super::elf::Elf;
use super::lines::{LineTable, file_paths};
use super::scopes::UnitScopes;
use super::separate;
use super::split::{SplitFiles, SplitUnit};
use super::{DwarfError, Slice, Unit};
use crate::address::FileAddress;

/// A program file.
pub struct Image {
    path: String,
    elf: Elf,
    /// The program's own path, seen from here: what belongs to it may lie beside it.
    beside: PathBuf,
    /// What `/` is for the program.
    root: PathBuf,
    /// Tables from which callers' registers are found.
    pub unwind: UnwindTables,
    first_segment: u64,
    symbols: OnceCell<Vec<Symbol>>,
    debug: OnceCell<Debug>,
    units: OnceCell<Units>,
}

/// Where the debug information is.
struct Debug {
    /// The separate file, if the program's own has none.
    separate: Option<Elf>,
    dwarf: gimli::Dwarf<Slice>,
    split: SplitFiles,
    /// Why what is there is not used.
    refused: Vec<String>,
}

/// `.eh_frame` and its index.
pub struct UnwindTables {
    /// The section itself.
    pub frames: EhFrame<Slice>,
    /// Its index, if the linker made one.
    pub index: Option<ParsedEhFrameHdr<Slice>>,
    /// Where the sections lie.
    pub bases: BaseAddresses,
}

/// A name of the symbol table.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    /// Where it begins.
    pub address: FileAddress,
    /// 0 when unknown.
    pub bytes: u64,
    /// As the linker has it.
    pub name: &'static str,
}

/// Which unit of an image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct UnitIndex(pub u32);

struct Units {
    units: Vec<UnitEntry>,
    /// Sorted by start; ranges of one file do not overlap but where the linker merged equal functions.
    ranges: Vec<(Range<u64>, UnitIndex)>,
    by_file_name: OnceCell<HashMap<String, Vec<(UnitIndex, u32)>>>,
}

struct UnitEntry {
    /// The unit as it is in the program; of a split unit that is the skeleton.
    unit: Unit,
    split: OnceCell<Option<Result<SplitUnit, String>>>,
    files: OnceCell<Vec<String>>,
    lines: OnceCell<LineTable>,
    scopes: OnceCell<UnitScopes>,
}

impl Image {
    /// Maps a file and finds its unwind tables. `name` is its path as the process knows it.
    pub fn open(open_path: &Path, name: &str) -> Result<Self, DwarfError> {
        let elf = Elf::open(open_path, name)?;
        let (beside, root) = location(open_path, name);
        let mut frames = EhFrame::from(elf.section(EhFrame::<Slice>::section_name()));
        frames.set_address_size(8);
        let index = EhFrameHdr::from(elf.section(EhFrameHdr::<Slice>::section_name()));
        let at = |name: &str| elf.file.section_by_name(name).map_or(0, |section| section.address());
        let bases = BaseAddresses::default()
            .set_eh_frame(at(".eh_frame"))
            .set_eh_frame_hdr(at(".eh_frame_hdr"))
            .set_text(at(".text"))
            .set_got(at(".got"));
        let index = index.parse(&bases, 8).ok();
        let first_segment = elf.file.segments().map(|segment| segment.address()).min().unwrap_or(0) & !0xfff;
        Ok(Self {
            path: name.to_owned(),
            elf,
            beside,
            root,
            unwind: UnwindTables { frames, index, bases },
            first_segment,
            symbols: OnceCell::new(),
            debug: OnceCell::new(),
            units: OnceCell::new(),
        })
    }

    /// The debug information, from the file itself or from a separate one.
    fn debug(&self) -> &Debug {
        self.debug.get_or_init(|| {
            let found = if self.elf.has_debug_information() {
                separate::Found::default()
            } else {
                separate::find(&self.elf, &self.beside, &self.root)
            };
            let mut refused = found.refused;
            let file = found.file.as_ref().unwrap_or(&self.elf);
            let dwarf = file.dwarf().unwrap_or_else(|error| {
                refused.push(format!("the debug information of {} is damaged ({error})", file.name()));
                gimli::Dwarf::default()
            });
            if let Some(damage) = file.damage() {
                refused.push(format!("{} is damaged: {damage}", file.name()));
            }
            let split = SplitFiles::of(&self.beside, &self.root);
            Debug { separate: found.file, dwarf, split, refused }
        })
    }

    /// The file's name.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Why debug information that is there, or should be, is not used: a part of a sentence.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let refused = &self.debug().refused;
        (!refused.is_empty()).then(|| refused.join("; "))
    }

    /// Why the variables and inlined calls of a unit are not known, when they should be: a part of a sentence.
    #[must_use]
    pub fn missing(&self, index: UnitIndex) -> Option<&str> {
        self.split(index)?.as_ref().err().map(String::as_str)
    }

    /// How many units miss their part, of how many, and the first reason. Every unit is looked for.
    #[must_use]
    pub fn missing_units(&self) -> Option<(usize, usize, &str)> {
        let mut missing = self.unit_indices().filter_map(|index| self.missing(index)).peekable();
        let first = *missing.peek()?;
        Some((missing.count(), self.units().units.len(), first))
    }

    /// The file that the debug information comes from, when it is not the program itself.
    #[must_use]
    pub fn separate_file(&self) -> Option<&str> {
        self.debug().separate.as_ref().map(Elf::name)
    }

    /// The address that the file's beginning asks for.
    #[must_use]
    pub fn first_segment(&self) -> u64 {
        self.first_segment
    }

    /// The sections of debug information that a unit's entries refer to.
    #[must_use]
    pub fn dwarf(&self, index: UnitIndex) -> &gimli::Dwarf<Slice> {
        match self.split(index) {
            Some(Ok(split)) => &split.dwarf,
            _ => &self.debug().dwarf,
        }
    }

    /// A section's bytes.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<(FileAddress, &'static [u8])> {
        let section = self.elf.file.section_by_name(name)?;
        Some((FileAddress(section.address()), section.data().ok()?))
    }

    /// Code as it is in the file, without anybody's patches.
    #[must_use]
    pub fn code(&self, address: FileAddress, bytes: usize) -> Option<&'static [u8]> {
        for segment in self.elf.file.segments() {
            let start = segment.address();
            if address.0 >= start && address.0 < start + segment.size() {
                let data = segment.data().ok()?;
                let from = (address.0 - start) as usize;
                return data.get(from..data.len().min(from + bytes)).filter(|code| !code.is_empty());
            }
        }
        None
    }

    /// Functions and data by name, sorted by address.
    pub fn symbols(&self) -> &[Symbol] {
        self.symbols.get_or_init(|| {
            // A stripped program's names are in its debug file, if anywhere.
            let has_own = self.elf.file.symbol_table().is_some();
            let separate = if has_own { None } else { self.debug().separate.as_ref() };
            let file = &separate.unwrap_or(&self.elf).file;
            let mut symbols: Vec<Symbol> = file
                .symbols()
                .chain(self.elf.file.dynamic_symbols())
                .filter(|symbol| {
                    symbol.is_definition() && matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data)
                })
                .filter_map(|symbol| {
                    Some(Symbol {
                        address: FileAddress(symbol.address()),
                        bytes: symbol.size(),
                        name: symbol.name().ok()?,
                    })
                })
                .collect();
            symbols.sort_by_key(|symbol| symbol.address);
            symbols
        })
    }

    /// The symbol with exactly this name.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols().iter().find(|symbol| symbol.name == name).copied()
    }

    /// The symbol that begins here, or as the last one before.
    #[must_use]
    pub fn symbol_before(&self, address: FileAddress) -> Option<Symbol> {
        let symbols = self.symbols();
        symbols[..symbols.partition_point(|symbol| symbol.address <= address)].last().copied()
    }

    /// What tells this build from all others, in hexadecimal.
    #[must_use]
    pub fn build_id(&self) -> Option<String> {
        self.elf.build_id().map(separate::hex)
    }

    /// The symbol that covers an address.
    #[must_use]
    pub fn symbol_at(&self, address: FileAddress) -> Option<Symbol> {
        let symbol = self.symbol_before(address)?;
        (symbol.bytes == 0 || address.0 < symbol.address.0 + symbol.bytes).then_some(symbol)
    }

    fn units(&self) -> &Units {
        self.units.get_or_init(|| self.load_units())
    }

    fn load_units(&self) -> Units {
        let mut units = Vec::new();
        let mut ranges = Vec::new();
        let dwarf = &self.debug().dwarf;
        let mut headers = dwarf.units();
        // A damaged unit ends the list; what came before it stays usable.
        while let Ok(Some(header)) = headers.next() {
            let Ok(unit) = dwarf.unit(header) else { continue };
            let index = UnitIndex(units.len() as u32);
            if let Ok(mut unit_ranges) = dwarf.unit_ranges(&unit) {
                while let Ok(Some(range)) = unit_ranges.next() {
                    // Code that the linker threw away keeps its entry, at address 0.
                    if range.begin != 0 && range.begin < range.end {
                        ranges.push((range.begin..range.end, index));
                    }
                }
            }
            units.push(UnitEntry {
                unit,
                split: OnceCell::new(),
                files: OnceCell::new(),
                lines: OnceCell::new(),
                scopes: OnceCell::new(),
            });
        }
        ranges.sort_by_key(|(range, _)| range.start);
        Units { units, ranges, by_file_name: OnceCell::new() }
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

    fn split(&self, index: UnitIndex) -> Option<&Result<SplitUnit, String>> {
        let entry = self.entry(index);
        let debug = self.debug();
        entry.split.get_or_init(|| debug.split.load(&debug.dwarf, &entry.unit)).as_ref()
    }

    /// A unit, with the entries of all that it describes; of a split unit whose file is missing, with none.
    pub fn unit(&self, index: UnitIndex) -> &Unit {
        match self.split(index) {
            Some(Ok(split)) => &split.unit,
            _ => &self.entry(index).unit,
        }
    }

    /// The folder in which a unit was compiled.
    pub fn directory(&self, index: UnitIndex) -> &'static str {
        self.entry(index).unit.comp_dir.map_or("", super::text)
    }

    /// The unit that has code at this address.
    pub fn unit_at(&self, address: FileAddress) -> Option<UnitIndex> {
        let ranges = &self.units().ranges;
        let after = ranges.partition_point(|(range, _)| range.start <= address.0);
        // Ranges may nest after a linker folded equal functions, but never deeply.
        ranges[..after]
            .iter()
            .rev()
            .take(8)
            .find(|(range, _)| range.contains(&address.0))
            .map(|(_, unit)| *unit)
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
        let start = |entry: &UnitEntry| entry.unit.header.debug_info_offset().map_or(0, |offset| offset.0);
        let after = units.partition_point(|entry| start(entry) <= offset.0);
        let index = after.checked_sub(1)?;
        let place = offset.to_unit_offset(&units[index].unit.header)?;
        Some((UnitIndex(index as u32), place))
    }

    /// Names of the unit's source files, by the line program's own index.
    pub fn files(&self, index: UnitIndex) -> &[String] {
        let entry = self.entry(index);
        entry.files.get_or_init(|| file_paths(&self.debug().dwarf, &entry.unit))
    }

    /// The unit's line table, which is in the program also when the unit is split.
    pub fn lines(&self, index: UnitIndex) -> &LineTable {
        let entry = self.entry(index);
        entry.lines.get_or_init(|| LineTable::read(&entry.unit))
    }

    /// The unit's functions, inlined calls and blocks.
    pub fn scopes(&self, index: UnitIndex) -> &UnitScopes {
        let read = || UnitScopes::read(self.dwarf(index), self.unit(index));
        self.entry(index).scopes.get_or_init(read)
    }

    /// Units that have a source file with this last component, and its index in each.
    pub fn units_with_file_name(&self, file_name: &str) -> &[(UnitIndex, u32)] {
        let units = self.units();
        let by_name = units.by_file_name.get_or_init(|| {
            let mut by_name: HashMap<String, Vec<(UnitIndex, u32)>> = HashMap::new();
            for index in self.unit_indices() {
                for (file, path) in self.files(index).iter().enumerate() {
                    let name = path.rsplit('/').next().unwrap_or(path);
                    by_name.entry(name.to_owned()).or_default().push((index, file as u32));
                }
            }
            by_name
        });
        by_name.get(file_name).map_or(&[], Vec::as_slice)
    }
}

/// Where the files beside a program are looked for, and what `/` is for the program. A process's files are opened through
/// `/proc`, which shows them as the process sees them, in whatever container that is.
fn location(open_path: &Path, name: &str) -> (PathBuf, PathBuf) {
    let mut parts = open_path.components().skip(1);
    let proc = parts.next().is_some_and(|part| part.as_os_str() == "proc");
    let pid = parts.next().and_then(|part| part.as_os_str().to_str()?.parse::<u32>().ok());
    match pid.filter(|_| proc) {
        Some(pid) => {
            let root = PathBuf::from(format!("/proc/{pid}/root"));
            // The kernel says this of a file that was replaced.
            let path = Path::new(name.trim_end_matches(" (deleted)"));
            (separate::under(&root, path), root)
        }
        None => (open_path.to_owned(), PathBuf::from("/")),
    }
}
