//! One program file: its debug information, unwind tables and symbols, each read when it is first needed.
//!
//! A file is mapped once and stays mapped while the engine lives: an agent serves one process and ends with it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use gimli::{
    BaseAddresses, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, ParsedEhFrameHdr, Section, SectionId,
};
use memmap2::Mmap;
use object::{CompressionFormat, Object, ObjectSection, ObjectSegment, ObjectSymbol, SymbolKind};

use super::lines::{LineTable, file_paths};
use super::scopes::UnitScopes;
use super::{DwarfError, Slice, Unit};
use crate::address::FileAddress;

/// A program file.
pub struct Image {
    path: String,
    dwarf: gimli::Dwarf<Slice>,
    /// Tables from which callers' registers are found.
    pub unwind: UnwindTables,
    first_segment: u64,
    file: object::File<'static>,
    symbols: OnceCell<Vec<Symbol>>,
    units: OnceCell<Units>,
    warning: Option<String>,
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
    unit: Unit,
    files: OnceCell<Vec<String>>,
    lines: OnceCell<LineTable>,
    scopes: OnceCell<UnitScopes>,
}

impl Image {
    /// Maps a file and finds its sections.
    pub fn open(open_path: &Path, name: &str) -> Result<Self, DwarfError> {
        let open_error = |cause| DwarfError::Open { path: name.to_owned(), cause };
        let file = File::open(open_path).map_err(open_error)?;
        // SAFETY: the mapping is private and read-only. A program file that is overwritten in place while it runs would
        // break the running program as well; the kernel forbids it (ETXTBSY).
        let map = unsafe { Mmap::map(&file) }.map_err(open_error)?;
        let data: &'static [u8] = Box::leak(Box::new(map));
        Self::parse(data, name)
    }

    fn parse(data: &'static [u8], name: &str) -> Result<Self, DwarfError> {
        let file =
            object::File::parse(data).map_err(|cause| DwarfError::Elf { path: name.to_owned(), cause })?;
        let mut compressed = false;
        let mut section = |section_name: &str| -> Slice {
            let Some(section) = file.section_by_name(section_name) else {
                return EndianSlice::new(&[], LittleEndian);
            };
            if section.compressed_file_range().is_ok_and(|range| range.format != CompressionFormat::None) {
                compressed = true;
                return EndianSlice::new(&[], LittleEndian);
            }
            EndianSlice::new(section.data().unwrap_or(&[]), LittleEndian)
        };
        let dwarf = gimli::Dwarf::load(|id: SectionId| Ok::<Slice, gimli::Error>(section(id.name())))?;
        let mut frames = EhFrame::from(section(EhFrame::<Slice>::section_name()));
        frames.set_address_size(8);
        let index = EhFrameHdr::from(section(EhFrameHdr::<Slice>::section_name()));
        let at = |name: &str| file.section_by_name(name).map_or(0, |section| section.address());
        let bases = BaseAddresses::default()
            .set_eh_frame(at(".eh_frame"))
            .set_eh_frame_hdr(at(".eh_frame_hdr"))
            .set_text(at(".text"))
            .set_got(at(".got"));
        let index = index.parse(&bases, 8).ok();
        let first_segment = file.segments().map(|segment| segment.address()).min().unwrap_or(0) & !0xfff;
        let warning = compressed.then(|| {
            format!("{name} has compressed debug information, which this engine does not read; build it without -Z/--compress-debug-sections")
        });
        Ok(Self {
            path: name.to_owned(),
            dwarf,
            unwind: UnwindTables { frames, index, bases },
            first_segment,
            file,
            symbols: OnceCell::new(),
            units: OnceCell::new(),
            warning,
        })
    }

    /// The file's name.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Why debug information that is there is not used.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The address that the file's beginning asks for.
    #[must_use]
    pub fn first_segment(&self) -> u64 {
        self.first_segment
    }

    /// All sections of debug information.
    #[must_use]
    pub fn dwarf(&self) -> &gimli::Dwarf<Slice> {
        &self.dwarf
    }

    /// A section's bytes.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<(FileAddress, &'static [u8])> {
        let section = self.file.section_by_name(name)?;
        Some((FileAddress(section.address()), section.data().ok()?))
    }

    /// Code as it is in the file, without anybody's patches.
    #[must_use]
    pub fn code(&self, address: FileAddress, bytes: usize) -> Option<&'static [u8]> {
        for segment in self.file.segments() {
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
            let mut symbols: Vec<Symbol> = self
                .file
                .symbols()
                .chain(self.file.dynamic_symbols())
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
        let id = self.file.build_id().ok()??;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
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
        let mut headers = self.dwarf.units();
        // A damaged unit ends the list; what came before it stays usable.
        while let Ok(Some(header)) = headers.next() {
            let Ok(unit) = self.dwarf.unit(header) else { continue };
            let index = UnitIndex(units.len() as u32);
            if let Ok(mut unit_ranges) = self.dwarf.unit_ranges(&unit) {
                while let Ok(Some(range)) = unit_ranges.next() {
                    // Code that the linker threw away keeps its entry, at address 0.
                    if range.begin != 0 && range.begin < range.end {
                        ranges.push((range.begin..range.end, index));
                    }
                }
            }
            units.push(UnitEntry {
                unit,
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

    /// A unit.
    pub fn unit(&self, index: UnitIndex) -> &Unit {
        &self.units().units[index.0 as usize].unit
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

    /// The unit that has this place of `.debug_info`, and the place in it.
    pub fn unit_of_offset(&self, offset: gimli::DebugInfoOffset) -> Option<(UnitIndex, super::UnitOffset)> {
        let units = &self.units().units;
        let start = |entry: &UnitEntry| entry.unit.header.debug_info_offset().map_or(0, |offset| offset.0);
        let after = units.partition_point(|entry| start(entry) <= offset.0);
        let index = after.checked_sub(1)?;
        let place = offset.to_unit_offset(&units[index].unit.header)?;
        Some((UnitIndex(index as u32), place))
    }

    /// Names of the unit's source files, by the line program's own index.
    pub fn files(&self, index: UnitIndex) -> &[String] {
        let entry = &self.units().units[index.0 as usize];
        entry.files.get_or_init(|| file_paths(&self.dwarf, &entry.unit))
    }

    /// The unit's line table.
    pub fn lines(&self, index: UnitIndex) -> &LineTable {
        let entry = &self.units().units[index.0 as usize];
        entry.lines.get_or_init(|| LineTable::read(&entry.unit))
    }

    /// The unit's functions, inlined calls and blocks.
    pub fn scopes(&self, index: UnitIndex) -> &UnitScopes {
        let entry = &self.units().units[index.0 as usize];
        entry.scopes.get_or_init(|| UnitScopes::read(&self.dwarf, &entry.unit))
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
