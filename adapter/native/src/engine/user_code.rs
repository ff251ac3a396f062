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

/// Those of them that come with the compiler.
const RUST_CRATES: [&str; 3] = ["std", "core", "alloc"];
/// In the paths of the compiler's own sources.
const RUST_DIRECTORY: &str = "/rustc/";

/// Begins the names of what the task macro adds to the user's own files.
const MACRO_PREFIX: &str = "__manta";

/// Directories of code that came from elsewhere.
const FRAMEWORK_DIRECTORIES: [&str; 4] =
    ["/rustc/", "/.cargo/registry/", "/.cargo/git/", "/lib/rustlib/src/"];

/// Is this source file the user's own?
#[must_use]
pub fn is_user_file(path: &str) -> bool {
    !FRAMEWORK_DIRECTORIES.iter().any(|directory| path.contains(directory))
}

/// Is this frame the user's own code?
#[must_use]
pub fn is_user_code(frame: &CodeFrame) -> bool {
    let Some(file) = &frame.file else { return false };
    if !is_user_file(file) {
        return false;
    }
    let path = frame.name.trim_start_matches(['<', '&']);
    let first = path.split("::").next().unwrap_or(path);
    !FRAMEWORK_CRATES.contains(&first) && !path.split("::").any(|part| part.starts_with(MACRO_PREFIX))
}

/// Whose code a frame is, for people, when it is not the user's.
#[must_use]
pub fn origin(frame: &CodeFrame) -> &'static str {
    let path = frame.name.trim_start_matches(['<', '&']);
    let first = path.split("::").next().unwrap_or(path);
    if first == "manta" || first.starts_with("manta_") || path.contains(MACRO_PREFIX) {
        "Manta's runtime"
    } else if RUST_CRATES.contains(&first)
        || frame.file.as_ref().is_some_and(|file| file.contains(RUST_DIRECTORY))
    {
        "Rust's library"
    } else {
        "a library"
    }
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
            begins_here: false,
        }
    }

    #[test]
    fn the_library_and_the_runtime_are_not_the_users() {
        assert!(is_user_code(&frame("job::index_file", Some("/home/me/job/src/main.rs"))));
        assert!(!is_user_code(&frame("core::iter::Map::next", Some("/rustc/abc/library/core/src/iter.rs"))));
        assert!(!is_user_code(&frame("manta_worker::run", Some("/home/me/manta/runtime/worker/src/lib.rs"))));
        assert!(!is_user_code(&frame("job::_::__manta_run", Some("/home/me/job/src/main.rs"))));
        assert!(!is_user_code(&frame("main", None)));
        assert_eq!(
            origin(&frame("job::_::__manta_run", Some("/home/me/job/src/main.rs"))),
            "Manta's runtime"
        );
        assert_eq!(
            origin(&frame("manta::worker::run_task", Some("/m/sdk/src/worker.rs"))),
            "Manta's runtime"
        );
        assert_eq!(
            origin(&frame("do_call", Some("/rustc/abc/library/std/src/panicking.rs"))),
            "Rust's library"
        );
        assert_eq!(
            origin(&frame("<alloc::boxed::Box as core::ops::FnOnce>::call_once", None)),
            "Rust's library"
        );
        assert_eq!(
            origin(&frame("serde::de", Some("/home/me/.cargo/registry/src/x/serde/src/de.rs"))),
            "a library"
        );
        assert!(!is_user_code(&frame("serde::de", Some("/home/me/.cargo/registry/src/x/serde/src/de.rs"))));
    }
}
