//! The index of a program's debug information: which files and functions it has, and in which unit, without reading the units.
//!
//! It is one run of bytes that is used as it lies on the disk, so that opening it costs next to nothing. It is made of integers
//! only; text is offsets into its own text. Whoever reads it believes no offset: a damaged index gives less, never a crash.

pub mod build;
pub mod cache;

use std::borrow::Cow;
use std::mem::{align_of, size_of};

use object::pod::{Pod, bytes_of_slice, slice_from_all_bytes};

use super::image::UnitIndex;
use super::outline::{Container, FunctionRange, Outline};

const MAGIC: &[u8; 8] = b"MANTASYM";
/// Rises with every change of the format, of what is indexed, or of how names are hashed.
pub const VERSION: u32 = 3;
const SECTIONS: usize = 10;
const BUILD_ID_BYTES: usize = 32;
/// Magic, version, checksum, length, bytes of debug information, build-id, sections.
const HEADER_BYTES: usize = 32 + BUILD_ID_BYTES + SECTIONS * 16;
/// The checksum is of all that follows it.
const CHECKED_FROM: usize = 16;

/// Which build an index is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The program's build-id.
    pub build_id: Vec<u8>,
    /// The size of the file with the debug information: the same build may be there with more or less of it.
    pub debug_bytes: u64,
}

/// Part of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    start: u32,
    count: u32,
}

/// A unit.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct UnitRow {
    /// Its place in `.debug_info`.
    pub offset: u64,
    functions: Span,
    ranges: Span,
    containers: Span,
    globals: Span,
}

/// Code of a unit. Sorted by start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CodeRange {
    /// Where it begins, as in the file.
    pub begin: u64,
    /// One past its end.
    pub end: u64,
    /// Whose it is.
    pub unit: u32,
    /// Always 0.
    pub unused: u32,
}

/// A function's name in the code of a function, itself or inlined. Sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct NameRow {
    hash: u32,
    unit: u32,
    function: u32,
}

/// A source file. Sorted by the hash of the path's last part.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PathRow {
    hash: u32,
    text: Span,
    places: Span,
}

/// A source file in a unit's own list.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PlaceRow {
    unit: u32,
    file: u32,
    first_line: u32,
    last_line: u32,
}

impl PlaceRow {
    fn place(&self) -> Place {
        Place { unit: UnitIndex(self.unit), file: self.file, lines: Some((self.first_line, self.last_line)) }
    }
}

// SAFETY: each of these consists of integers only, without padding, and any bits are a value.
unsafe impl Pod for Span {}
// SAFETY: as above.
unsafe impl Pod for UnitRow {}
// SAFETY: as above.
unsafe impl Pod for CodeRange {}
// SAFETY: as above.
unsafe impl Pod for NameRow {}
// SAFETY: as above.
unsafe impl Pod for PathRow {}
// SAFETY: as above.
unsafe impl Pod for PlaceRow {}

/// A source file, and where units list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, as the compiler knew it.
    pub path: Cow<'static, str>,
    /// Units that list it.
    pub places: Vec<Place>,
}

/// A source file in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The unit.
    pub unit: UnitIndex,
    /// The file's number in its list.
    pub file: u32,
    /// The first and the last line with code, when they are known; 0 when the unit has none.
    pub lines: Option<(u32, u32)>,
}

/// An index that can be asked.
pub struct Index {
    units: &'static [UnitRow],
    code: &'static [CodeRange],
    functions: &'static [u32],
    ranges: &'static [FunctionRange],
    containers: &'static [Container],
    globals: &'static [u32],
    names: &'static [NameRow],
    paths: &'static [PathRow],
    places: &'static [PlaceRow],
    text: &'static [u8],
}

