//! One program file: its debug information, unwind tables and symbols, each read when it is first needed.

use std::cell::{Cell, OnceCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gimli::{BaseAddresses, EhFrame, EhFrameHdr, ParsedEhFrameHdr, Section};
use object::read::elf::ProgramHeader;
use object::{Object, ObjectSection, ObjectSegment};

use super::elf::Elf;
use super::index::Key;
use super::index::build::Source;
use super::provided::{OfFile, Part, Provided};
use super::separate;
use super::split::SplitFiles;
use super::symbols::{self, Symbol};
use super::units::{Indexed, Units};
use super::{DwarfError, Slice};
use crate::address::FileAddress;
use crate::limits::INDEX_WORTH_BYTES;

/// So many symbols are searched for, one by one, before all are gathered and sorted.
const SYMBOL_SEARCHES_MAX: u32 = 16;
/// A page of memory on x86-64.
const PAGE_BYTES: u64 = 4096;

/// A program file.
pub struct Image {
    path: String,
    elf: Elf,
    /// The program's own path, seen from here: what belongs to it may lie beside it.
    beside: PathBuf,
    /// What `/` is for the program.
    root: PathBuf,
    /// What it has split off, if that is in memory.
    split: Option<&'static [u8]>,
    /// What was brought from elsewhere.
    provided: OfFile,
    /// Tables from which callers' registers are found.
    pub unwind: UnwindTables,
    first_segment: u64,
    symbols: OnceCell<Vec<Symbol>>,
    symbols_searched: Cell<u32>,
    debug: OnceCell<Debug>,
    pub(super) units: OnceCell<Units>,
    pub(super) indexed: Indexed,
}

/// Where the debug information is.
pub(super) struct Debug {
    /// The separate file, if the program's own has none.
    separate: Option<Elf>,
    pub(super) dwarf: Rc<gimli::Dwarf<Slice>>,
    pub(super) split: SplitFiles,
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

/// Which unit of an image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct UnitIndex(pub u32);

impl Image {
    /// Maps a file and finds its unwind tables. `name` is its path as the process knows it.
    pub fn open(open_path: &Path, name: &str) -> Result<Self, DwarfError> {
        Self::open_with(open_path, name, &Provided::default())
    }

    /// The same, with debug information that may have been brought from elsewhere.
    pub fn open_with(open_path: &Path, name: &str, provided: &Provided) -> Result<Self, DwarfError> {
        let mut image = Self::of(Elf::open(open_path, name)?, open_path, name);
        image.provided = provided.of(image.elf.build_id());
        Ok(image)
    }

    /// The same of a file that is in memory.
    pub fn parse(data: &'static [u8], name: &str) -> Result<Self, DwarfError> {
        Ok(Self::of(Elf::parse(data, name)?, Path::new(name), name))
    }

    /// The same of a program of which parts were split off, in one `.dwp` or `.dwo` file that is in memory, too.
    pub fn parse_split(data: &'static [u8], split: &'static [u8], name: &str) -> Result<Self, DwarfError> {
        Ok(Self { split: Some(split), ..Self::parse(data, name)? })
    }

    fn of(elf: Elf, open_path: &Path, name: &str) -> Self {
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
        Self {
            path: name.to_owned(),
            elf,
            beside,
            root,
            split: None,
            provided: OfFile::default(),
            unwind: UnwindTables { frames, index, bases },
            first_segment,
            symbols: OnceCell::new(),
            symbols_searched: Cell::new(0),
            debug: OnceCell::new(),
            units: OnceCell::new(),
            indexed: Indexed::default(),
        }
    }

    /// The debug information, from the file itself or from a separate one.
    pub(super) fn debug(&self) -> &Debug {
        self.debug.get_or_init(|| {
            let found = if self.elf.has_debug_information() {
                separate::Found::default()
            } else {
                separate::find(&self.elf, &self.beside, &self.root, self.provided.debug.as_ref())
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
            let split =
                SplitFiles::of(&self.beside, &self.root, self.provided.package.as_ref()).with(self.split);
            Debug { separate: found.file, dwarf: Rc::new(dwarf), split, refused }
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

    /// The file that the debug information comes from, when it is not the program itself.
    #[must_use]
    pub fn separate_file(&self) -> Option<&str> {
        self.debug().separate.as_ref().map(Elf::name)
    }

    /// What an index of this program is kept under; none when the program cannot be told from others, or is so small that it
    /// is read as fast.
    pub(super) fn index_key(&self) -> Option<Key> {
        let build_id = self.elf.build_id()?.to_vec();
        let file = self.debug().separate.as_ref().unwrap_or(&self.elf);
        let is_large =
            file.section_bytes(".debug_info") + file.section_bytes(".debug_line") >= INDEX_WORTH_BYTES;
        is_large.then(|| Key { build_id, debug_bytes: file.data().len() as u64 })
    }

    /// What a thread needs that makes the index.
    pub(super) fn index_source(&self) -> Source {
        let file = self.debug().separate.as_ref().unwrap_or(&self.elf);
        let dwarf = file.dwarf().unwrap_or_default();
        let package = self.provided.package.clone();
        Source { dwarf, beside: self.beside.clone(), root: self.root.clone(), package }
    }

    /// What is missing of the debug information, if anything is that others may have: a file of a known build.
    #[must_use]
    pub fn lacks(&self) -> Option<(Vec<u8>, Part)> {
        let build_id = self.elf.build_id().filter(|id| id.len() > 1)?.to_vec();
        if !self.has_units() {
            return Some((build_id, Part::Debug));
        }
        self.lacks_split_parts().then_some((build_id, Part::Package))
    }

    /// The address that the file's beginning asks for.
    #[must_use]
    pub fn first_segment(&self) -> u64 {
        self.first_segment
    }

    /// Bytes and alignment of what each thread has of its own of this file.
    #[must_use]
    pub fn thread_storage(&self) -> Option<(u64, u64)> {
        let object::File::Elf64(file) = &self.elf.file else { return None };
        let endian = file.endian();
        let header =
            file.elf_program_headers().iter().find(|header| header.p_type(endian) == object::elf::PT_TLS)?;
        Some((header.p_memsz(endian), header.p_align(endian)))
    }

    /// Where the loader finds its entries for this file (`PT_DYNAMIC` of elf(5)), with their bytes.
    #[must_use]
    pub fn dynamic(&self) -> Option<(FileAddress, u64)> {
        let object::File::Elf64(file) = &self.elf.file else { return None };
        let endian = file.endian();
        let mut headers = file.elf_program_headers().iter();
        let header = headers.find(|header| header.p_type(endian) == object::elf::PT_DYNAMIC)?;
        Some((FileAddress(header.p_vaddr(endian)), header.p_memsz(endian)))
    }

    /// The rest of the last page of the code around an address, with its content: it is mapped and can be run, and nothing uses it.
    #[must_use]
    pub fn margin(&self, address: FileAddress) -> Option<(FileAddress, Vec<u8>)> {
        let object::File::Elf64(file) = &self.elf.file else { return None };
        let endian = file.endian();
        let segment = file.elf_program_headers().iter().find(|header| {
            let start = header.p_vaddr(endian);
            header.p_type(endian) == object::elf::PT_LOAD
                && header.p_flags(endian).0 & object::elf::PF_X.0 != 0
                && (start..start.saturating_add(header.p_memsz(endian))).contains(&address.0)
        })?;
        if segment.p_memsz(endian) != segment.p_filesz(endian) {
            return None;
        }
        let start = segment.p_vaddr(endian).checked_add(segment.p_filesz(endian))?;
        let bytes = usize::try_from(start.checked_next_multiple_of(PAGE_BYTES)? - start).ok()?;
        let offset = usize::try_from(segment.p_offset(endian).checked_add(segment.p_filesz(endian))?).ok()?;
        // The page is mapped as the file goes on, and beyond the file's end it is zero.
        let data = self.elf.data();
        let mut content = data.get(offset..data.len().min(offset + bytes)).unwrap_or_default().to_vec();
        content.resize(bytes, 0);
        Some((FileAddress(start), content))
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
            if address.0 >= start && address.0 < start.saturating_add(segment.size()) {
                let data = segment.data().ok()?;
                let from = (address.0 - start) as usize;
                return data
                    .get(from..data.len().min(from.saturating_add(bytes)))
                    .filter(|code| !code.is_empty());
            }
        }
        None
    }

    /// The files that have symbols of the program. A stripped program's are in its debug file, if anywhere.
    fn symbol_files(&self) -> Vec<&Elf> {
        let separate = if symbols::has_table(&self.elf) { None } else { self.debug().separate.as_ref() };
        separate.into_iter().chain([&self.elf]).collect()
    }

    /// Functions and data by name, sorted by address.
    pub fn symbols(&self) -> &[Symbol] {
        self.symbols.get_or_init(|| symbols::all(&self.symbol_files()))
    }

    /// The symbol with exactly this name.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        match self.symbols.get() {
            Some(all) => all.iter().find(|symbol| symbol.name == name).copied(),
            None => symbols::named(&self.symbol_files(), name),
        }
    }

    /// The symbol that begins here, or as the last one before.
    #[must_use]
    pub fn symbol_before(&self, address: FileAddress) -> Option<Symbol> {
        let searched = self.symbols_searched.get();
        if self.symbols.get().is_none() && searched < SYMBOL_SEARCHES_MAX {
            self.symbols_searched.set(searched + 1);
            return symbols::before(&self.symbol_files(), address);
        }
        let symbols = self.symbols();
        symbols[..symbols.partition_point(|symbol| symbol.address <= address)].last().copied()
    }

    /// What tells this build from all others, in hexadecimal.
    #[must_use]
    pub fn build_id(&self) -> Option<String> {
        self.elf.build_id().map(separate::hex)
    }

    /// Is this the build?
    #[must_use]
    pub fn has_build_id(&self, id: &[u8]) -> bool {
        self.elf.build_id() == Some(id)
    }

    /// The symbol that covers an address.
    #[must_use]
    pub fn symbol_at(&self, address: FileAddress) -> Option<Symbol> {
        let symbol = self.symbol_before(address)?;
        (symbol.bytes == 0 || address.0 - symbol.address.0 < symbol.bytes).then_some(symbol)
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
