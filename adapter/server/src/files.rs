//! The client's files: the adapter runs where the editor runs.

use std::path::Path;

use manta_session::ClientFiles;

/// The files of this machine.
pub(crate) struct LocalFiles;

impl ClientFiles for LocalFiles {
    fn exists(&self, path: &str) -> bool {
        Path::new(path).is_file()
    }
}
