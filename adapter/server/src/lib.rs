//! The edges around sessions: a client on stdio or on a socket, the cluster's head, a launched driver, and the clock.
//!
//! Each client gets a session of its own. One task runs the session; reading the client, writing to it, the head's connection and the
//! driver are tasks of their own, so that nothing slow holds up what the session can answer from memory. Nothing is decided here: what is to
//! be done, the session says.

mod clock;
mod cluster;
mod connection;
mod convert;
mod driver;
mod files;
mod happening;
pub mod limits;
mod lines;
mod listen;
mod private_cluster;
mod reader;
mod stdio;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;

/// What `manta dap` is told.
#[derive(Debug, Clone, Default)]
pub struct DapOptions {
    /// Where to listen for clients, as HOST:PORT; loopback where only a port is given. `None`: one client, on stdio.
    pub listen: Option<String>,
    /// Where to write each message of the conversation, one a line.
    pub log: Option<PathBuf>,
}

/// Serves clients until the one on stdio has left, or, when listening, for ever.
///
/// # Errors
/// When the address cannot be listened on, or the log cannot be written.
pub async fn run(options: DapOptions) -> anyhow::Result<()> {
    match &options.listen {
        Some(address) => listen::run(address, options.log.as_deref()).await,
        None => stdio::run(options.log.as_deref()).await,
    }
}
