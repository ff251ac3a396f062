//! Files that a process wrote and may write again: their pages are there and mapped, which is most of the cost of a large object.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use manta_proto::ids::ObjectId;
use memmap2::MmapMut;

/// Smaller files are not worth it.
const BYTES_MIN: u64 = 256 * 1024;
/// What a process keeps together, sealed or free.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
/// A file is used again for an object that is at most this much smaller.
const WASTE_MAX: u64 = 4;

/// A mapped file of this process.
#[derive(Debug)]
pub(crate) struct Warm {
    pub path: PathBuf,
    pub map: MmapMut,
    pub capacity: u64,
}

#[derive(Debug)]
struct Kept {
    map: MmapMut,
    capacity: u64,
    /// A clone is with each value that this process reads from the file.
    readers: Arc<()>,
}

/// The files that this process keeps.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Objects that it has sealed: to be used again when it is the only one that ever saw them.
    kept: HashMap<ObjectId, Kept>,
    free: Vec<Warm>,
    bytes: u64,
}

impl Pool {
    /// A free file for an object of so many bytes.
    pub fn take(&mut self, bytes: u64) -> Option<Warm> {
        let fits = |warm: &Warm| warm.capacity >= bytes && warm.capacity - bytes <= bytes / WASTE_MAX;
        let position = self.free.iter().position(fits)?;
        let warm = self.free.swap_remove(position);
        self.bytes -= warm.capacity;
        Some(warm)
    }

    /// Keeps the mapping of an object that was just sealed, if there is room for it.
    pub fn keep(&mut self, id: ObjectId, map: MmapMut, capacity: u64, share: u64) {
        if capacity >= BYTES_MIN && self.bytes + capacity <= BYTES_MAX.min(share) {
            self.bytes += capacity;
            self.kept.insert(id, Kept { map, capacity, readers: Arc::default() });
        }
    }

    /// A mark to be kept by whoever reads the object here.
    pub fn reader(&self, id: ObjectId) -> Option<Arc<()>> {
        self.kept.get(&id).map(|kept| Arc::clone(&kept.readers))
    }

    /// Takes a kept object's mapping, unless this process still reads it.
    pub fn take_kept(&mut self, id: ObjectId) -> Option<(MmapMut, u64)> {
        let Kept { map, capacity, readers } = self.kept.remove(&id)?;
        self.bytes -= capacity;
        (Arc::strong_count(&readers) == 1).then_some((map, capacity))
    }

    pub fn add_free(&mut self, warm: Warm) {
        self.bytes += warm.capacity;
        self.free.push(warm);
    }

    /// Gives all up; answers with the files that nobody needs.
    pub fn clear(&mut self) -> Vec<Warm> {
        self.bytes = 0;
        self.kept.clear();
        std::mem::take(&mut self.free)
    }
}
