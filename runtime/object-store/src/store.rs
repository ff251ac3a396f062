//! The folder of objects, and writers into it.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use manta_proto::ids::ObjectId;
use memmap2::{Mmap, MmapMut};
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

use crate::{
    StoreError, marks,
    recount::{Mend, Recount},
    usage::Usage,
    warm::{Pool, Warm},
};

/// What one process keeps to write again is at most this part of the store.
const KEPT_SHARE: u64 = 4;

/// A folder of sealed objects on this machine. Cheap to clone and to share with other processes.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    folder: PathBuf,
    usage: Option<Arc<Usage>>,
    /// Its objects are announced to a node, which removes their marks.
    announces: bool,
    pool: Arc<Mutex<Pool>>,
    recount: Arc<Mutex<Recount>>,
}

impl ObjectStore {
    /// Makes the folder, readable by this user alone, or takes the one that is there. Its objects may have `limit` bytes together.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn create(folder: impl Into<PathBuf>, limit: u64) -> Result<Self, StoreError> {
        let folder = folder.into();
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        match made.and_then(|()| Usage::create(&folder, limit)) {
            Ok(usage) => Ok(Self {
                folder,
                usage: Some(Arc::new(usage)),
                announces: false,
                pool: Arc::default(),
                recount: Arc::default(),
            }),
            Err(source) => Err(StoreError::Io { verb: "make", path: folder, source }),
        }
    }

    /// Uses a folder that a node has made, and that hears of each object: see [`ObjectStore::announced`].
    #[must_use]
    pub fn attach(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let usage = Usage::attach(&folder).inspect_err(|error| {
            tracing::warn!(folder = %folder.display(), %error, "the object store's use cannot be counted");
        });
        let usage = usage.ok().map(Arc::new);
        Self { folder, usage, announces: true, pool: Arc::default(), recount: Arc::default() }
    }

    /// Where the objects are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How much of it is in use.
    #[must_use]
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_deref()
    }

    fn give(&self, bytes: u64) {
        if let Some(usage) = &self.usage {
            usage.give(bytes);
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves room for an object of `bytes` bytes. Nobody sees it until it is sealed.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] when there is none at this moment.
    pub fn writer(&self, id: ObjectId, bytes: u64) -> Result<Writer, StoreError> {
        if let Some(warm) = self.pool().take(bytes) {
            let Warm { path, map, capacity } = warm;
            return Ok(self.new_writer(id, path, Some(map), capacity));
        }
        if let Some(usage) = &self.usage
            && usage.take(bytes).is_err()
        {
            let (folder, limit) = (self.folder.clone(), usage.limit());
            return Err(if bytes > limit {
                StoreError::TooLarge { folder, bytes, limit }
            } else {
                StoreError::NoRoom { folder, bytes }
            });
        }
        self.writer_in_room(id, bytes)
    }

    /// The same in room that was taken already, and is given back if this fails.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] when the memory file system itself is full.
    pub fn writer_in_room(&self, id: ObjectId, bytes: u64) -> Result<Writer, StoreError> {
        let temporary = marks::unsealed(&self.folder, id);
        // From here on, dropping the writer removes the file and gives its room back.
        let mut writer = self.new_writer(id, temporary.clone(), None, bytes);
        let failed = |verb, source| StoreError::Io { verb, path: temporary.clone(), source };
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|source| failed("create", source))?;
        if bytes > 0 {
            let length = i64::try_from(bytes).map_err(|_| self.no_room(bytes))?;
            // Reserving the pages now turns a later SIGBUS into this error.
            match fallocate(file.as_fd(), FallocateFlags::empty(), 0, length) {
                Ok(()) => {}
                Err(Errno::ENOSPC | Errno::EFBIG | Errno::ENOMEM | Errno::EDQUOT) => {
                    return Err(self.no_room(bytes));
                }
                Err(errno) => return Err(failed("reserve", errno.into())),
            }
            // SAFETY: the file was made just now under a name that nobody else writes to, and is never made shorter.
            let map = unsafe { MmapMut::map_mut(&file) }.map_err(|source| failed("map", source))?;
            writer.map = Some(map);
        }
        Ok(writer)
    }

    fn new_writer(&self, id: ObjectId, temporary: PathBuf, map: Option<MmapMut>, capacity: u64) -> Writer {
        let sealed = self.path(id);
        Writer { id, store: self.clone(), temporary, sealed, map, capacity, is_sealed: false }
    }

    /// The sealed object, mapped read-only; `None` when it is not here.
    ///
    /// # Errors
    /// When it is here but cannot be mapped.
    pub fn open(&self, id: ObjectId) -> Result<Option<Bytes>, StoreError> {
        let path = self.path(id);
        let reader = self.pool().reader(id);
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
        // SAFETY: a sealed file is never made shorter, and written to again only by the one process that saw it, once it reads it no
        // more; unlinking it leaves the mapping valid.
        let map =
            unsafe { Mmap::map(&file) }.map_err(|source| StoreError::Io { verb: "map", path, source })?;
        Ok(Some(Bytes::from_owner(Mapped { map, _reader: reader })))
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
        self.delete_file(self.path(id))
    }

    fn delete_file(&self, path: PathBuf) -> Result<bool, StoreError> {
        let bytes = bytes_of(&path);
        match fs::remove_file(&path) {
            Ok(()) => {
                self.give(bytes);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoreError::Io { verb: "remove", path, source }),
        }
    }

    /// An object that this process wrote and kept, and that no other has ever seen, is no longer needed: its file is written again by
    /// the next object of about its size. `false` when the object has to be removed like any other.
    #[must_use]
    pub fn recycle(&self, id: ObjectId) -> bool {
        let Some((map, capacity)) = self.pool().take_kept(id) else { return false };
        let path = marks::unsealed(&self.folder, id);
        if fs::rename(self.path(id), &path).is_err() {
            return false;
        }
        self.pool().add_free(Warm { path, map, capacity });
        true
    }

    /// Gives up what this process keeps to write it again.
    pub fn trim(&self) {
        let files = self.pool().clear();
        for Warm { path, map, .. } in files {
            drop(map);
            if let Err(error) = self.delete_file(path) {
                tracing::warn!(%error, "a file that was kept to be written again stays behind");
            }
        }
    }

    /// The node has heard of an object that a process has sealed.
    pub fn announced(&self, id: ObjectId, pid: u32) {
        if let Err(error) = self.delete_file(marks::mark(&self.folder, id, pid)) {
            tracing::warn!(%error, "an object's mark stays behind");
        }
    }

    /// Removes what a process that is gone had not sealed, or sealed without the node's ever hearing of it: nobody else knows of it.
    /// All that it had told the node has to be read before.
    pub fn sweep(&self, pid: u32) {
        self.recount.lock().unwrap_or_else(PoisonError::into_inner).on_death();
        for path in marks::left_by(&self.folder, pid) {
            if let Err(error) = self.delete_file(path) {
                tracing::warn!(%error, pid, "a file of a process that is gone stays behind");
            }
        }
    }

    /// Compares the count with the files that are there, and mends it.
    pub fn recount(&self, now: Instant) {
        let Some(usage) = &self.usage else { return };
        let before = usage.used();
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let files = files.filter(|entry| entry.file_name() != crate::usage::FILE);
        let is_mark = |entry: &fs::DirEntry| marks::is_mark(&entry.file_name().to_string_lossy());
        let length = |entry: fs::DirEntry| {
            let data = entry.metadata().ok()?;
            // A mark is a second name.
            (data.nlink() == 1 || !is_mark(&entry)).then_some(data.len())
        };
        let there: u64 = files.filter_map(length).sum();
        if usage.used() != before {
            return;
        }
        match self.recount.lock().unwrap_or_else(PoisonError::into_inner).on_counted(before, there, now) {
            Some(Mend::Give(bytes)) => usage.give(bytes),
            Some(Mend::Add(bytes)) => usage.add(bytes),
            None => {}
        }
    }

    /// The objects of this store that a process has mapped.
    ///
    /// # Errors
    /// When its mappings cannot be read, for instance because it is gone.
    pub fn mapped_by(&self, pid: u32) -> io::Result<Vec<ObjectId>> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let folder = format!("{}/", self.folder.display());
        let names = maps.lines().filter_map(|line| line.split_once(&folder).map(|(_, name)| name));
        Ok(names.filter_map(ObjectId::from_hex).collect())
    }

    /// Where the sealed object is or would be: its id in hex is the file's name.
    #[must_use]
    pub fn path(&self, id: ObjectId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn no_room(&self, bytes: u64) -> StoreError {
        StoreError::NoRoom { folder: self.folder.clone(), bytes }
    }
}

