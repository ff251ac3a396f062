//! What a session wants done: the edges do it, in this order.

use std::time::Duration;

use dap::Message;

use crate::{
    event::TimerId,
    ids::{Generation, TargetId},
    options::{AttachOptions, LaunchOptions},
};

/// Something to do.
#[derive(Debug)]
pub enum Effect {
    /// Send this to the client.
    ToClient(Message),
    /// Send this to a target.
    ToTarget {
        /// Which.
        target: TargetId,
        /// What.
        message: Message,
    },
    /// Connect to a cluster. Answered by `Event::Connected` or `Event::ConnectFailed`.
    Connect(AttachOptions),
    /// Start a private cluster for a driver and connect to it. Answered likewise.
    StartCluster(LaunchOptions),
    /// Start the driver. Answered by `Event::DriverStarted` or `Event::DriverFailed`, and `Event::DriverExited` at its end.
    StartDriver(LaunchOptions),
    /// End the driver and all that it started.
    KillDriver,
    /// Give the cluster a new set of breakpoints.
    Publish {
        /// Its number.
        generation: Generation,
        /// The arguments of `mantaConfigure`, as JSON.
        arguments: String,
        /// Whether it has nothing to stop at.
        empty: bool,
    },
    /// Send `Event::Timer` after this time.
    SetTimer {
        /// Which.
        id: TimerId,
        /// When.
        after: Duration,
    },
    /// End the debugging of the cluster in order: paused tasks run on at once.
    Release,
    /// Everything is said: send what is queued, then close the client's connection.
    Close,
    /// Worth a line in the adapter's own log.
    Log(String),
}
