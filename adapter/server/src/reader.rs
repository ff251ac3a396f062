//! Reading a client. A frame that is no message is told to the session and the conversation goes on; a broken header ends it.

use dap::{Codec, Direction, Incoming, Malformed};
use futures::StreamExt;
use manta_session::Event;
use tokio::io::AsyncRead;
use tokio_util::codec::FramedRead;

use crate::{connection::SharedLog, happening::Events};

/// Reads until the client is gone, or cannot be understood any more.
pub(crate) async fn read<R>(source: R, events: Events, log: SharedLog)
where
    R: AsyncRead + Unpin,
{
    let codec = Codec::with_limit(manta_proto::limits::DAP_MESSAGE_BYTES_MAX);
    let mut frames = FramedRead::new(source, codec);
    while let Some(frame) = frames.next().await {
        let event = match frame {
            Ok(Incoming { text, message: Ok(message) }) => {
                log.record(Direction::In, &text);
                Event::Client(message)
            }
            Ok(Incoming { text, message: Err(malformed) }) => {
                // What can be refused by its number belongs to the conversation; other rubbish does not.
                if malformed.refusal().is_some() {
                    log.record(Direction::In, &text);
                }
                tracing::warn!(%malformed, "the client sent something that is no message");
                Event::ClientMalformed(malformed)
            }
            Err(error) => {
                tracing::warn!(%error, "the client cannot be understood");
                let malformed = Malformed { reason: error.to_string(), seq: None, command: None };
                if !events.send(Event::ClientMalformed(malformed)).await {
                    return;
                }
                break;
            }
        };
        if !events.send(event).await {
            return;
        }
    }
    // Nobody is left to tell when the session has ended before its client.
    let _told = events.send(Event::ClientGone).await;
}
