//! The queue in front of one peer that reads at its own speed.

use manta_proto::limits::CHANNEL_MESSAGES_MAX;
use tokio::sync::mpsc;
use tonic::Status;

/// Messages for a peer; bounded, so that one that stopped reading costs its own connection and not the head's memory.
pub(crate) struct Outbox<T> {
    sender: mpsc::Sender<Result<T, Status>>,
}

/// Where the peer's stream takes its messages from.
pub(crate) type Outgoing<T> = tokio_stream::wrappers::ReceiverStream<Result<T, Status>>;

/// Says that the peer did not read for too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stalled;

impl<T> Outbox<T> {
    pub fn new() -> (Self, Outgoing<T>) {
        let (sender, receiver) = mpsc::channel(CHANNEL_MESSAGES_MAX * 16);
        (Self { sender }, receiver.into())
    }

    /// Queues a message. A peer that is gone already is no error: its reader says so on its own.
    pub fn send(&self, message: T) -> Result<(), Stalled> {
        match self.sender.try_send(Ok(message)) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Stalled),
        }
    }

    /// Queues a message that may be lost when the peer is slow; false when it was.
    pub fn send_if_room(&self, message: T) -> bool {
        self.sender.capacity() > self.sender.max_capacity() / 2 && self.sender.try_send(Ok(message)).is_ok()
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}
