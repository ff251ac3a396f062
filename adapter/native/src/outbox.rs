//! What goes to the client: numbered, encoded, and kept until the wire takes it.
//!
//! That a thread runs on is of little use to anybody before it is known how far. In a cluster each message wakes four processes on its
//! way, and a thread that makes a step stops again before they have slept. So such messages wait a moment for the stop, and go with it.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use dap::{Codec, Event, EventMessage, Message, Outgoing, ResponseMessage, Seq};
use tokio_util::codec::Encoder;

use crate::limits::{OUTPUT_BYTES_MAX, SOON};

/// Messages on their way out.
#[derive(Default)]
pub struct Outbox {
    last_seq: Seq,
    /// Encoded, not yet written.
    pub waiting: BytesMut,
    codec: Codec,
    /// When nothing is there but what may wait: since when it does.
    patient_since: Option<Instant>,
}

/// Whether a message may wait a moment for the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Now,
    Soon,
}

impl Outbox {
    /// Sends an event.
    pub fn event<E: Event>(&mut self, body: &E::Body) {
        self.send(Message::Event(EventMessage::new::<E>(body)), Urgency::Now);
    }

    /// Sends an event after which another is likely to follow at once.
    pub fn event_soon<E: Event>(&mut self, body: &E::Body) {
        self.send(Message::Event(EventMessage::new::<E>(body)), Urgency::Soon);
    }

    /// Sends a response.
    pub fn respond(&mut self, response: ResponseMessage) {
        self.send(Message::Response(response), Urgency::Now);
    }

    /// Sends a response after which an event is likely to follow at once.
    pub fn respond_soon(&mut self, response: ResponseMessage) {
        self.send(Message::Response(response), Urgency::Soon);
    }

    /// How long what is there may still wait for more; `None` when it is to go, or nothing is there.
    #[must_use]
    pub fn may_wait(&self, now: Instant) -> Option<Duration> {
        let since = self.patient_since.filter(|_| !self.waiting.is_empty())?;
        (since + SOON).checked_duration_since(now).filter(|left| !left.is_zero())
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

    /// Prints what a log point says, with the line that it is at; 0 for none.
    pub fn logged(&mut self, text: &str, source: Option<dap::Source>, line: u32) {
        let body = dap::OutputEventBody {
            category: Some(dap::OutputEventCategory::Console),
            output: text.to_owned(),
            line: (source.is_some() && line > 0).then(|| i64::from(line)),
            source,
            ..Default::default()
        };
        self.event::<dap::events::Output>(&body);
    }

    /// Says how well the process can be debugged, in a sentence for people and a few words for the session.
    pub fn level(&mut self, name: &str, sentence: &str) {
        let body = dap::OutputEventBody {
            category: Some(dap::OutputEventCategory::Console),
            output: sentence.to_owned(),
            data: Some(serde_json::json!({"level": name})),
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

    fn send(&mut self, mut message: Message, urgency: Urgency) {
        self.patient_since = match urgency {
            Urgency::Soon if self.waiting.is_empty() => Some(Instant::now()),
            Urgency::Soon => self.patient_since,
            Urgency::Now => None,
        };
        self.last_seq += 1;
        message.set_seq(self.last_seq);
        let text = Bytes::from(message.to_vec());
        // The codec refuses what is longer than any message may be; the engine's own limits keep its messages shorter.
        if let Err(error) = self.codec.encode(Outgoing(text), &mut self.waiting) {
            tracing::error!(%error, "a message could not be sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_before_more_waits_and_not_for_long() {
        let now = Instant::now;
        let mut outbox = Outbox::default();
        assert_eq!(outbox.may_wait(now()), None, "nothing is there");
        let running = dap::ContinuedEventBody { thread_id: dap::ThreadId(1), all_threads_continued: None };
        outbox.event_soon::<dap::events::Continued>(&running);
        outbox.event_soon::<dap::events::Continued>(&running);
        let since = now();
        assert!(outbox.may_wait(since).is_some_and(|left| left <= SOON));
        assert_eq!(outbox.may_wait(since + SOON), None, "it has waited long enough");
        outbox.console("a stop");
        assert_eq!(outbox.may_wait(since), None, "what it waited for is there");
        outbox.event_soon::<dap::events::Continued>(&running);
        assert_eq!(outbox.may_wait(now()), None, "what is urgent takes it along");
        outbox.waiting.clear();
        outbox.event_soon::<dap::events::Continued>(&running);
        assert!(outbox.may_wait(since).is_some(), "all before has gone");
    }
}
