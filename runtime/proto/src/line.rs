//! The line: a Unix socket straight between a debug adapter and a target of the same machine.
//!
//! Debug messages go through head and node, which is two processes more each way. Where adapter and target share a machine, the target
//! also listens on a socket in its node's folder. It says everything twice: to its node, which has to know of stops, and on the line.
//! Its messages are numbered without gaps, so whichever copy comes first is heard and the other is dropped: a line may break, or never be
//! made, and nothing is lost. Frames are a little-endian `u32` length and the DAP message; the adapter's first one is [`hello`].

mod listener;

use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use self::listener::Listener;
use crate::{
    PROTOCOL_VERSION,
    ids::{Incarnation, ProcessId},
    limits::MESSAGE_BYTES_MAX,
    token::Token,
};

/// A node's own requests to its targets have numbers from here on; a session's are below.
pub const NODE_SEQ_MIN: i64 = 1 << 30;

/// A frame above [`MESSAGE_BYTES_MAX`]; the line is of no use afterwards.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a debug message of {0} bytes is too long for the line; the limit is {MESSAGE_BYTES_MAX} bytes")]
pub struct TooLong(pub usize);

/// Where a target listens, in its node's folder.
#[must_use]
pub fn socket(node_dir: &Path, target: ProcessId, incarnation: Incarnation) -> PathBuf {
    node_dir.join(format!("d-{target}-{incarnation}.sock"))
}

/// What an adapter says first.
#[must_use]
pub fn hello(token: &Token) -> String {
    format!("{PROTOCOL_VERSION} {}", token.as_str())
}

/// Whether this is the first word of an adapter of the same version that knows the cluster's token.
#[must_use]
pub fn is_hello(said: &[u8], token: &Token) -> bool {
    let Some((version, theirs)) = std::str::from_utf8(said).ok().and_then(|said| said.split_once(' ')) else {
        return false;
    };
    version.parse() == Ok(PROTOCOL_VERSION) && token.matches(theirs)
}

/// Appends a message to `buffer` as one frame.
///
/// # Errors
/// When it is too long; `buffer` is unchanged then.
pub fn append(buffer: &mut BytesMut, message: &[u8]) -> Result<(), TooLong> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= MESSAGE_BYTES_MAX);
    buffer.put_u32_le(length.ok_or(TooLong(message.len()))?);
    buffer.put_slice(message);
    Ok(())
}

/// Takes the first whole message from `buffer`; `None` when it has not come yet.
///
/// # Errors
/// When it is too long.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Bytes>, TooLong> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(TooLong(length));
    }
    if buffer.len() < length + 4 {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_whole_and_in_order() {
        let mut wire = BytesMut::new();
        append(&mut wire, b"{}").unwrap();
        append(&mut wire, b"[1]").unwrap();
        let (mut received, mut taken) = (BytesMut::new(), Vec::new());
        for byte in wire {
            received.put_u8(byte);
            taken.extend(take(&mut received).unwrap());
        }
        assert_eq!(taken, [&b"{}"[..], b"[1]"]);
        let mut endless = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert!(take(&mut endless).is_err());
    }

    #[test]
    fn only_the_same_version_with_the_token_is_let_in() {
        let token = Token::random();
        assert!(is_hello(hello(&token).as_bytes(), &token));
        assert!(!is_hello(hello(&Token::random()).as_bytes(), &token));
        assert!(!is_hello(format!("{} {}", PROTOCOL_VERSION + 1, token.as_str()).as_bytes(), &token));
        assert!(!is_hello(b"", &token) && !is_hello(b"\xff \xff", &token));
    }
}
