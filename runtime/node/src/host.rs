//! What all nodes of one process share: the folder for sockets and logs, and the watcher that cleans up after them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{session_dir::SessionDir, watcher::Watcher};

/// A process that runs nodes.
pub struct Host {
    manta: PathBuf,
    // Removed before the watcher looks around for the last time.
    session_dir: SessionDir,
    watcher: Mutex<Watcher>,
}

impl Host {
    /// Makes the session folder `name` and starts the watcher with the `manta` binary.
    ///
    /// # Errors
    /// When either is not possible.
    pub fn create(name: &str, manta: PathBuf) -> io::Result<Arc<Self>> {
        let session_dir = SessionDir::create(name)?;
        let mut watcher = Watcher::start(&manta)?;
        watcher.add_folder(session_dir.path())?;
        Ok(Arc::new(Self { manta, session_dir, watcher: Mutex::new(watcher) }))
    }

    /// The folder for sockets and logs.
    #[must_use]
    pub fn session_dir(&self) -> &Path {
        self.session_dir.path()
    }

    /// The `manta` binary.
    #[must_use]
    pub fn manta(&self) -> &Path {
        &self.manta
    }

    pub(crate) fn also_remove(&self, folder: &Path) -> io::Result<()> {
        self.session_dir.also_remove(folder)?;
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner).add_folder(folder)
    }

    pub(crate) fn watch_group(&self, group: u32) {
        self.tell(|watcher| watcher.add_group(group));
    }

    pub(crate) fn forget_group(&self, group: u32) {
        self.tell(|watcher| watcher.remove_group(group));
    }

    fn tell(&self, what: impl FnOnce(&mut Watcher) -> io::Result<()>) {
        if let Err(error) = what(&mut self.watcher.lock().unwrap_or_else(PoisonError::into_inner)) {
            tracing::error!(%error, "the watcher is gone; workers end by their own watch only");
        }
    }
}
