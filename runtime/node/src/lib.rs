//! The node: the part of the cluster on one machine. It owns the machine's resources, starts workers, leases them to owners, keeps
//! objects, and carries debug messages between the head and its workers.
//!
//! It must never run a task itself, and never know what a task or a debug message means.

mod core;
pub mod devices;
mod edge;
mod elf;
mod host;
pub mod limits;
pub mod machine;
mod node;
pub mod placement;
pub mod resources;
pub mod session_dir;
pub mod watcher;

pub use host::Host;
pub use node::{FromHead, HeadInside, MemoryWatch, Node, NodeError, NodeOptions};
