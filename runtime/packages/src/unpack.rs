//! Packages become folders again.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufReader},
    path::Path,
};

use sha2::{Digest, Sha256};

/// The SHA-256 of what passes by.
#[derive(Debug, Default, Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes more bytes in.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The hash in hex.
    #[must_use]
    pub fn finish(self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0.finalize() {
            // Writing to a string does not fail.
            let _written = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Whether a text can be the id of a package, and so the name of its file.
#[must_use]
pub fn is_package_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Why a package was not unpacked.
#[derive(Debug, thiserror::Error)]
#[error("a package cannot be unpacked: {0}")]
pub struct UnpackError(#[from] io::Error);

/// Unpacks a package into a folder that exists, and answers with the bytes that its files have.
///
/// # Errors
/// When the package is damaged, or the folder cannot be written.
pub fn unpack(package: &Path, folder: &Path) -> Result<u64, UnpackError> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(package)?));
    archive.set_preserve_mtime(true);
    let mut bytes = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        bytes += entry.size();
        if !entry.unpack_in(folder)? {
            let name = entry.path()?.display().to_string();
            return Err(UnpackError(io::Error::other(format!("'{name}' leads out of its folder"))));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::{PackError, PackageSource, pack};

    fn source(path: &Path) -> PackageSource {
        PackageSource { path: path.to_owned(), keep_name: false, excludes: Vec::new(), gitignore: true }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut left = vec![folder.to_owned()];
        while let Some(next) = left.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    found.push(path.strip_prefix(folder).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_folder_comes_back_as_it_was_without_what_is_left_out() {
        let from = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("main.py", "x"),
            ("pkg/a.py", "a"),
            ("pkg/big.bin", "b"),
            ("log.txt", "l"),
            (".env", "e"),
            (".git/config", "g"),
            ("pkg/__pycache__/a.pyc", "c"),
            (".gitignore", "*.txt\n"),
        ] {
            fs::create_dir_all(from.path().join(name).parent().unwrap()).unwrap();
            fs::write(from.path().join(name), text).unwrap();
        }
        fs::set_permissions(from.path().join("main.py"), fs::Permissions::from_mode(0o755)).unwrap();
        let source = PackageSource { excludes: vec!["*.bin".to_owned()], ..source(from.path()) };
        let package = pack(&source).unwrap();
        let to = tempfile::tempdir().unwrap();
        unpack(package.file.path(), to.path()).unwrap();
        assert_eq!(names(to.path()), [".env", ".gitignore", "main.py", "pkg/a.py"]);
        assert_eq!(fs::metadata(to.path().join("main.py")).unwrap().permissions().mode() & 0o777, 0o755);
        let again = pack(&source).unwrap();
        assert_eq!(
            (&again.id, again.bytes),
            (&package.id, package.bytes),
            "equal folders make equal packages"
        );
        fs::write(from.path().join("main.py"), "y").unwrap();
        assert_ne!(pack(&source).unwrap().id, package.id);
        let mut hasher = Hasher::default();
        hasher.update(&fs::read(package.file.path()).unwrap());
        assert_eq!(hasher.finish(), package.id);
    }

    #[test]
    fn a_module_keeps_its_name_and_an_archive_its_content() {
        let from = tempfile::tempdir().unwrap();
        fs::create_dir(from.path().join("mod")).unwrap();
        fs::write(from.path().join("mod/__init__.py"), "").unwrap();
        let to = tempfile::tempdir().unwrap();
        let module = PackageSource { keep_name: true, ..source(&from.path().join("mod")) };
        unpack(pack(&module).unwrap().file.path(), to.path()).unwrap();
        assert_eq!(names(to.path()), ["mod/__init__.py"]);
        let path = from.path().join("a.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file("x/y.py", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"y").unwrap();
        zip.finish().unwrap();
        let to = tempfile::tempdir().unwrap();
        unpack(pack(&source(&path)).unwrap().file.path(), to.path()).unwrap();
        assert_eq!(names(to.path()), ["x/y.py"]);
    }

    #[test]
    fn what_is_not_there_or_no_package_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let missing = pack(&source(&folder.path().join("no"))).unwrap_err();
        assert!(matches!(missing, PackError::Missing(_)), "{missing}");
        fs::write(folder.path().join("a.txt"), "").unwrap();
        let file = pack(&source(&folder.path().join("a.txt"))).unwrap_err();
        assert!(file.to_string().contains("neither a folder nor a .zip file"), "{file}");
        fs::write(folder.path().join("a.zip"), "no zip").unwrap();
        let damaged = pack(&source(&folder.path().join("a.zip"))).unwrap_err();
        assert!(damaged.to_string().contains("no zip archive"), "{damaged}");
        let pattern = PackageSource { excludes: vec!["[z-a]".to_owned()], ..source(folder.path()) };
        assert!(pack(&pattern).unwrap_err().to_string().contains("'[z-a]' in 'excludes' is no pattern"));
    }

    #[test]
    fn a_package_that_leads_out_of_its_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evil.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.as_old_mut().name[..9].copy_from_slice(b"../escape");
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
        tar.finish().unwrap();
        drop(tar);
        let to = folder.path().join("to");
        fs::create_dir(&to).unwrap();
        assert!(unpack(&path, &to).unwrap_err().to_string().contains("leads out"));
        assert!(!folder.path().join("escape").exists());
    }
}
