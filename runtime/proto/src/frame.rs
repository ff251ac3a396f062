//! Frames of the peer channel: a little-endian `u32` length and one [`PeerMessage`].

use bytes::{Buf, BufMut, BytesMut};
use prost::Message;

use crate::{limits::MESSAGE_BYTES_MAX, v1::PeerMessage};

/// Says that a frame cannot be read; the connection is of no use afterwards.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is above the limit.
    #[error("a message of {0} bytes came from a peer; the limit is {MESSAGE_BYTES_MAX} bytes")]
    TooLarge(usize),
    /// The bytes are no message.
    #[error("a message from a peer could not be read: {0}")]
    Malformed(#[from] prost::DecodeError),
}

/// Appends `message` to `buffer` as one frame.
///
/// # Errors
/// When the message is above the limit; `buffer` is unchanged then.
pub fn write(buffer: &mut BytesMut, message: &PeerMessage) -> Result<(), FrameError> {
    let length = message.encoded_len();
    if length > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    buffer.reserve(length + 4);
    #[expect(clippy::cast_possible_truncation, reason = "checked against the limit above")]
    buffer.put_u32_le(length as u32);
    message.encode_raw(buffer);
    Ok(())
}

/// Takes the first whole frame from `buffer`, or `None` when it has not come yet.
///
/// # Errors
/// When the frame is above the limit or is no message.
pub fn read(buffer: &mut BytesMut) -> Result<Option<PeerMessage>, FrameError> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    if buffer.len() < length + 4 {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(PeerMessage::decode(buffer.split_to(length).freeze())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{CancelTask, peer_message};

    #[test]
    fn frames_come_back_whole_and_in_order() {
        let message = |byte| PeerMessage {
            message: Some(peer_message::Message::Cancel(CancelTask {
                task_id: vec![byte; 16].into(),
                ..CancelTask::default()
            })),
        };
        let mut wire = BytesMut::new();
        write(&mut wire, &message(1)).unwrap();
        write(&mut wire, &message(2)).unwrap();
        let mut received = BytesMut::new();
        let mut messages = Vec::new();
        for byte in wire {
            received.put_u8(byte);
            messages.extend(read(&mut received).unwrap());
        }
        assert_eq!(messages, [message(1), message(2)]);
    }

    #[test]
    fn a_frame_above_the_limit_is_refused() {
        let mut wire = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert!(matches!(read(&mut wire), Err(FrameError::TooLarge(_))));
    }
}
