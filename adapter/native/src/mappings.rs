//! The mappings of a process, as the kernel lists them and as a core file notes them. Nothing here opens a file.

use std::path::{Path, PathBuf};

use crate::address::Address;
use crate::target::MappedModule;

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: Address,
    /// One past its last address.
    pub end: Address,
    /// May it be read?
    pub is_readable: bool,
    /// May it be written?
    pub is_writable: bool,
    /// May it be run?
    pub is_executable: bool,
    /// Where in its file it begins, in bytes.
    pub offset: u64,
    /// The file, a name in brackets such as `[stack]`, or nothing.
    pub name: String,
}

impl Mapping {
    /// The mapped file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.name.starts_with('/').then(|| Path::new(&self.name))
    }

    /// Does it have this address?
    #[must_use]
    pub fn contains(&self, address: Address) -> bool {
        self.start <= address && address < self.end
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end.0 - self.start.0
    }
}

/// Reads `/proc/PID/maps` (see proc_pid_maps(5)). A line that is none of its lines is left out.
#[must_use]
pub fn parse(maps: &str) -> Vec<Mapping> {
    maps.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mapping> {
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?;
    let offset = number(words.next()?)?;
    // The device and the number of the file in it.
    let name = words.nth(2).unwrap_or("").trim_start().trim_end_matches(" (deleted)");
    let (start, end) = (Address(number(start)?), Address(number(end)?));
    (start < end).then(|| Mapping {
        start,
        end,
        is_readable: rights.contains('r'),
        is_writable: rights.contains('w'),
        is_executable: rights.contains('x'),
        offset,
        name: name.to_owned(),
    })
}

/// The parts of a program file lie about as far from each other in memory as in the file: each has its own alignment.
const STRETCH_BYTES_MAX: u64 = 4 << 20;

/// The mapped files that have code, in the order of the mappings. Which one is the program is not known here.
///
/// A file may be mapped a second time, to be read: Rust's own backtraces do that with the program and with its libraries.
#[must_use]
pub fn modules(mappings: &[Mapping]) -> Vec<MappedModule> {
    let mut modules: Vec<(MappedModule, bool)> = Vec::new();
    for mapping in mappings {
        let Some(path) = mapping.file() else { continue };
        let is_code = mapping.is_executable;
        let last = modules.last_mut().filter(|(last, has_code)| is_part_of(mapping, last, *has_code));
        if let Some((last, has_code)) = last {
            last.end = mapping.end;
            *has_code |= is_code;
        } else if mapping.offset == 0 {
            let module = MappedModule {
                open_path: PathBuf::from(path),
                path: PathBuf::from(path),
                start: mapping.start,
                end: mapping.end,
                base: mapping.start,
                is_program: false,
            };
            modules.push((module, is_code));
        }
    }
    modules.into_iter().filter(|(_, has_code)| *has_code).map(|(module, _)| module).collect()
}

/// Was this mapping made together with those of a module that were made for it so far?
fn is_part_of(mapping: &Mapping, module: &MappedModule, has_code: bool) -> bool {
    if mapping.file() != Some(&module.path) {
        return false;
    }
    if mapping.offset == 0 {
        // A file of one page may have all its parts there. The first to be read only begins a module.
        return mapping.start == module.end && (mapping.is_writable || mapping.is_executable && !has_code);
    }
    (mapping.start.0 - module.base.0).abs_diff(mapping.offset) <= STRETCH_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0-55d4 r--p 00000000 08:01 11 /home/me/my job
55d4-55d8 r-xp 00004000 08:01 11 /home/me/my job
55d8-55da rw-p 00008000 08:01 11 /home/me/my job
55da-55dc rw-p 00000000 00:00 0 [heap]
7f00-7f02 r--p 00000000 08:01 12 /usr/share/locale.db
7f10-7f12 r--p 00000000 08:01 13 /lib/libc.so (deleted)
7f12-7f18 r-xp 00002000 08:01 13 /lib/libc.so (deleted)
7f20-7f21 ---p 00000000 00:00 0
not a line at all
7ffd-7fff rw-p 00000000 00:00 0 [stack]
";

    #[test]
    fn maps_are_read() {
        let mappings = parse(MAPS);
        assert_eq!(mappings.len(), 9);
        let code = &mappings[1];
        assert_eq!((code.name.as_str(), code.offset, code.bytes()), ("/home/me/my job", 0x4000, 4));
        assert!(code.is_readable && code.is_executable && !code.is_writable);
        assert_eq!(mappings[3].file(), None);
        assert_eq!((mappings[7].name.as_str(), mappings[7].is_readable), ("", false));
        assert!(mappings[8].contains(Address(0x7ffe)) && !mappings[8].contains(Address(0x7fff)));
    }

    #[test]
    fn maps_give_the_files_with_code() {
        let modules = modules(&parse(MAPS));
        let found: Vec<_> = modules
            .iter()
            .map(|module| (module.path.to_str().unwrap(), module.start.0, module.end.0))
            .collect();
        assert_eq!(found, [("/home/me/my job", 0x55d0, 0x55da), ("/lib/libc.so", 0x7f10, 0x7f18)]);
    }

    #[test]
    fn a_file_that_is_read_through_a_mapping_is_no_module() {
        const TWICE: &str = "\
7e00-7e99 r--p 00000000 08:01 13 /lib/libc.so
7f10-7f12 r--p 00000000 08:01 13 /lib/libc.so
7f12-7f18 r-xp 00002000 08:01 13 /lib/libc.so
7f18-7f1a rw-p 00008000 08:01 13 /lib/libc.so
7f1a-7fb3 r--p 00000000 08:01 13 /lib/libc.so
8fc00000-8fc01000 r--p 00002000 08:01 13 /lib/libc.so
";
        for first in 0..2 {
            let lines: String = TWICE.lines().skip(first).map(|line| format!("{line}\n")).collect();
            let modules = modules(&parse(&lines));
            let found: Vec<_> = modules.iter().map(|module| (module.base.0, module.end.0)).collect();
            assert_eq!(found, [(0x7f10, 0x7f1a)]);
        }
    }

    #[test]
    fn a_small_file_may_have_all_its_parts_at_its_beginning() {
        const SMALL: &str = "\
5500-5510 r--p 00000000 08:01 11 /small
5510-5520 r-xp 00000000 08:01 11 /small
5520-5530 rw-p 00000000 08:01 11 /small
";
        let modules = modules(&parse(SMALL));
        assert_eq!(modules.iter().map(|module| module.end.0).collect::<Vec<_>>(), [0x5530]);
    }
}
