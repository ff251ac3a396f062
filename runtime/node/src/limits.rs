//! Limits of a node that no other process needs to know.

use std::time::Duration;

/// Bytes of one of a worker's log files. A full one becomes the file before, `….1`, whose predecessor goes: the newest lines stay.
pub const LOG_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Between SIGTERM and SIGKILL to a worker.
pub const TERM_GRACE: Duration = Duration::from_millis(500);
/// How long a node looks for a head that is gone, before it ends.
pub const HEAD_SEARCH: Duration = Duration::from_secs(60);
/// How long the pipes of a worker that ended are still read.
pub const PIPE_DRAIN: Duration = Duration::from_millis(500);
/// Load is reported at most this often.
pub const LOAD_INTERVAL: Duration = Duration::from_millis(20);
/// And at least this often.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a node waits for a connection to another.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
