//! The reader of an index on the disk, of which the checksum is right and something else is wrong.

use std::sync::OnceLock;

use manta_native::dwarf::image::UnitIndex;
use manta_native::dwarf::index::{Index, Key, Lists, Place, last_part};
use manta_native::dwarf::outline::{FunctionNames, Outline, name_hash};

use crate::loan::as_program;

/// The program whose index it is.
const PROGRAM: &[u8] = include_bytes!("../../corpus/dwarf/plain");
/// Where the checksum is, and what follows it.
const CHECKSUM: std::ops::Range<usize> = 12..16;

fn key() -> Key {
    Key { build_id: vec![1, 2, 3], debug_bytes: PROGRAM.len() as u64 }
}

/// An index that is whole.
fn index() -> &'static [u8] {
    static INDEX: OnceLock<Vec<u8>> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut lists = Lists::default();
        let program = PROGRAM.to_vec();
        as_program(&program, |modules| {
            let module = modules.program().expect("the seed is a program");
            for unit in module.image.unit_indices() {
                let mut names = FunctionNames::default();
                let own = module.image.unit(unit);
                let outline = Outline::read(module.image.dwarf(unit), own, Some(&mut names));
                let offset = own.header.debug_info_offset().map_or(0, |offset| offset.0 as u64);
                lists.unit(offset, &outline, names.resolve(&mut |_| None));
            }
            for path in module.image.source_paths() {
                lists.source(&path, &[Place { unit: UnitIndex(0), file: 1, lines: Some((1, 9)) }]);
            }
        });
        lists.into_bytes(&key())
    })
}

/// Changes the index: each twelve bytes of the input are a place and what is written there.
pub fn run(data: &[u8]) {
    let mut bytes = index().to_vec();
    for change in data.chunks_exact(12) {
        let (place, value) = change.split_at(4);
        let place = u32::from_le_bytes(place.try_into().expect("four bytes")) as usize % bytes.len();
        let end = (place + value.len()).min(bytes.len());
        bytes[place..end].copy_from_slice(&value[..end - place]);
    }
    let checksum = crc32fast::hash(&bytes[CHECKSUM.end..]);
    bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    // SAFETY: the index that borrows from the bytes lives in `look` only, and the bytes outlive that.
    let forever: &'static [u8] = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
    if let Ok(index) = Index::parse(forever, &key()) {
        look(&index);
    }
}

/// Everything that an index is asked.
fn look(index: &Index) {
    let units = index.unit_offsets().count();
    for unit in 0..units as u32 + 1 {
        if let Some(outline) = index.outline(UnitIndex(unit)) {
            for address in [0, 0x1000, 0x1234, u64::MAX] {
                let _ = outline.function_at(address);
            }
            for entry in (0..4000).step_by(13) {
                let _ = outline.container_of(gimli::UnitOffset(entry));
            }
        }
    }
    let _ = (index.code().len(), index.functions_named(name_hash("fib")).count());
    for path in index.source_paths().take(100) {
        let _ = index.sources_named(last_part(path));
    }
}
