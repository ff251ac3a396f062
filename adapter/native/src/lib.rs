//! The native engine: makes running Rust programs debuggable, one thread at a time.
//!
//! [`agent::run`] is the way in. It debugs one process for one client, in a process of its own, and lets the debugged
//! threads live whatever happens to it. The engine must never run code of the debugged program, stop a thread that nobody
//! asked it to stop, or patch code of a program that does not carry the guard.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![warn(missing_docs)]

pub mod address;
pub mod agent;
pub mod attach;
pub mod core_file;
pub mod dump;
pub mod dwarf;
pub mod engine;
pub mod expression;
pub mod in_process;
pub mod kept_pages;
pub mod limits;
pub mod mappings;
pub mod outbox;
pub mod protocol;
pub mod ptrace;
pub mod registers;
pub mod requests;
pub mod simulated;
pub mod snapshot_only;
pub mod target;
pub mod tokio;
pub mod tracer;
pub mod values;
