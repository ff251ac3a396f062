//! What the end-to-end tests and the demo share: a DAP client, a cluster, and drivers that run on it.
//!
//! Everything here starts real processes and looks at them from outside, as a user would. It must never reach into the crates that
//! it tests, `dap`'s types and strict check aside.

pub mod chance;
pub mod client;
pub mod cluster;
pub mod count;
pub mod driver;
pub mod program;
pub mod wire;
/// Programs that the system refuses ptrace.
#[path = "../../adapter/native/tests/engine/support/without_ptrace.rs"]
pub mod without_ptrace;

pub use chance::Chance;
pub use client::{Breakpoint, DapClient};
pub use cluster::Cluster;
pub use driver::{Driver, Ended, on};

use std::time::Duration;

/// How long a test waits for something that should happen at once, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(40);