/// Takes a part of a list, or nothing when the index is damaged.
fn part<T>(list: &'static [T], span: Span) -> &'static [T] {
    let start = span.start as usize;
    start.checked_add(span.count as usize).and_then(|end| list.get(start..end)).unwrap_or(&[])
}

impl Index {
    /// Looks at the bytes of an index; says what is wrong with those that cannot be used.
    pub fn parse(data: &'static [u8], key: &Key) -> Result<Self, String> {
        let header = data.get(..HEADER_BYTES).ok_or("it is too short")?;
        if &header[..8] != MAGIC {
            return Err("it is no index".to_owned());
        }
        let version = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(format!("it has version {version} and not {VERSION}"));
        }
        let checksum = u32::from_le_bytes(header[12..16].try_into().expect("four bytes"));
        if number(header, 16) != data.len() as u64 || crc32fast::hash(&data[CHECKED_FROM..]) != checksum {
            return Err("its checksum is wrong".to_owned());
        }
        if number(header, 24) != key.debug_bytes || header[32..32 + BUILD_ID_BYTES] != build_id_field(key) {
            return Err("it is of another build".to_owned());
        }
        let mut sections = [&data[..0]; SECTIONS];
        for (place, section) in sections.iter_mut().enumerate() {
            let at = 32 + BUILD_ID_BYTES + place * 16;
            let (start, bytes) = (number(header, at) as usize, number(header, at + 8) as usize);
            *section = start
                .checked_add(bytes)
                .and_then(|end| data.get(start..end))
                .ok_or("one of its sections is outside of it")?;
        }
        let [units, code, functions, ranges, containers, globals, names, paths, places, text] = sections;
        Ok(Self {
            units: list(units)?,
            code: list(code)?,
            functions: list(functions)?,
            ranges: list(ranges)?,
            containers: list(containers)?,
            globals: list(globals)?,
            names: list(names)?,
            paths: list(paths)?,
            places: list(places)?,
            text,
        })
    }

    /// Where the units begin in `.debug_info`.
    pub fn unit_offsets(&self) -> impl Iterator<Item = u64> {
        self.units.iter().map(|unit| unit.offset)
    }

    /// The code of all units.
    #[must_use]
    pub fn code(&self) -> &'static [CodeRange] {
        self.code
    }

    /// What a unit holds.
    #[must_use]
    pub fn outline(&self, unit: UnitIndex) -> Option<Outline> {
        let unit = self.units.get(unit.0 as usize)?;
        Some(Outline {
            functions: part(self.functions, unit.functions).into(),
            ranges: part(self.ranges, unit.ranges).into(),
            containers: part(self.containers, unit.containers).into(),
            globals: part(self.globals, unit.globals).into(),
        })
    }

    /// Functions in whose code a name with this hash is: unit, and number in the unit.
    pub fn functions_named(&self, hash: u32) -> impl Iterator<Item = (UnitIndex, usize)> {
        let from = self.names.partition_point(|name| name.hash < hash);
        let named = self.names[from..].iter().take_while(move |name| name.hash == hash);
        let units = self.units.len();
        named
            .filter(move |name| (name.unit as usize) < units)
            .map(|name| (UnitIndex(name.unit), name.function as usize))
    }

    fn source(&self, path: &PathRow) -> SourceFile {
        let text = std::str::from_utf8(part(self.text, path.text)).unwrap_or("");
        let places = part(self.places, path.places).iter();
        let places = places.filter(|place| (place.unit as usize) < self.units.len());
        SourceFile { path: Cow::Borrowed(text), places: places.map(PlaceRow::place).collect() }
    }

    /// Source files whose path ends in this part.
    #[must_use]
    pub fn sources_named(&self, name: &str) -> Vec<SourceFile> {
        let hash = crc32fast::hash(name.as_bytes());
        let from = self.paths.partition_point(|path| path.hash < hash);
        let same = self.paths[from..].iter().take_while(|path| path.hash == hash);
        same.map(|path| self.source(path)).filter(|source| last_part(&source.path) == name).collect()
    }

    /// Paths of all source files.
    pub fn source_paths(&self) -> impl Iterator<Item = &'static str> {
        self.paths.iter().map(|path| std::str::from_utf8(part(self.text, path.text)).unwrap_or(""))
    }
}

/// The part of a path behind its last separator.
#[must_use]
pub fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn build_id_field(key: &Key) -> [u8; BUILD_ID_BYTES] {
    let mut field = [0; BUILD_ID_BYTES];
    let len = key.build_id.len().min(BUILD_ID_BYTES);
    field[..len].copy_from_slice(&key.build_id[..len]);
    field
}

