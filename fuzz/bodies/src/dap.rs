//! The codec and the envelope of the Debug Adapter Protocol, and its strict check.

use ::dap::{Codec, Conversation, Direction, Message};
use bytes::BytesMut;
use tokio_util::codec::Decoder;

/// More than any message of the corpus, far less than a length that a header may claim.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Decodes bytes that come in pieces; each message is read, written again and checked.
pub fn run(data: &[u8]) {
    // The first byte says how large the pieces are.
    let Some((pieces, data)) = data.split_first() else { return };
    let mut codec = Codec::with_limit(MESSAGE_BYTES_MAX);
    let mut conversation = Conversation::new();
    let mut received = BytesMut::new();
    for piece in data.chunks(usize::from(*pieces).max(1)) {
        received.extend_from_slice(piece);
        loop {
            match codec.decode(&mut received) {
                Ok(Some(incoming)) => {
                    conversation.observe(Direction::In, &String::from_utf8_lossy(&incoming.text));
                    match &incoming.message {
                        Ok(message) => again(message),
                        Err(malformed) => {
                            let _ = (malformed.refusal(), malformed.to_string());
                        }
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return;
                }
            }
        }
        assert!(received.len() <= MESSAGE_BYTES_MAX + data.len(), "what waits is bounded by what came");
    }
    let _ = conversation.finish();
}

/// What was read says the same when it is written and read again.
fn again(message: &Message) {
    let text = message.to_vec();
    let same = Message::from_slice(&text).expect("what was written can be read");
    assert_eq!(same.to_vec(), text);
    if let Message::Request(request) = message {
        let _ = request.arguments::<::dap::SetBreakpointsArguments>();
        let _ = request.arguments::<::dap::InitializeRequestArguments>();
    }
}
