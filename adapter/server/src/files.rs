//! The client's files: the adapter runs where the editor runs.

use std::{fmt::Write as _, fs, path::Path};

use manta_session::ClientFiles;
use sha2::{Digest, Sha256};

use crate::limits::SOURCE_BYTES_MAX;

/// The files of this machine.
pub(crate) struct LocalFiles;

impl ClientFiles for LocalFiles {
    fn exists(&self, path: &str) -> bool {
        Path::new(path).is_file()
    }

    fn sha256(&self, path: &str) -> Option<String> {
        let size = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.len();
        let content = (size <= SOURCE_BYTES_MAX).then(|| fs::read(path).ok())??;
        Some(Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_content_and_what_is_no_file_by_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("job.py");
        fs::write(&file, "abc").unwrap();
        // The example of FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(LocalFiles.sha256(file.to_str().unwrap()).as_deref(), Some(abc));
        assert_eq!(LocalFiles.sha256(folder.path().to_str().unwrap()), None);
        assert_eq!(LocalFiles.sha256("/nowhere/job.py"), None);
    }
}
