//! Objects on disk, where they wait until the store has room for them again. Each file has a checksum of what it holds.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use manta_proto::ids::ObjectId;

use crate::{StoreError, marks};

const MAGIC: [u8; 8] = *b"mantaobj";
const HEADER_BYTES: usize = 24;

/// A folder of objects on disk.
#[derive(Debug, Clone)]
pub struct SpillFolder {
    folder: PathBuf,
    /// What is written is announced to a node, which removes the marks.
    announces: bool,
}

impl SpillFolder {
    /// Uses a folder, which is made when the first object comes.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), announces: false }
    }

    /// The same for a process whose node hears of each object: see [`SpillFolder::announced`].
    #[must_use]
    pub fn attach(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), announces: true }
    }

    /// The node has heard of an object that a process wrote here.
    pub fn announced(&self, id: ObjectId, pid: u32) {
        self.remove(&marks::mark(&self.folder, id, pid));
    }

    /// Removes what a process that is gone had not written to its end, or without the node's ever hearing of it.
    /// All that it had told the node has to be read before.
    pub fn sweep(&self, pid: u32) {
        for path in marks::left_by(&self.folder, pid) {
            self.remove(&path);
        }
    }

    fn remove(&self, path: &Path) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "a file of a process that is gone stays behind");
            }
            _ => {}
        }
    }

    /// Where the objects are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, id: ObjectId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Writes an object.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn write(&self, id: ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        let temporary = marks::unsealed(&self.folder, id);
        let written = self.write_file(&temporary, bytes).and_then(|()| {
            if self.announces {
                marks::set(&temporary, &self.folder, id)?;
            }
            fs::rename(&temporary, self.path(id))
        });
        written.map_err(|source| {
            self.remove(&temporary);
            let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if full {
                let (folder, bytes) = (self.folder.clone(), bytes.len() as u64);
                return StoreError::DiskFull { folder, bytes };
            }
            StoreError::Io { verb: "spill to", path: self.path(id), source }
        })
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..16].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        header[16..20].copy_from_slice(&crc32fast::hash(bytes).to_le_bytes());
        file.write_all(&header)?;
        file.write_all(bytes)
    }

    /// The bytes of an object, without its header.
    ///
    /// # Errors
    /// When it is not there, or its file cannot be read or is damaged.
    pub fn length(&self, id: ObjectId) -> Result<u64, StoreError> {
        self.open(id).map(|(_, length, _)| length)
    }

    fn open(&self, id: ObjectId) -> Result<(fs::File, u64, u32), StoreError> {
        let path = self.path(id);
        let failed = |source| StoreError::Io { verb: "read the spilled object", path: path.clone(), source };
        let mut file = fs::File::open(&path).map_err(failed)?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(failed)?;
        let [l0, l1, l2, l3, l4, l5, l6, l7, c0, c1, c2, c3, ..] = header[8..] else {
            return Err(self.damaged(id));
        };
        let length = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        let is_whole = file.metadata().map_err(failed)?.len() == length.saturating_add(HEADER_BYTES as u64);
        if header[..8] != MAGIC || !is_whole {
            return Err(self.damaged(id));
        }
        Ok((file, length, u32::from_le_bytes([c0, c1, c2, c3])))
    }

    fn damaged(&self, id: ObjectId) -> StoreError {
        StoreError::Damaged { path: self.path(id) }
    }

    /// Reads an object into `target`, which has its length.
    ///
    /// # Errors
    /// As [`SpillFolder::length`], and when its checksum is not right.
    pub fn read_into(&self, id: ObjectId, target: &mut [u8]) -> Result<(), StoreError> {
        let (mut file, length, checksum) = self.open(id)?;
        if length != target.len() as u64 {
            return Err(self.damaged(id));
        }
        let failed = |source| StoreError::Io { verb: "read the spilled object", path: self.path(id), source };
        file.read_exact(target).map_err(failed)?;
        if crc32fast::hash(target) == checksum { Ok(()) } else { Err(self.damaged(id)) }
    }

    /// Reads an object into memory of this process alone.
    ///
    /// # Errors
    /// As [`SpillFolder::read_into`].
    pub fn read(&self, id: ObjectId) -> Result<Bytes, StoreError> {
        let length = usize::try_from(self.length(id)?).map_err(|_| self.damaged(id))?;
        let mut bytes = vec![0; length];
        self.read_into(id, &mut bytes)?;
        Ok(bytes.into())
    }

    /// Removes an object, if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn delete(&self, id: ObjectId) -> Result<(), StoreError> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::Io { verb: "remove", path, source: error })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use manta_proto::ids::TaskId;

    use super::*;

    #[test]
    fn what_was_spilled_comes_back_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let spilled = SpillFolder::new(folder.path().join("spilled"));
        let id = ObjectId::of(TaskId::random(), 0);
        assert!(spilled.read(id).is_err());
        spilled.write(id, b"some bytes").unwrap();
        assert_eq!(&spilled.read(id).unwrap()[..], b"some bytes");
        let path = spilled.path(id);
        let whole = fs::read(&path).unwrap();
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x40;
            fs::write(&path, &damaged).unwrap();
            // Four bytes of the header stand for nothing.
            assert_eq!(spilled.read(id).is_ok(), (20..24).contains(&position), "byte {position}");
            fs::write(&path, &whole[..position]).unwrap();
            assert!(spilled.read(id).is_err(), "{position} bytes");
        }
        spilled.delete(id).unwrap();
        spilled.delete(id).unwrap();
        assert!(spilled.read(id).unwrap_err().to_string().contains("No such file"));
    }

    #[test]
    fn what_a_killed_process_wrote_and_never_announced_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let node = SpillFolder::new(folder.path().join("spilled"));
        let process = SpillFolder::attach(node.folder());
        let me = std::process::id();
        let [announced, silent, again] = [0, 1, 2].map(|index| ObjectId::of(TaskId::random(), index));
        for id in [announced, silent, again] {
            process.write(id, b"some bytes").unwrap();
        }
        // It was killed in the middle of this one.
        let half = marks::unsealed(node.folder(), ObjectId::of(TaskId::random(), 3));
        fs::write(half, b"some").unwrap();
        node.announced(announced, me);
        node.write(again, b"other bytes").unwrap();
        node.sweep(me);
        let mut there: Vec<_> =
            fs::read_dir(node.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        there.sort();
        let mut left = [announced, again].map(|id| id.to_string());
        left.sort();
        assert_eq!(there, left.map(std::ffi::OsString::from));
        assert_eq!(&node.read(again).unwrap()[..], b"other bytes");
    }
}
