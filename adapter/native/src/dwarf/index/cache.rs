//! Indices kept on the disk, one file a build, in `$XDG_CACHE_HOME/manta/symbols` (or `~/.cache/manta/symbols`).
//!
//! A file appears whole or not at all, and is never changed after that: agents may read and write at the same time. One that
//! cannot be used is left to be replaced. All of them together stay under a limit; the one that was not used for longest goes first.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use memmap2::Mmap;

use super::{Index, Key};
use crate::dwarf::separate::hex;
use crate::limits::SYMBOL_CACHE_BYTES_MAX;

const ENDING: &str = "index";
/// A writer that takes longer was killed.
const WRITE_TIME_MAX: Duration = Duration::from_secs(600);

/// Where the indices of this user are. None without a home.
#[must_use]
pub fn directory() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("manta/symbols"))
}

fn path_in(directory: &Path, key: &Key) -> PathBuf {
    directory.join(format!("{}.{ENDING}", hex(&key.build_id)))
}

/// The index of a build, when there is one. An error is the sentence that says why it is not used.
pub fn load(directory: &Path, key: &Key) -> Result<Option<Index>, String> {
    let path = path_in(directory, key);
    let unusable = |reason: String| {
        format!("The symbol index {} is not used: {reason}. It is made anew.", path.display())
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(error.to_string())),
    };
    // SAFETY: the mapping is private and read-only, and nobody changes such a file: it is replaced as a whole, which leaves
    // this one's content where it is.
    let map = unsafe { Mmap::map(&file) }.map_err(|error| unusable(error.to_string()))?;
    let index = Index::parse(Box::leak(Box::new(map)), key).map_err(unusable)?;
    // Tells the one that makes room that this one is in use; a cache that may only be read serves as well.
    let _ = file.set_modified(SystemTime::now());
    Ok(Some(index))
}

/// A right to make the index of a build, so that not every agent of a node does.
pub struct Turn {
    _lock: File,
}

/// Takes the right, unless another agent has it.
#[must_use]
pub fn turn(directory: &Path, key: &Key) -> Option<Turn> {
    make(directory).ok()?;
    let path = directory.join(format!("{}.lock", hex(&key.build_id)));
    let lock = File::options().create(true).append(true).mode(0o600).open(path).ok()?;
    lock.try_lock().ok()?;
    Some(Turn { _lock: lock })
}

fn make(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Keeps an index, and makes room for it.
pub fn store(directory: &Path, key: &Key, bytes: &[u8]) -> io::Result<()> {
    make(directory)?;
    let mut file =
        tempfile::Builder::new().prefix(&hex(&key.build_id)).suffix(".part").tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.persist(path_in(directory, key)).map_err(|error| error.error)?;
    make_room(directory, SYMBOL_CACHE_BYTES_MAX)
}

/// Removes what was not used for longest until the rest is small enough, and what killed writers have left.
fn make_room(directory: &Path, most: u64) -> io::Result<()> {
    let now = SystemTime::now();
    let mut kept = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // Another agent may have removed it in between.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let is_old = now.duration_since(used).is_ok_and(|age| age > WRITE_TIME_MAX);
        match path.extension().and_then(|ending| ending.to_str()) {
            Some(ENDING) => kept.push((used, metadata.len(), path)),
            Some("part") if is_old => fs::remove_file(&path).or_else(gone)?,
            _ => {}
        }
    }
    kept.sort();
    let mut total: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in kept {
        if total <= most {
            break;
        }
        fs::remove_file(&path).or_else(gone)?;
        total -= bytes;
    }
    Ok(())
}

fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dwarf::index::Lists;

    fn key(id: u8) -> Key {
        Key { build_id: vec![id; 20], debug_bytes: 1 }
    }

    #[test]
    fn what_is_kept_is_found_again_by_its_build_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path(), &key(1)).unwrap().is_none());
        store(folder.path(), &key(1), &Lists::default().into_bytes(&key(1))).unwrap();
        assert!(load(folder.path(), &key(1)).unwrap().is_some());
        assert!(load(folder.path(), &key(2)).unwrap().is_none());
    }

    #[test]
    fn a_damaged_file_is_told_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path_in(folder.path(), &key(1)), "rubbish").unwrap();
        let reason = load(folder.path(), &key(1)).err().unwrap();
        assert!(reason.contains("is not used: it is too short"), "{reason}");
        store(folder.path(), &key(1), &Lists::default().into_bytes(&key(1))).unwrap();
        assert!(load(folder.path(), &key(1)).unwrap().is_some());
    }

    #[test]
    fn one_agent_at_a_time_makes_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let first = turn(folder.path(), &key(1));
        assert!(first.is_some() && turn(folder.path(), &key(1)).is_none());
        assert!(turn(folder.path(), &key(2)).is_some());
        drop(first);
        assert!(turn(folder.path(), &key(1)).is_some());
    }

    #[test]
    fn two_writers_leave_one_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = Lists::default().into_bytes(&key(1));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..50).for_each(|_| store(folder.path(), &key(1), &bytes).unwrap()));
            }
            for _ in 0..100 {
                assert!(load(folder.path(), &key(1)).is_ok(), "never half a file");
            }
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_one_that_was_not_used_for_longest_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        for id in 1..=3 {
            let path = path_in(folder.path(), &key(id));
            fs::write(&path, [0; 100]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(100 - u64::from(id));
            File::options().append(true).open(path).unwrap().set_modified(used).unwrap();
        }
        make_room(folder.path(), 250).unwrap();
        let left = |id| path_in(folder.path(), &key(id)).exists();
        assert_eq!([left(1), left(2), left(3)], [false, true, true]);
    }
}
