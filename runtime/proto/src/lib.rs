//! The wire contract between head, nodes, workers, drivers and debug sessions, with the little that all of them need to speak it:
//! ids, limits, frames, and connections that carry the cluster's token.
//!
//! This crate must never know what a message leads to: no state, no decisions.

pub mod connect;
pub mod frame;
pub mod ids;
pub mod labels;
pub mod limits;
pub mod line;
pub mod token;

/// Messages and services generated from `proto/manta.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("manta.v1");
}

/// Rises with every change that an older peer would misunderstand. Peers with different versions refuse each other.
pub const PROTOCOL_VERSION: u32 = 4;

/// The version that people see in messages and `manta --version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where a head listens unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:6480";

/// Says why two peers cannot talk, or `None` when they can.
///
/// `peer` names the other side for people, for instance "the head at 127.0.0.1:6480".
#[must_use]
pub fn version_conflict(peer: &str, theirs: u32) -> Option<String> {
    (theirs != PROTOCOL_VERSION).then(|| {
        format!(
            "{peer} speaks version {theirs} of Manta's protocol and this process (manta {VERSION}) speaks version \
             {PROTOCOL_VERSION}; install the same release of Manta on both sides"
        )
    })
}
