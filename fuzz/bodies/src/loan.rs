//! Program files from bytes that are given back afterwards. The engine keeps a file mapped while it lives; a fuzzer reads a million.

use std::path::PathBuf;

use manta_native::address::Address;
use manta_native::dwarf::DwarfError;
use manta_native::dwarf::image::Image;
use manta_native::dwarf::modules::Modules;
use manta_native::target::MappedModule;

/// Where the program is mapped.
pub const BASE: Address = Address(0x5555_0000_0000);
/// How much address space it has: more than its file says, so that damaged addresses are looked up too.
const BYTES: u64 = 1 << 30;

/// Calls `look` with the bytes as the only module of a process, if they can be read as a program file at all.
pub fn as_program(data: &[u8], look: impl FnOnce(&Modules)) {
    // SAFETY: all that borrows from these bytes lives in the image, which `with_image` drops before it returns, and `look` can keep
    // nothing of it: it gets a reference of a shorter life and gives nothing back.
    let forever: &'static [u8] = unsafe { std::slice::from_raw_parts(data.as_ptr(), data.len()) };
    with_image(Image::parse(forever, "fuzzed"), look);
}

/// The same with a program whose debug information the bytes are: a `.dwp` or a `.dwo` file.
pub fn as_split_of(program: &'static [u8], data: &[u8], look: impl FnOnce(&Modules)) {
    // SAFETY: as above.
    let forever: &'static [u8] = unsafe { std::slice::from_raw_parts(data.as_ptr(), data.len()) };
    with_image(Image::parse_split(program, forever, "fuzzed"), look);
}

fn with_image(image: Result<Image, DwarfError>, look: impl FnOnce(&Modules)) {
    let Ok(image) = image else { return };
    let mapped = MappedModule {
        path: PathBuf::from("/fuzzed"),
        open_path: PathBuf::from("/fuzzed"),
        start: BASE,
        end: Address(BASE.0 + BYTES),
        base: BASE,
        is_program: true,
    };
    let modules = Modules::of_images(vec![(mapped, image)]);
    look(&modules);
}
