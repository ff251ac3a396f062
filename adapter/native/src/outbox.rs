//! What goes to the client: numbered, encoded, and kept until the wire takes it.
//!
//! That a thread runs on is of little use to anybody before it is known how far. In a cluster each message wakes four processes on its
//! way, and a thread that makes a step stops again before they have slept. So such messages wait a moment for the stop, and go with it.
//! Where there is a line to the client, all goes there, and a little later, of several steps at one time, also over the node.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use dap::{Codec, Event, EventMessage, Message, Outgoing, ResponseMessage, Seq};
use tokio_util::codec::Encoder;

use crate::limits::{BEHIND, OUTPUT_BYTES_MAX, SOON};
use crate::protocol::NODE_SEQ_MIN;

/// Messages on their way out.
#[derive(Default)]
pub struct Outbox {
    last_seq: Seq,
    codec: Codec,
    /// Encoded for the wire: the client's alone, the node's in a cluster.
    wire: BytesMut,
    wire_due: Due,
    /// What goes on the line, when there is one that is heard.
    line: Option<Vec<Bytes>>,
    line_due: Due,
    is_patient: bool,
}

/// When something is to go.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Due {
    /// There is nothing.
    #[default]
    Never,
    At(Instant),
    Now,
}

impl Due {
    /// There is something that may wait so long.
    fn add(&mut self, wait: Option<Duration>) {
        match (wait, &self) {
            (None, _) => *self = Self::Now,
            (Some(wait), Self::Never) => *self = Self::At(Instant::now() + wait),
            (Some(_), Self::At(_) | Self::Now) => {}
        }
    }

    /// How long it may still wait; `None` when it is to go, or nothing is there.
    fn left(self, now: Instant) -> Option<Duration> {
        match self {
            Self::At(at) => at.checked_duration_since(now).filter(|left| !left.is_zero()),
            Self::Never | Self::Now => None,
        }
    }
}

impl Outbox {
    /// An outbox of which messages may wait for others when it is patient.
    #[must_use]
    pub fn new(is_patient: bool) -> Self {
        Self { is_patient, ..Self::default() }
    }

    /// Sends an event.
    pub fn event<E: Event>(&mut self, body: &E::Body) {
        self.send(Message::Event(EventMessage::new::<E>(body)), None, false);
    }

    /// Sends an event after which another is likely to follow at once.
    pub fn event_soon<E: Event>(&mut self, body: &E::Body) {
        self.send(Message::Event(EventMessage::new::<E>(body)), Some(SOON), false);
    }

    /// Sends an event that the node takes itself.
    pub fn event_for_node<E: Event>(&mut self, body: &E::Body) {
        self.send(Message::Event(EventMessage::new::<E>(body)), None, true);
    }

    /// Sends a response.
    pub fn respond(&mut self, response: ResponseMessage) {
        let for_node = response.request_seq >= NODE_SEQ_MIN;
        self.send(Message::Response(response), None, for_node);
    }

    /// Sends a response after which an event is likely to follow at once.
    pub fn respond_soon(&mut self, response: ResponseMessage) {
        self.send(Message::Response(response), Some(SOON), false);
    }

    /// How long what is there for the client may still wait for more; `None` when it is to go, or nothing is there.
    #[must_use]
    pub fn may_wait(&self, now: Instant) -> Option<Duration> {
        if self.line.is_some() { self.line_due } else { self.wire_due }.left(now)
    }

    /// The same of what the node is told of when the client knows it already.
    #[must_use]
    pub fn wire_may_wait(&self, now: Instant) -> Option<Duration> {
        self.wire_due.left(now)
    }

    /// The client hears a line, from the next message on; or does so no more, and the node is the only one that can tell it.
    pub fn set_line(&mut self, is_heard: bool) {
        if is_heard == self.line.is_some() {
            return;
        }
        self.line = is_heard.then(Vec::new);
        self.line_due = Due::Never;
        if !is_heard && !self.wire.is_empty() {
            self.wire_due = Due::Now;
        }
    }

