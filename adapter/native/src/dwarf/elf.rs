//! An ELF file: mapped once, its sections taken as they are needed, compressed ones unpacked.
//!
//! A file is mapped once and stays mapped while the engine lives: an agent serves one process and ends with it. Nothing here
//! knows what is in a section.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::bufread::ZlibDecoder;
use gimli::{EndianSlice, LittleEndian, SectionId};
use memmap2::Mmap;
use object::{CompressionFormat, Object, ObjectSection};

use super::{DwarfError, Slice};
use crate::limits::{SECTION_BYTES_MAX, UNPACKED_BYTES_MAX, UNPACKED_RATIO_MAX};

/// Nothing, as a section.
#[must_use]
pub fn empty() -> Slice {
    EndianSlice::new(&[], LittleEndian)
}

/// A file.
pub struct Elf {
    name: String,
    /// Its headers.
    pub file: object::File<'static>,
    data: &'static [u8],
    unpacked: RefCell<HashMap<String, Slice>>,
    damage: RefCell<BTreeSet<String>>,
}

impl Elf {
    /// Maps a file and reads its headers.
    pub fn open(open_path: &Path, name: &str) -> Result<Self, DwarfError> {
        let open_error = |cause| DwarfError::Open { path: name.to_owned(), cause };
        let file = File::open(open_path).map_err(open_error)?;
        // SAFETY: the mapping is private and read-only. A program file that is overwritten in place while it runs would
        // break the running program as well; the kernel forbids it (ETXTBSY).
        let map = unsafe { Mmap::map(&file) }.map_err(open_error)?;
        Self::parse(Box::leak(Box::new(map)), name)
    }

    /// Reads the headers of a file that is in memory.
    pub fn parse(data: &'static [u8], name: &str) -> Result<Self, DwarfError> {
        let file =
            object::File::parse(data).map_err(|cause| DwarfError::Elf { path: name.to_owned(), cause })?;
        Ok(Self {
            name: name.to_owned(),
            file,
            data,
            unpacked: RefCell::default(),
            damage: RefCell::default(),
        })
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole file.
    #[must_use]
    pub fn data(&self) -> &'static [u8] {
        self.data
    }

    /// A section's content; empty when there is none, or none that can be read: [`Self::damage`] says why.
    #[must_use]
    pub fn section(&self, name: &str) -> Slice {
        let Some(section) = self.file.section_by_name(name) else { return empty() };
        let packed =
            section.compressed_file_range().is_ok_and(|range| range.format != CompressionFormat::None);
        if !packed {
            // A section that keeps its place but not its content, as in a separate debug file, has no data.
            return section.data().map_or_else(|_| empty(), |data| EndianSlice::new(data, LittleEndian));
        }
        if let Some(known) = self.unpacked.borrow().get(name) {
            return *known;
        }
        let content = self.unpack(&section).unwrap_or_else(|reason| {
            self.damage.borrow_mut().insert(format!("its section {name} cannot be unpacked ({reason})"));
            empty()
        });
        self.unpacked.borrow_mut().insert(name.to_owned(), content);
        content
    }

    /// gABI, "Section compression": a header with the size, then a stream of zlib or zstd.
    fn unpack(&self, section: &object::Section<'static, '_>) -> Result<Slice, String> {
        let packed = section.compressed_data().map_err(|error| error.to_string())?;
        let so_far: usize = self.unpacked.borrow().values().map(|slice| slice.len()).sum();
        // The size is what the file claims; a damaged one must not take the machine's memory.
        if packed.uncompressed_size > SECTION_BYTES_MAX
            || packed.uncompressed_size + so_far as u64 > UNPACKED_BYTES_MAX
        {
            return Err(format!("{} bytes are more than is unpacked", packed.uncompressed_size));
        }
        if packed.uncompressed_size / UNPACKED_RATIO_MAX > packed.data.len() as u64 {
            return Err(format!("{} bytes cannot be in {}", packed.uncompressed_size, packed.data.len()));
        }
        let data = match packed.format {
            // Read to the end of the stream, where its checksum is.
            CompressionFormat::Zlib => {
                let mut data = Vec::with_capacity(packed.uncompressed_size as usize);
                let mut stream = ZlibDecoder::new(packed.data).take(packed.uncompressed_size + 1);
                stream.read_to_end(&mut data).map_err(|error| error.to_string())?;
                data
            }
            _ => packed.decompress().map_err(|error| error.to_string())?.into_owned(),
        };
        if data.len() as u64 != packed.uncompressed_size {
            return Err(format!("it has {} bytes and not {}", data.len(), packed.uncompressed_size));
        }
        Ok(EndianSlice::new(Box::leak(data.into_boxed_slice()), LittleEndian))
    }

    /// What of the file could not be read so far.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        let damage = self.damage.borrow();
        (!damage.is_empty()).then(|| damage.iter().cloned().collect::<Vec<_>>().join(", "))
    }

    /// How large a section is in the file; 0 when there is none.
    #[must_use]
    pub fn section_bytes(&self, name: &str) -> u64 {
        self.file.section_by_name(name).map_or(0, |section| section.size())
    }

    /// Has it debug information, or the part that skeletons leave in a program?
    #[must_use]
    pub fn has_debug_information(&self) -> bool {
        self.section_bytes(".debug_info") > 0 || self.section_bytes(".debug_line") > 0
    }

    /// The debug information of a program, or of a separate debug file.
    pub fn dwarf(&self) -> Result<gimli::Dwarf<Slice>, gimli::Error> {
        gimli::Dwarf::load(|id: SectionId| Ok(self.section(id.name())))
    }

    /// The debug information of a `.dwo` file.
    pub fn split_dwarf(&self) -> Result<gimli::Dwarf<Slice>, gimli::Error> {
        gimli::Dwarf::load(|id: SectionId| Ok(id.dwo_name().map_or_else(empty, |name| self.section(name))))
    }

    /// Does it have the index that only a `.dwp` file has?
    #[must_use]
    pub fn is_package(&self) -> bool {
        self.section_bytes(".debug_cu_index") > 0
    }

    /// The debug information of many `.dwo` files, in a `.dwp` file.
    pub fn package(&self) -> Result<gimli::DwarfPackage<Slice>, gimli::Error> {
        let section = |id: SectionId| Ok(id.dwo_name().map_or_else(empty, |name| self.section(name)));
        gimli::DwarfPackage::load(section, empty())
    }

    /// What tells this build from all others.
    #[must_use]
    pub fn build_id(&self) -> Option<&'static [u8]> {
        self.file.build_id().ok()?
    }
}
