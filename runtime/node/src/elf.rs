//! What a node has to know of a program's file: which build it is, and whether it has debug information. It never reads that.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use object::{Object, ObjectSection, ReadCache};

/// An ELF file, looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Tells the build from all others, if the linker was told to make it (`NT_GNU_BUILD_ID`).
    pub build_id: Option<Vec<u8>>,
    /// Whether it has debug information, or the part of it that split debug information leaves in a program.
    pub has_debug_information: bool,
    /// The name of a file with the debug information of this one (`.gnu_debuglink`).
    pub debug_link: Option<String>,
}

/// Looks at a file's headers and notes. `None` when it is no ELF file that can be read.
pub fn look(file: File) -> Option<Look> {
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).ok()?;
    let has_section =
        |name: &str| elf.section_by_name(name).is_some_and(|section| section.size() > 0 && holds(&section));
    let debug_link = elf.gnu_debuglink().ok().flatten().and_then(|(name, _)| std::str::from_utf8(name).ok());
    Some(Look {
        build_id: elf.build_id().ok().flatten().filter(|id| id.len() > 1).map(<[u8]>::to_vec),
        has_debug_information: has_section(".debug_info") || has_section(".debug_line"),
        // A name, never a path: it must not lead anywhere else.
        debug_link: debug_link.and_then(|name| name.rsplit('/').next()).map(str::to_owned),
    })
}

/// Whether a section has its content in the file.
fn holds<'data>(section: &impl ObjectSection<'data>) -> bool {
    section.file_range().is_some()
}

/// The same of a path.
pub fn look_at(path: &Path) -> Option<Look> {
    look(File::open(path).ok()?)
}

/// Where a file of a build lies in a folder of such files, as gdb, lldb and distributions have it: `.build-id/ab/cdef….ENDING`.
pub fn place_of(folder: &Path, build_id: &[u8], ending: &str) -> PathBuf {
    let id = hex(build_id);
    let (first, rest) = id.split_at(id.len().min(2));
    folder.join(".build-id").join(first).join(format!("{rest}.{ending}"))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a build-id that was written in hexadecimal.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    /// SHA-512 is the longest that linkers make.
    const BYTES_MAX: usize = 64;
    let is_id = text.len() > 2
        && text.len().is_multiple_of(2)
        && text.len() <= 2 * BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    if is_id { (0..text.len()).step_by(2).map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_a_build_id_and_a_text_has_none() {
        let own = look_at(Path::new("/proc/self/exe")).unwrap();
        assert!(own.build_id.is_some_and(|id| id.len() >= 8), "the linker makes one");
        assert!(own.has_debug_information);
        assert_eq!(look_at(Path::new("/proc/self/status")), None);
        assert_eq!(look_at(Path::new("/")), None);
    }

    #[test]
    fn build_ids_are_read_and_placed() {
        assert_eq!(from_hex("abCDef"), Some(vec![0xab, 0xcd, 0xef]));
        for wrong in ["", "ab", "abc", "abcg", "+1+1", "ä0ä0", &"ab".repeat(65)] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
        let place = place_of(Path::new("/d"), &[0xab, 0xcd, 0xef], "debug");
        assert_eq!(place, Path::new("/d/.build-id/ab/cdef.debug"));
    }
}
