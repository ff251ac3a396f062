//! Objects in shared memory: one file per object in a folder of a memory file system, written once, sealed, then read by any
//! process of the machine without a copy.
//!
//! The crate keeps no table of what is stored: the folder is the table, and one number in it says how much is in use. Objects that
//! have no room lie in a folder on disk. It must never decide what to keep; owners and nodes do.

mod error;
pub mod layout;
mod marks;
mod recount;
mod spilled;
mod store;
mod usage;
mod warm;

pub use error::StoreError;
pub use spilled::SpillFolder;
pub use store::{ObjectStore, Writer};
pub use usage::Usage;

/// Read-only bytes that stay valid as long as any clone or slice lives: a mapped file, or memory of this process.
pub type SharedBuffer = bytes::Bytes;
