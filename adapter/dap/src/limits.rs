//! The limits of one connection.

/// The largest body of one message, unless the codec is given another limit.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest header of one message: two short lines in practice.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;
/// How much of a text that is not a message is kept for the log.
pub const MALFORMED_BYTES_KEPT: usize = 1024;
