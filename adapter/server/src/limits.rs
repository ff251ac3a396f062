//! Every limit of the edges. What two processes must agree on is in `manta_proto::limits`.

use std::time::Duration;

/// Clients that are connected to one `manta dap --listen` at one time.
pub const CLIENTS_MAX: usize = 8;
/// Events that wait for the session before their senders wait too.
pub const EVENTS_MAX: usize = 1024;
/// Messages that wait for the head. Beyond, its connection is taken for lost.
pub const TO_HEAD_MAX: usize = 65_536;
/// Bytes that wait for a client that does not read. Beyond, its connection is closed.
pub const TO_CLIENT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A source file of the client whose content is compared with what workers have; engines compare no larger ones either.
pub const SOURCE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A piece of what a driver prints.
pub const DRIVER_OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// How long a head may take to be reached.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a head may take to open a session.
pub const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How long a head that is gone is looked for; nodes look for it as long.
pub const RETURN_WITHIN: Duration = Duration::from_secs(60);
/// The time between two looks.
pub const RETURN_RETRY: Duration = Duration::from_millis(200);
/// How long a private cluster may take to be ready.
pub const CLUSTER_READY_WITHIN: Duration = Duration::from_secs(15);
/// How long a driver may take to end when it is told to, before it is killed.
pub const DRIVER_END_WITHIN: Duration = Duration::from_secs(3);
/// How long what a driver's end has left in its pipes may take to arrive: a grandchild may hold them open.
pub const LAST_OUTPUT_WITHIN: Duration = Duration::from_millis(500);
/// How long the end of a session may take to reach the head, and a private cluster to end.
pub const GOODBYE_WITHIN: Duration = Duration::from_secs(3);
/// How long a client may take to read the last messages.
pub const LAST_MESSAGES_WITHIN: Duration = Duration::from_secs(2);
