//! Every limit that two processes must agree on. What is cut says that it was cut.

/// Values up to this size travel inside messages; larger ones lie in the object store.
pub const INLINE_BYTES_MAX: usize = 100 * 1024;
/// One message between owner and worker, and one gRPC message.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// One DAP message from a client or a target.
pub const DAP_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A piece of an object on its way between nodes.
pub const CHUNK_BYTES: usize = 1024 * 1024;
/// Debug sessions of a cluster at one time.
pub const SESSIONS_MAX: usize = 1;
/// Messages that wait for a slow peer before the sender waits too.
pub const CHANNEL_MESSAGES_MAX: usize = 1024;
/// One printed line; longer ones are cut.
pub const OUTPUT_LINE_BYTES_MAX: usize = 16 * 1024;
/// Last lines of a worker's stderr that its node keeps for the message about its end.
pub const LAST_STDERR_LINES: usize = 20;
/// Dead workers whose fate a node remembers.
pub const WORKER_FATES_MAX: usize = 10_000;
/// Parts of an answer to a question that a node sends before it waits for the asker.
pub const ANSWER_PARTS_AHEAD: usize = 8;
/// How long, in milliseconds, what no node of the cluster can run waits for a node that can, unless its job says otherwise.
pub const INFEASIBLE_MS: u64 = 20_000;
/// Bytes of one such part.
pub const ANSWER_PART_BYTES: usize = 64 * 1024;