fn list<T: Pod>(bytes: &'static [u8]) -> Result<&'static [T], String> {
    slice_from_all_bytes(bytes).map_err(|()| "one of its sections has a wrong size".to_owned())
}

/// The lists of an index that is being made.
#[derive(Default)]
pub struct Lists {
    units: Vec<UnitRow>,
    /// The code of all units, in any order.
    pub code: Vec<CodeRange>,
    functions: Vec<u32>,
    ranges: Vec<FunctionRange>,
    containers: Vec<Container>,
    globals: Vec<u32>,
    names: Vec<NameRow>,
    paths: Vec<PathRow>,
    places: Vec<PlaceRow>,
    text: Vec<u8>,
}

fn append<T: Copy>(list: &mut Vec<T>, more: &[T]) -> Span {
    let start = list.len() as u32;
    list.extend_from_slice(more);
    Span { start, count: more.len() as u32 }
}

impl Lists {
    /// Adds the next unit.
    pub fn unit(&mut self, offset: u64, outline: &Outline, names: impl IntoIterator<Item = (u32, u32)>) {
        let unit = self.units.len() as u32;
        self.names.extend(names.into_iter().map(|(hash, function)| NameRow { hash, unit, function }));
        self.units.push(UnitRow {
            offset,
            functions: append(&mut self.functions, &outline.functions),
            ranges: append(&mut self.ranges, &outline.ranges),
            containers: append(&mut self.containers, &outline.containers),
            globals: append(&mut self.globals, &outline.globals),
        });
    }

    /// Adds a source file.
    pub fn source(&mut self, path: &str, places: &[Place]) {
        let row = |place: &Place| {
            let (first_line, last_line) = place.lines.unwrap_or((0, 0));
            PlaceRow { unit: place.unit.0, file: place.file, first_line, last_line }
        };
        let rows: Vec<_> = places.iter().map(row).collect();
        self.paths.push(PathRow {
            hash: crc32fast::hash(last_part(path).as_bytes()),
            text: append(&mut self.text, path.as_bytes()),
            places: append(&mut self.places, &rows),
        });
    }

    /// The bytes of the index.
    #[must_use]
    pub fn into_bytes(mut self, key: &Key) -> Vec<u8> {
        self.code.sort_by_key(|range| range.begin);
        self.names.sort_unstable();
        self.names.dedup();
        self.paths.sort_by_key(|path| path.hash);
        let sections: [&[u8]; SECTIONS] = [
            bytes_of_slice(&self.units),
            bytes_of_slice(&self.code),
            bytes_of_slice(&self.functions),
            bytes_of_slice(&self.ranges),
            bytes_of_slice(&self.containers),
            bytes_of_slice(&self.globals),
            bytes_of_slice(&self.names),
            bytes_of_slice(&self.paths),
            bytes_of_slice(&self.places),
            &self.text,
        ];
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[24..32].copy_from_slice(&key.debug_bytes.to_le_bytes());
        bytes[32..32 + BUILD_ID_BYTES].copy_from_slice(&build_id_field(key));
        for (place, section) in sections.into_iter().enumerate() {
            bytes.resize(bytes.len().next_multiple_of(align_of::<u64>()), 0);
            let at = 32 + BUILD_ID_BYTES + place * 16;
            let start = bytes.len() as u64;
            bytes[at..at + 8].copy_from_slice(&start.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&(section.len() as u64).to_le_bytes());
            bytes.extend_from_slice(section);
        }
        let length = bytes.len() as u64;
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[CHECKED_FROM..]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

// The lists are used where they lie: their rows may need no more alignment than the sections have.
const _: () = assert!(align_of::<UnitRow>() <= 8 && size_of::<UnitRow>() == 40);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dwarf::outline::name_hash;

    fn key() -> Key {
        Key { build_id: vec![1, 2, 3], debug_bytes: 77 }
    }

    fn place(unit: u32, file: u32) -> Place {
        Place { unit: UnitIndex(unit), file, lines: Some((3, 9)) }
    }

    fn bytes() -> Vec<u8> {
        let mut lists = Lists::default();
        let outline = Outline {
            functions: vec![5].into(),
            ranges: vec![FunctionRange { begin: 16, end: 32, function: 0, unused: 0 }].into(),
            ..Outline::default()
        };
        lists.unit(0, &Outline::default(), []);
        lists.unit(100, &outline, [(name_hash("work"), 0), (name_hash("other"), 0)]);
        lists.code.push(CodeRange { begin: 16, end: 32, unit: 1, unused: 0 });
        lists.source("/job/src/main.rs", &[place(1, 2)]);
        lists.source("/other/src/main.rs", &[place(0, 1), place(1, 3)]);
        lists.into_bytes(&key())
    }

    fn parse(bytes: &[u8], key: &Key) -> Result<Index, String> {
        // Aligned as a mapping is.
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        object::pod::bytes_of_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Index::parse(&bytes_of_slice(words.leak())[..bytes.len()], key)
    }

    #[test]
    fn what_was_put_in_is_found() {
        let index = parse(&bytes(), &key()).unwrap();
        assert_eq!(index.unit_offsets().collect::<Vec<_>>(), [0, 100]);
        assert_eq!(index.functions_named(name_hash("work")).collect::<Vec<_>>(), [(UnitIndex(1), 0)]);
        assert_eq!(index.functions_named(name_hash("nothing")).count(), 0);
        let sources = index.sources_named("main.rs");
        assert_eq!(sources.len(), 2);
        let own = sources.iter().find(|source| source.path == "/job/src/main.rs").unwrap();
        assert_eq!(own.places, [place(1, 2)]);
        assert_eq!(index.outline(UnitIndex(1)).unwrap().function_at(20), Some(0));
        assert_eq!(index.outline(UnitIndex(1)).unwrap().function_at(32), None);
        assert!(index.outline(UnitIndex(2)).is_none());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let whole = bytes();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            assert!(parse(&damaged, &key()).is_err(), "byte {at}");
        }
        for length in [0, 8, HEADER_BYTES - 1, HEADER_BYTES, whole.len() - 1] {
            assert!(parse(&whole[..length], &key()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn an_index_of_another_build_is_refused() {
        let other = Key { debug_bytes: 78, ..key() };
        assert_eq!(parse(&bytes(), &other).err().unwrap(), "it is of another build");
        let other = Key { build_id: vec![1, 2, 4], ..key() };
        assert_eq!(parse(&bytes(), &other).err().unwrap(), "it is of another build");
    }
}