    /// Takes what goes on the line.
    pub fn take_line(&mut self) -> Vec<Bytes> {
        self.line_due = Due::Never;
        self.line.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What is not written to the wire.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// So much of it is written.
    pub fn wrote(&mut self, bytes: usize) {
        let _ = self.wire.split_to(bytes);
        if self.wire.is_empty() {
            self.wire_due = Due::Never;
        }
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
        self.wire.len() > OUTPUT_BYTES_MAX
    }

    /// Begins again with a new client.
    pub fn clear(&mut self) {
        self.last_seq = 0;
        self.wire.clear();
        self.wire_due = Due::Never;
    }

    fn send(&mut self, mut message: Message, wait: Option<Duration>, for_node: bool) {
        let wait = wait.filter(|_| self.is_patient);
        self.last_seq += 1;
        message.set_seq(self.last_seq);
        let text = Bytes::from(message.to_vec());
        let mut wire_wait = wait;
        if let Some(line) = &mut self.line {
            line.push(text.clone());
            self.line_due.add(wait);
            wire_wait = (!for_node).then_some(BEHIND);
        }
        self.wire_due.add(wire_wait);
        // The codec refuses what is longer than any message may be; the engine's own limits keep its messages shorter.
        if let Err(error) = self.codec.encode(Outgoing(text), &mut self.wire) {
            tracing::error!(%error, "a message could not be sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say_running(outbox: &mut Outbox) {
        let running = dap::ContinuedEventBody { thread_id: dap::ThreadId(1), all_threads_continued: None };
        outbox.event_soon::<dap::events::Continued>(&running);
    }

    fn write(outbox: &mut Outbox) {
        outbox.wrote(outbox.wire().len());
    }

    #[test]
    fn only_what_comes_before_more_waits_and_not_for_long() {
        let now = Instant::now;
        let mut outbox = Outbox::new(true);
        assert_eq!(outbox.may_wait(now()), None, "nothing is there");
        say_running(&mut outbox);
        say_running(&mut outbox);
        let since = now();
        assert!(outbox.may_wait(since).is_some_and(|left| left <= SOON));
        assert_eq!(outbox.may_wait(since + SOON), None, "it has waited long enough");
        outbox.console("a stop");
        assert_eq!(outbox.may_wait(since), None, "what it waited for is there");
        say_running(&mut outbox);
        assert_eq!(outbox.may_wait(now()), None, "what is urgent takes it along");
        outbox.wrote(1);
        assert_eq!(outbox.may_wait(now()), None, "a part of it has gone");
        write(&mut outbox);
        say_running(&mut outbox);
        assert!(outbox.may_wait(since).is_some(), "all before has gone");
        let mut alone = Outbox::default();
        say_running(&mut alone);
        assert_eq!(alone.may_wait(now()), None, "nobody gains by waiting");
    }

    #[test]
    fn what_is_on_the_line_is_told_to_the_node_a_little_later() {
        let now = Instant::now;
        let mut outbox = Outbox::new(true);
        outbox.set_line(true);
        say_running(&mut outbox);
        let since = now();
        assert!(outbox.may_wait(since).is_some_and(|left| left <= SOON));
        assert!(outbox.wire_may_wait(since).is_some_and(|left| left > SOON));
        outbox.console("a stop");
        assert_eq!(outbox.may_wait(since), None);
        assert!(outbox.wire_may_wait(since).is_some(), "the client knows it");
        assert_eq!(outbox.take_line().len(), 2);
        let wire = String::from_utf8_lossy(outbox.wire()).into_owned();
        assert!(wire.contains(r#""seq":1"#) && wire.contains(r#""seq":2"#), "both ways have all: {wire}");
        assert_eq!(outbox.wire_may_wait(since + BEHIND + SOON), None);

        let answer = |seq| ResponseMessage::ok::<dap::requests::Next>(seq, &dap::Empty);
        outbox.respond(answer(3));
        assert!(outbox.wire_may_wait(since).is_some(), "that was asked by the client");
        outbox.respond(answer(NODE_SEQ_MIN));
        assert_eq!(outbox.wire_may_wait(since), None, "the node waits for its answer");
        write(&mut outbox);

        say_running(&mut outbox);
        outbox.set_line(false);
        assert_eq!(outbox.may_wait(since), None, "nobody else can tell the client");
        assert!(!outbox.wire().is_empty() && outbox.take_line().is_empty());
    }
}
