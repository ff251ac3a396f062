//! How much of a store is in use: one number in shared memory, for all processes that write into it.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use memmap2::{MmapOptions, MmapRaw};

/// The file that holds it. Objects have names in hexadecimal digits.
pub(crate) const FILE: &str = ".usage";
const BYTES: usize = 16;

/// Bytes that files of the store have reserved, and how many they may have. A process that is killed between taking and making its
/// file leaves its bytes taken; its node gives them back.
#[derive(Debug)]
pub struct Usage {
    map: MmapRaw,
}

impl Usage {
    pub(crate) fn create(folder: &Path, limit: u64) -> io::Result<Self> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(folder.join(FILE))?;
        file.set_len(BYTES as u64)?;
        let usage = Self { map: MmapOptions::new().len(BYTES).map_raw(&file)? };
        usage.cell(1).store(limit, Ordering::Relaxed);
        Ok(usage)
    }

    pub(crate) fn attach(folder: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new().read(true).write(true).open(folder.join(FILE))?;
        if file.metadata()?.len() < BYTES as u64 {
            return Err(io::Error::other("the store's count is shorter than it should be"));
        }
        Ok(Self { map: MmapOptions::new().len(BYTES).map_raw(&file)? })
    }

    fn cell(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < BYTES / 8);
        // SAFETY: the mapping has two aligned words, lives as long as `self`, and is accessed through atomics alone, in every process.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(index)) }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.cell(0).load(Ordering::Relaxed)
    }

    /// Bytes that may be in use.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.cell(1).load(Ordering::Relaxed)
    }

    /// Takes so many bytes if they are free; else says how many are missing.
    ///
    /// # Errors
    /// With the missing bytes.
    pub fn take(&self, bytes: u64) -> Result<(), u64> {
        let limit = self.limit();
        let wanted = |used: u64| used.checked_add(bytes).filter(|used| *used <= limit);
        self.cell(0)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, wanted)
            .map(|_| ())
            .map_err(|used| used.saturating_add(bytes).saturating_sub(limit))
    }

    /// Counts bytes that are there whatever the limit says.
    pub(crate) fn add(&self, bytes: u64) {
        self.cell(0).fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back.
    pub fn give(&self, bytes: u64) {
        // Never below zero, whatever was counted wrong.
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _before = self.cell(0).fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}
