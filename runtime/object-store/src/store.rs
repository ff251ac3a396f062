//! The folder of objects, and writers into it.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use manta_proto::ids::ObjectId;
use memmap2::{Mmap, MmapMut};
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

/// Says why an object could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The memory file system is full.
    #[error(
        "the object store in {folder} has no room for {bytes} more bytes; free object refs that are no longer needed, or give \
         the machine more shared memory (its size limit is that of the file system)"
    )]
    Full {
        /// The store's folder.
        folder: PathBuf,
        /// What was asked for.
        bytes: u64,
    },
    /// Another failure of the file system.
    #[error("the object store could not {verb} {path}: {source}")]
    Io {
        /// What was being done.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A folder of sealed objects on this machine. Cheap to clone and to share with other processes.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    folder: PathBuf,
}

impl ObjectStore {
    /// Makes the folder, readable by this user alone, or takes the one that is there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn create(folder: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
            Ok(()) => Ok(Self { folder }),
            Err(source) => Err(StoreError::Io { verb: "make", path: folder, source }),
        }
    }

    /// Uses a folder that a node has made.
    #[must_use]
    pub fn attach(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where the objects are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reserves room for an object of `bytes` bytes. Nobody sees it until it is sealed.
    ///
    /// # Errors
    /// When there is no room.
    pub fn writer(&self, id: ObjectId, bytes: u64) -> Result<Writer, StoreError> {
        static WRITERS: AtomicU64 = AtomicU64::new(0);
        let number = WRITERS.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!(".{id}.{}.{number}", std::process::id()));
        let failed = |verb, source| StoreError::Io { verb, path: temporary.clone(), source };
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|source| failed("create", source))?;
        // From here on, dropping the writer removes the file.
        let mut writer =
            Writer { temporary: temporary.clone(), sealed: self.path(id), map: None, is_sealed: false };
        if bytes > 0 {
            let length = i64::try_from(bytes).map_err(|_| self.full(bytes))?;
            // Reserving the pages now turns a later SIGBUS into this error.
            match fallocate(file.as_fd(), FallocateFlags::empty(), 0, length) {
                Ok(()) => {}
                Err(Errno::ENOSPC | Errno::EFBIG | Errno::ENOMEM | Errno::EDQUOT) => {
                    return Err(self.full(bytes));
                }
                Err(errno) => return Err(failed("reserve", errno.into())),
            }
            // SAFETY: the file was made just now under a name that nobody else writes to, and is never made shorter.
            let map = unsafe { MmapMut::map_mut(&file) }.map_err(|source| failed("map", source))?;
            writer.map = Some(map);
        }
        Ok(writer)
    }

    /// The sealed object, mapped read-only; `None` when it is not here.
    ///
    /// # Errors
    /// When it is here but cannot be mapped.
    pub fn open(&self, id: ObjectId) -> Result<Option<Bytes>, StoreError> {
        let path = self.path(id);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { verb: "open", path, source }),
        };
        let length = file
            .metadata()
            .map_err(|source| StoreError::Io { verb: "open", path: path.clone(), source })?
            .len();
        if length == 0 {
            return Ok(Some(Bytes::new()));
        }
        // SAFETY: a sealed file is never written to or made shorter; unlinking it leaves the mapping valid.
        let map =
            unsafe { Mmap::map(&file) }.map_err(|source| StoreError::Io { verb: "map", path, source })?;
        Ok(Some(Bytes::from_owner(map)))
    }

    /// Whether the sealed object is here.
    #[must_use]
    pub fn contains(&self, id: ObjectId) -> bool {
        self.path(id).exists()
    }

    /// Removes the object; its memory goes when the last process has unmapped it. Whether it was here.
    ///
    /// # Errors
    /// When it is here but cannot be removed.
    pub fn delete(&self, id: ObjectId) -> Result<bool, StoreError> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoreError::Io { verb: "remove", path, source }),
        }
    }

    /// Where the sealed object is or would be: its id in hex is the file's name.
    #[must_use]
    pub fn path(&self, id: ObjectId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn full(&self, bytes: u64) -> StoreError {
        StoreError::Full { folder: self.folder.clone(), bytes }
    }
}

/// An object that is being written. Dropped before it is sealed, it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    temporary: PathBuf,
    sealed: PathBuf,
    map: Option<MmapMut>,
    is_sealed: bool,
}

impl Writer {
    /// The object's memory, zero at first.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }

    /// Shows the object to readers. A second writer of the same object replaces the first with the same bytes.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn seal(mut self) -> Result<(), StoreError> {
        match fs::rename(&self.temporary, &self.sealed) {
            Ok(()) => {
                self.is_sealed = true;
                Ok(())
            }
            Err(source) => Err(StoreError::Io { verb: "seal", path: self.sealed.clone(), source }),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_sealed {
            // The folder may be gone already, which is as good.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use manta_proto::ids::TaskId;

    use super::*;

    fn store() -> (tempfile::TempDir, ObjectStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = ObjectStore::create(folder.path().join("objects")).unwrap();
        (folder, store)
    }

    fn names(store: &ObjectStore) -> Vec<String> {
        fs::read_dir(store.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_sealed_object_is_read_and_outlives_its_file() {
        let (_folder, store) = store();
        let id = ObjectId::of(TaskId::random(), 0);
        assert!(store.open(id).unwrap().is_none());
        let mut writer = store.writer(id, 5).unwrap();
        writer.bytes_mut().copy_from_slice(b"bytes");
        assert!(!store.contains(id), "an object that is being written is not visible");
        writer.seal().unwrap();
        assert_eq!(names(&store), [id.to_string()]);
        let mapped = store.open(id).unwrap().unwrap();
        assert!(store.delete(id).unwrap());
        assert!(!store.delete(id).unwrap());
        assert_eq!(&mapped[..], b"bytes");
        assert_eq!(fs::metadata(store.folder()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn an_empty_object_is_an_object() {
        let (_folder, store) = store();
        let id = ObjectId::of(TaskId::random(), 1);
        store.writer(id, 0).unwrap().seal().unwrap();
        assert_eq!(store.open(id).unwrap().unwrap().len(), 0);
    }

    #[test]
    fn an_abandoned_writer_leaves_nothing() {
        let (_folder, store) = store();
        drop(store.writer(ObjectId::of(TaskId::random(), 0), 4096).unwrap());
        assert!(names(&store).is_empty());
    }

    #[test]
    fn a_full_file_system_is_a_sentence_and_leaves_nothing() {
        let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
        let store = ObjectStore::create(folder.path().join("objects")).unwrap();
        let error = store.writer(ObjectId::of(TaskId::random(), 0), 1 << 50).unwrap_err();
        assert!(error.to_string().contains("no room for 1125899906842624 more bytes"), "{error}");
        assert!(names(&store).is_empty());
    }
}
