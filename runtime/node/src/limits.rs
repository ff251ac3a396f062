//! Limits of a node that no other process needs to know.

use std::time::Duration;

/// Bytes of one of a worker's log files. A full one becomes the file before, `….1`, whose predecessor goes: the newest lines stay.
pub const LOG_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Between SIGTERM and SIGKILL to a worker.
pub const TERM_GRACE: Duration = Duration::from_millis(500);
/// How long a node looks for a head that is gone, before it ends.
pub const HEAD_SEARCH: Duration = Duration::from_secs(60);
/// How long processes that were killed are waited for.
pub const REAP_LIMIT: Duration = Duration::from_secs(1);
/// Between two looks at them.
pub const REAP_AGAIN: Duration = Duration::from_millis(5);
/// How long the pipes of a worker that ended are still read.
pub const PIPE_DRAIN: Duration = Duration::from_millis(500);
/// Load is reported at most this often.
pub const LOAD_INTERVAL: Duration = Duration::from_millis(20);
/// And at least this often.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a node waits for a connection to another.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Logs of processes that ended that a node keeps.
pub const LOGS_MAX: usize = 1000;
/// Tasks of which a node knows where in the logs their lines stand.
pub const LOG_TASKS_MAX: usize = 20_000;
/// Bytes of the unpacked packages of a node. What nothing uses goes when there are more, what was used longest ago first.
pub const PACKAGES_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;
/// Bytes of the virtual environments that the nodes of this user on this machine share.
pub const VENVS_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;
/// Between SIGTERM and SIGKILL to the driver of a submitted job.
pub const DRIVER_GRACE: Duration = Duration::from_secs(3);
/// Last lines of an installer that the message about its failure has.
pub const INSTALLER_LINES: usize = 40;
/// Bytes of one program that is fetched for workers.
pub const PROGRAM_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of all programs that a node keeps. What no worker runs goes when there are more, what was used longest ago first.
pub const PROGRAMS_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;
/// Bytes of one file with debug information that is fetched.
pub const DEBUG_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of all such files that the nodes of this user on this machine keep.
pub const DEBUG_FILES_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Such files that one target asks for at one time.
pub const DEBUG_FILES_WANTED_MAX: usize = 64;
/// A target that asked for one hears after this time that it is not there yet.
pub const DEBUG_FILE_PATIENCE: Duration = Duration::from_secs(3);
/// That nobody has a file is remembered for this time.
pub const DEBUG_FILE_MISSING: Duration = Duration::from_secs(5);
/// Nodes that are asked for a file at one time.
pub const PEERS_ASKED_AT_ONCE: usize = 8;
/// The longest wait for the next piece of a file.
pub const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
