//! The folder of a running head or node: sockets and logs, for this user alone, gone when its process is.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};

/// What the name of a folder starts with before it is locked.
const UNNAMED: &str = ".new-";
/// A folder that has no name after this time never gets one.
const UNNAMED_TIME: Duration = Duration::from_secs(60);

/// A folder below `/tmp/manta-UID/`, locked as long as this value lives, and removed when it is dropped.
pub struct SessionDir {
    path: PathBuf,
    /// Folders elsewhere that belong to it.
    also: Mutex<Vec<PathBuf>>,
    _lock: Flock<File>,
}

impl SessionDir {
    /// Makes the folder `name`, and sweeps folders whose process is gone.
    ///
    /// # Errors
    /// When the folder cannot be made or belongs to somebody else.
    pub fn create(name: &str) -> io::Result<Self> {
        Self::create_below(&base()?, name)
    }

    /// Makes it below a folder of this user's.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_below(base: &Path, name: &str) -> io::Result<Self> {
        sweep(base);
        let path = base.join(name);
        // It gets its name with its lock held, so that no sweep takes it for a stale one in between.
        let unnamed = base.join(format!("{UNNAMED}{name}"));
        private_dir(&unnamed)?;
        let lock = File::create(unnamed.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io::Error::from(errno))?;
        fs::rename(&unnamed, &path)?;
        Ok(Self { path, also: Mutex::new(Vec::new()), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a folder elsewhere that is removed with this one, by whoever removes it.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn also_remove(&self, folder: &Path) -> io::Result<()> {
        let mut also = self.also.lock().unwrap_or_else(PoisonError::into_inner);
        also.push(folder.to_owned());
        let lines: Vec<_> = also.iter().map(|folder| folder.display().to_string()).collect();
        fs::write(self.path.join("also"), lines.join("\n"))
    }

    /// All folders that go with it.
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        let also = self.also.lock().unwrap_or_else(PoisonError::into_inner);
        also.iter().cloned().chain([self.path.clone()]).collect()
    }
}

impl Drop for SessionDir {
    fn drop(&mut self) {
        for folder in self.folders() {
            remove(&folder);
        }
    }
}

/// `/tmp/manta-UID`, which only this user may use.
fn base() -> io::Result<PathBuf> {
    let uid = nix::unistd::getuid();
    let path = PathBuf::from(format!("/tmp/manta-{uid}"));
    private_dir(&path)?;
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::symlink_metadata(&path)?);
    if owner != uid.as_raw() {
        let text = format!("{} belongs to user {owner}; remove it, or let that user do so", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(path)
}

fn private_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "a folder could not be removed");
        }
        _ => {}
    }
}

/// Removes the folders of processes that are gone: those whose lock nobody holds.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let folder = entry.path();
        let unnamed = entry.file_name().to_string_lossy().starts_with(UNNAMED);
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if unnamed && age().is_none_or(|age| age < UNNAMED_TIME) {
            continue;
        }
        // A folder without a lock is none of ours.
        let Ok(lock) = File::open(folder.join("lock")) else { continue };
        if let Ok(_held) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            for also in fs::read_to_string(folder.join("also")).unwrap_or_default().lines() {
                if also.starts_with("/dev/shm/manta-") {
                    remove(Path::new(also));
                }
            }
            remove(&folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_folder_is_gone_and_a_stale_one_is_swept() {
        let base = std::env::temp_dir().join(format!("manta-session-dir-test-{}", std::process::id()));
        fs::create_dir_all(base.join("stale")).unwrap();
        fs::write(base.join("stale/lock"), "").unwrap();
        let live = SessionDir::create_below(&base, "live").unwrap();
        assert!(!base.join("stale").exists());
        let other = SessionDir::create_below(&base, "other").unwrap();
        assert!(live.path().exists(), "a held folder was swept");
        assert_eq!(fs::metadata(other.path()).unwrap().permissions().mode() & 0o777, 0o700);
        drop((live, other));
        assert_eq!(fs::read_dir(&base).unwrap().count(), 0);
        fs::remove_dir(base).unwrap();
    }

    #[test]
    fn folders_made_at_the_same_time_do_not_sweep_each_other() {
        let base = std::env::temp_dir().join(format!("manta-session-dirs-test-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        let make = |thread: usize| {
            let base = base.clone();
            std::thread::spawn(move || {
                for round in 0..50 {
                    let made = SessionDir::create_below(&base, &format!("{thread}-{round}")).unwrap();
                    assert!(made.path().join("lock").exists(), "{thread}-{round} was swept");
                }
            })
        };
        let threads: Vec<_> = (0..4).map(make).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        fs::remove_dir(base).unwrap();
    }
}
