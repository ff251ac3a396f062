//! What goes to the client: numbered, encoded, and kept until the wire takes it.

use bytes::{Bytes, BytesMut};
use dap::{Codec, Event, EventMessage, Message, Outgoing, ResponseMessage, Seq};
use tokio_util::codec::Encoder;

use crate::limits::OUTPUT_BYTES_MAX;

/// Messages on their way out.
#[derive(Default)]
pub struct Outbox {
    last_seq: Seq,
    /// Encoded, not yet written.
    pub waiting: BytesMut,
    codec: Codec,
}

impl Outbox {
    /// Sends an event.
    pub fn event<E: Event>(&mut self, body: &E::Body) {
        self.send(Message::Event(EventMessage::new::<E>(body)));
    }

    /// Sends a response.
    pub fn respond(&mut self, response: ResponseMessage) {
        self.send(Message::Response(response));
    }

    /// Prints something in the client's console.
    pub fn console(&mut self, text: &str) {
        let body = dap::OutputEventBody {
            category: Some(dap::OutputEventCategory::Console),
            output: text.to_owned(),
            ..Default::default()
        };
        self.event::<dap::events::Output>(&body);
    }

    /// Is more waiting than a client that reads would leave?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting.len() > OUTPUT_BYTES_MAX
    }

    /// Begins again with a new client.
    pub fn clear(&mut self) {
        self.last_seq = 0;
        self.waiting.clear();
    }

    fn send(&mut self, mut message: Message) {
        self.last_seq += 1;
        message.set_seq(self.last_seq);
        let text = Bytes::from(message.to_vec());
        // The codec refuses what is longer than any message may be; the engine's own limits keep its messages shorter.
        if let Err(error) = self.codec.encode(Outgoing(text), &mut self.waiting) {
            tracing::error!(%error, "a message could not be sent");
        }
    }
}
