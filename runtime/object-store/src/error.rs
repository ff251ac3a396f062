//! Why an object could not be stored or read.

use std::{io, path::PathBuf};

/// Says why an object could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object is larger than the whole store.
    #[error(
        "an object of {bytes} bytes can never fit into the object store in {folder}, whose limit is {limit} bytes; give the node a \
         larger one (--object-store-memory, or object_store_memory in init()), or store the value in parts"
    )]
    TooLarge {
        /// The store's folder.
        folder: PathBuf,
        /// What was asked for.
        bytes: u64,
        /// What it may hold.
        limit: u64,
    },
    /// There is no room at this moment: the node is to be asked to make some.
    #[error("the object store in {folder} has no room for {bytes} more bytes at this moment")]
    NoRoom {
        /// The store's folder.
        folder: PathBuf,
        /// What was asked for.
        bytes: u64,
    },
    /// The disk has no room for an object that was to be spilled.
    #[error(
        "the object store is full, and so is the disk at {folder}, where objects of {bytes} bytes were to be spilled; free object \
         refs that are no longer needed, or make room on that disk"
    )]
    DiskFull {
        /// The folder of spilled objects.
        folder: PathBuf,
        /// What was to be written.
        bytes: u64,
    },
    /// A spilled object's file is not what was written.
    #[error("the spilled object in {path} is damaged: its checksum or its length is wrong")]
    Damaged {
        /// The file.
        path: PathBuf,
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