/// Bytes that are free when this name of a file is removed: none while it has another.
fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| if data.nlink() == 1 { data.len() } else { 0 })
}

/// A mapped object, and the one who reads it.
struct Mapped {
    map: Mmap,
    _reader: Option<Arc<()>>,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

/// An object that is being written. Dropped before it is sealed, it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    id: ObjectId,
    store: ObjectStore,
    temporary: PathBuf,
    sealed: PathBuf,
    map: Option<MmapMut>,
    capacity: u64,
    is_sealed: bool,
}

impl Writer {
    /// The object's memory, at least as long as was asked for; what is not written may be anything.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }

    /// Bytes that the file takes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Shows the object to readers. A second writer of the same object replaces the first with the same bytes.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn seal(self) -> Result<(), StoreError> {
        self.seal_mapped().map(|_| ())
    }

    /// The same, and keeps the file in mind for [`ObjectStore::recycle`].
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn seal_and_keep(self) -> Result<(), StoreError> {
        let (store, id, capacity) = (self.store.clone(), self.id, self.capacity);
        if let Some(map) = self.seal_mapped()? {
            let share = store.usage().map_or(u64::MAX, |usage| usage.limit() / KEPT_SHARE);
            store.pool().keep(id, map, capacity, share);
        }
        Ok(())
    }

    fn seal_mapped(mut self) -> Result<Option<MmapMut>, StoreError> {
        let failed = |source| StoreError::Io { verb: "seal", path: self.sealed.clone(), source };
        if self.store.announces {
            marks::set(&self.temporary, &self.store.folder, self.id).map_err(failed)?;
        }
        // Its bytes are counted once.
        let replaced = bytes_of(&self.sealed);
        fs::rename(&self.temporary, &self.sealed).map_err(failed)?;
        self.is_sealed = true;
        self.store.give(replaced);
        Ok(self.map.take())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_sealed {
            // The folder may be gone already, which is as good.
            let _ = fs::remove_file(&self.temporary);
            self.store.give(self.capacity);
        }
    }
}

#[cfg(test)]
mod tests;
