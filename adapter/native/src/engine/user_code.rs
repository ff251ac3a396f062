//! Which code is the user's own, and which is the library's or the runtime's.

use crate::dwarf::modules::CodeFrame;

/// First parts of paths that are not the user's.
const FRAMEWORK_CRATES: [&str; 13] = [
    "std",
    "core",
    "alloc",
    "manta",
    "manta_worker",
    "manta_guard",
    "manta_proto",
    "manta_object_store",
    "tokio",
    "rayon_core",
    "__rust_begin_short_backtrace",
    "rust_begin_unwind",
    "__rustc",
];

/// Begins the names of what the task macro adds to the user's own files.
const MACRO_PREFIX: &str = "__manta";

/// Directories of code that came from elsewhere.
const FRAMEWORK_DIRECTORIES: [&str; 4] =
    ["/rustc/", "/.cargo/registry/", "/.cargo/git/", "/lib/rustlib/src/"];

/// Is this frame the user's own code?
#[must_use]
pub fn is_user_code(frame: &CodeFrame) -> bool {
    let Some(file) = &frame.file else { return false };
    if FRAMEWORK_DIRECTORIES.iter().any(|directory| file.contains(directory)) {
        return false;
    }
    let path = frame.name.trim_start_matches(['<', '&']);
    let first = path.split("::").next().unwrap_or(path);
    !FRAMEWORK_CRATES.contains(&first) && !path.split("::").any(|part| part.starts_with(MACRO_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str, file: Option<&str>) -> CodeFrame {
        CodeFrame {
            name: name.to_owned(),
            file: file.map(str::to_owned),
            line: 1,
            column: 1,
            scope: None,
            is_inlined: false,
        }
    }

    #[test]
    fn the_library_and_the_runtime_are_not_the_users() {
        assert!(is_user_code(&frame("job::index_file", Some("/home/me/job/src/main.rs"))));
        assert!(!is_user_code(&frame("core::iter::Map::next", Some("/rustc/abc/library/core/src/iter.rs"))));
        assert!(!is_user_code(&frame("manta_worker::run", Some("/home/me/manta/runtime/worker/src/lib.rs"))));
        assert!(!is_user_code(&frame("job::_::__manta_run", Some("/home/me/job/src/main.rs"))));
        assert!(!is_user_code(&frame("main", None)));
        assert!(!is_user_code(&frame("serde::de", Some("/home/me/.cargo/registry/src/x/serde/src/de.rs"))));
    }
}
