//! The head: the cluster's control service. It knows the nodes, the jobs and the debug session, and carries what they say to
//! each other.
//!
//! It must never be on the way of a task, and never understand a debug message: owners lease workers from their node and talk to
//! them directly, and a session's messages pass through as bytes.

mod actors;
mod bundles;
mod core;
mod durable;
mod environments;
mod metrics;
mod objects;
mod outbox;
mod packages;
mod placement_groups;
mod queries;
mod service;
mod sessions;
mod state;
mod store;
mod submitted;
mod tasks;
#[cfg(test)]
mod tests;
mod user_metrics;

pub use service::{Head, HeadError, HeadOptions, Inside};
pub use store::StoreError;
