//! Names of files that nobody knows of yet but the process that writes them, so that they go when that process is killed.
//!
//! While an object is being written its file has a name with the writer's process id. When it is sealed it keeps a second one, its
//! *mark*, until the node has heard of it.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use manta_proto::ids::ObjectId;

/// How marks end.
const MARK: &str = ".sealed";

/// A name of this process' own for an object that is not yet to be seen.
pub(crate) fn unsealed(folder: &Path, id: ObjectId) -> PathBuf {
    static WRITERS: AtomicU64 = AtomicU64::new(0);
    let number = WRITERS.fetch_add(1, Ordering::Relaxed);
    folder.join(format!(".{id}.{}.{number}", std::process::id()))
}

/// The second name of what this process has sealed.
pub(crate) fn mark(folder: &Path, id: ObjectId, pid: u32) -> PathBuf {
    folder.join(format!(".{id}.{pid}{MARK}"))
}

/// Whether a file's name is a mark.
pub(crate) fn is_mark(name: &str) -> bool {
    name.ends_with(MARK)
}

/// Gives a file that is about to be sealed its mark.
pub(crate) fn set(unsealed: &Path, folder: &Path, id: ObjectId) -> std::io::Result<()> {
    match fs::hard_link(unsealed, mark(folder, id, std::process::id())) {
        // It is written anew before the node has heard of it.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// All files of which only this process knew: what it had not sealed, and what it sealed without the node's ever hearing of it.
pub(crate) fn left_by(folder: &Path, pid: u32) -> Vec<PathBuf> {
    let of_it = format!(".{pid}.");
    let mut left = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') || !name.contains(&of_it) {
            continue;
        }
        if is_mark(&name)
            && let Some(id) = name.get(1..).and_then(|rest| ObjectId::from_hex(rest.split('.').next()?))
        {
            let sealed = folder.join(id.to_string());
            // Another process may have made the object again.
            if inode(&sealed) == inode(&entry.path()) {
                left.push(sealed);
            }
        }
        left.push(entry.path());
    }
    left
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|data| data.ino())
}
