//! Where the debug information of a stripped program may lie: in a separate file, found by the program's build-id or by the
//! name in its `.gnu_debuglink` section.
//!
//! The places are those that gdb and lldb look at, and the directories of `MANTA_DEBUG_PATH`.

use std::path::{Path, PathBuf};

use object::Object;

use super::elf::Elf;
use super::provided::Outcome;

/// Where distributions put debug files.
const SYSTEM_DIRECTORY: &str = "/usr/lib/debug";
/// Where the system keeps its own libraries. Their debug information is large, in C, and of no use to most, so it is read only
/// when its directory is named in [`PATH_VARIABLE`].
const SYSTEM_LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];
/// Names more directories, separated by colons; each has `.build-id/ab/cdef….debug`, or files by their names.
pub const PATH_VARIABLE: &str = "MANTA_DEBUG_PATH";

/// What was found, and what looked right but was not.
#[derive(Default)]
pub struct Found {
    /// The file with the debug information.
    pub file: Option<Elf>,
    /// Files that are there and cannot be used, each with the reason.
    pub refused: Vec<String>,
}

/// Is this a file of the system, by the path that its process knows?
#[must_use]
pub fn is_system(path: &Path) -> bool {
    SYSTEM_LIBRARIES.iter().any(|directory| path.starts_with(directory))
}

/// Has the user named directories of debug files? Then those of the system's own libraries are read too.
#[must_use]
pub fn wants_system() -> bool {
    std::env::var_os(PATH_VARIABLE).is_some_and(|directories| !directories.is_empty())
}

/// Looks for a program's separate debug file. `beside` is the program's own path, under the root that it sees; `provided` is what
/// was brought from elsewhere.
#[must_use]
pub fn find(program: &Elf, beside: &Path, root: &Path, provided: Option<&Outcome>) -> Found {
    let mut found = Found::default();
    let brought = provided.and_then(|outcome| outcome.as_ref().ok()).cloned();
    for candidate in brought.into_iter().chain(candidates(program, beside, root)) {
        if !candidate.is_file() {
            continue;
        }
        let name = candidate.display().to_string();
        match Elf::open(&candidate, &name) {
            Ok(file) if !file.has_debug_information() => {}
            Ok(file) if !belongs_to(&file, program) => {
                found.refused.push(format!("{name} is of another build"));
            }
            Ok(file) => {
                found.file = Some(file);
                break;
            }
            Err(error) => found.refused.push(error.to_string()),
        }
    }
    if let (None, Some(Err(reason))) = (&found.file, provided) {
        found.refused.push(format!("it was stripped, or built without it, and {reason}"));
    }
    found
}

/// The directories of debug files that the user has named.
#[must_use]
pub fn named_directories() -> Vec<PathBuf> {
    std::env::var_os(PATH_VARIABLE).iter().flat_map(std::env::split_paths).collect()
}

/// The directories for debug files, the user's own first.
fn directories(root: &Path, of_system: bool) -> Vec<PathBuf> {
    let mut directories = named_directories();
    if !of_system {
        directories.push(under(root, Path::new(SYSTEM_DIRECTORY)));
    }
    directories
}

fn candidates(program: &Elf, beside: &Path, root: &Path) -> Vec<PathBuf> {
    let inside = beside.strip_prefix(root).unwrap_or(beside);
    let directories = directories(root, is_system(&Path::new("/").join(inside)));
    let mut candidates = Vec::new();
    if let Some(id) = program.build_id().filter(|id| id.len() > 1) {
        let (first, rest) = (hex(&id[..1]), hex(&id[1..]));
        let name = PathBuf::from(format!(".build-id/{first}/{rest}.debug"));
        candidates.extend(directories.iter().map(|directory| directory.join(&name)));
    }
    let link = program.file.gnu_debuglink().ok().flatten();
    if let Some(name) = link.and_then(|(name, _)| std::str::from_utf8(name).ok()) {
        // A name, never a path: it must not lead anywhere else.
        let name = name.rsplit('/').next().unwrap_or(name);
        let folder = beside.parent().unwrap_or(Path::new("/"));
        let inside = inside.parent().unwrap_or(Path::new("/"));
        candidates.extend([folder.join(name), folder.join(".debug").join(name)]);
        for directory in &directories {
            candidates.push(directory.join(inside.strip_prefix("/").unwrap_or(inside)).join(name));
            candidates.push(directory.join(name));
        }
    }
    candidates.retain(|candidate| candidate != beside);
    candidates
}

/// A debug file has the build-id of its program; without one, the checksum that the program's link tells must be right.
fn belongs_to(file: &Elf, program: &Elf) -> bool {
    match (file.build_id(), program.build_id()) {
        (Some(own), Some(wanted)) => own == wanted,
        _ => match program.file.gnu_debuglink() {
            Ok(Some((_, checksum))) => crc32fast::hash(file.data()) == checksum,
            _ => false,
        },
    }
}

/// A path as the process knows it, seen from here.
#[must_use]
pub fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The bytes of a build-id in hexadecimal.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits =
        text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2));
    digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
