//! The protocol's order: who may say what, when.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Finding;
use crate::{
    Direction, EventMessage, InvalidatedAreas, InvalidatedEventBody, Message, RequestMessage,
    ResponseMessage, Seq,
};

/// A request that has been asked.
#[derive(Debug)]
struct Asked {
    number: usize,
    command: String,
}

/// What one side has said so far.
#[derive(Debug, Default)]
struct Side {
    last_seq: Seq,
    open: BTreeMap<Seq, Asked>,
    answered: HashSet<Seq>,
}

/// How far the handshake has come.
#[derive(Debug, PartialEq, Eq)]
enum Handshake {
    Needed,
    Asked,
    Answered,
}

/// The state of a conversation, as far as the order of messages depends on it.
#[derive(Debug)]
pub(super) struct Order {
    client: Side,
    adapter: Side,
    handshake: Handshake,
    is_initialized: bool,
    is_terminated: bool,
    exited_threads: BTreeSet<i64>,
    /// Progress reports that have started and not ended.
    progress: HashMap<String, usize>,
}

/// What an event is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    /// Of any width: one beyond int32 is reported by the check of shapes.
    thread_id: Option<i64>,
    reason: Option<String>,
    progress_id: Option<String>,
}

impl Order {
    pub fn new() -> Self {
        Self {
            client: Side::default(),
            adapter: Side::default(),
            handshake: Handshake::Needed,
            is_initialized: false,
            is_terminated: false,
            exited_threads: BTreeSet::new(),
            progress: HashMap::new(),
        }
    }

    pub fn skip_handshake(&mut self) {
        self.handshake = Handshake::Answered;
    }

    pub fn observe(
        &mut self,
        number: usize,
        direction: Direction,
        message: &Message,
        found: &mut Vec<String>,
    ) {
        self.check_seq(direction, message.seq(), found);
        match message {
            Message::Request(request) => self.request(number, direction, request, found),
            Message::Response(response) => self.response(direction, response, found),
            Message::Event(event) => self.event(number, direction, event, found),
        }
    }

    /// What is still open at the end. A client that disconnects may be gone before its answer.
    pub fn finish(self, findings: &mut Vec<Finding>) {
        for (seq, asked) in self.client.open {
            if asked.command != "disconnect" {
                findings.push(Finding {
                    number: asked.number,
                    label: format!("in request {}", asked.command),
                    text: format!("request {seq} was never answered"),
                });
            }
        }
        if self.is_terminated {
            return;
        }
        for (id, number) in self.progress {
            findings.push(Finding {
                number,
                label: "out event progressStart".to_owned(),
                text: format!("the progress report {id:?} never ended"),
            });
        }
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::In => &mut self.client,
            Direction::Out => &mut self.adapter,
        }
    }

    fn check_seq(&mut self, direction: Direction, seq: Seq, found: &mut Vec<String>) {
        let side = self.side(direction);
        if seq < 1 || seq > Seq::from(i32::MAX) {
            found.push(format!("seq {seq} is not a positive int32"));
        } else if seq <= side.last_seq {
            found.push(format!("seq {seq} does not rise (the last was {})", side.last_seq));
        } else {
            side.last_seq = seq;
        }
    }

    fn request(
        &mut self,
        number: usize,
        direction: Direction,
        request: &RequestMessage,
        found: &mut Vec<String>,
    ) {
        if direction == Direction::In && request.command == "initialize" {
            if self.handshake != Handshake::Needed {
                found.push("initialize is asked a second time".to_owned());
            } else {
                self.handshake = Handshake::Asked;
            }
        }
        if direction == Direction::Out && self.handshake != Handshake::Answered {
            found.push("a request before the initialize response".to_owned());
        }
        let asked = Asked { number, command: request.command.clone() };
        self.side(direction).open.insert(request.seq, asked);
    }

    fn response(&mut self, direction: Direction, response: &ResponseMessage, found: &mut Vec<String>) {
        let asker = self.side(direction.reverse());
        let seq = response.request_seq;
        match asker.open.remove(&seq) {
            Some(asked) => {
                asker.answered.insert(seq);
                if asked.command != response.command {
                    found.push(format!("answers {:?} as {:?}", asked.command, response.command));
                }
            }
            None if asker.answered.contains(&seq) => {
                found.push(format!("answers request {seq} a second time"));
            }
            None => found.push(format!("answers request {seq}, which was never asked")),
        }
        if direction == Direction::In {
            return;
        }
        if response.command == "initialize" {
            // A client whose initialize was refused may ask again.
            self.handshake = if response.success { Handshake::Answered } else { Handshake::Needed };
        } else if response.success && self.handshake != Handshake::Answered {
            found.push("a success before the initialize response".to_owned());
        }
    }

    fn event(&mut self, number: usize, direction: Direction, event: &EventMessage, found: &mut Vec<String>) {
        if direction == Direction::In {
            found.push("an event from the client".to_owned());
            return;
        }
        let name = event.event.as_str();
        if self.handshake != Handshake::Answered && name != "output" {
            found.push("an event before the initialize response".to_owned());
        }
        if self.is_terminated && !matches!(name, "exited" | "output") {
            found.push("an event after terminated".to_owned());
        }
        let about = about(event.body.as_deref());
        match name {
            "initialized" if self.is_initialized => found.push("initialized twice".to_owned()),
            "initialized" => self.is_initialized = true,
            "terminated" => self.is_terminated = true,
            "thread" => self.thread(&about, found),
            "stopped" if about.thread_id.is_none() => {
                found.push("stopped without a threadId: the client would fetch every stack".to_owned());
            }
            "stopped" | "continued" => {
                if let Some(thread) = about.thread_id.filter(|thread| self.exited_threads.contains(thread)) {
                    found.push(format!("is about thread {thread}, which has exited"));
                }
            }
            "invalidated" if is_beyond_variables(event) => {
                found.push("invalidated beyond variables: the client replays or loses stops".to_owned());
            }
            "progressStart" | "progressUpdate" | "progressEnd" => self.progress(number, name, about, found),
            _ => {}
        }
    }

    fn thread(&mut self, about: &About, found: &mut Vec<String>) {
        let Some(thread) = about.thread_id else { return };
        match about.reason.as_deref() {
            Some("started") if self.exited_threads.contains(&thread) => {
                found.push(format!("thread id {thread} is used again"));
            }
            Some("exited") => {
                self.exited_threads.insert(thread);
            }
            _ => {}
        }
    }

    fn progress(&mut self, number: usize, name: &str, about: About, found: &mut Vec<String>) {
        let Some(id) = about.progress_id else { return };
        match name {
            "progressStart" if self.progress.contains_key(&id) => {
                found.push(format!("the progress report {id:?} starts twice"));
            }
            "progressStart" => {
                self.progress.insert(id, number);
            }
            _ if !self.progress.contains_key(&id) => {
                found.push(format!("the progress report {id:?} has not started"));
            }
            "progressEnd" => {
                self.progress.remove(&id);
            }
            _ => {}
        }
    }
}

fn about(body: Option<&RawValue>) -> About {
    // A body of another shape has been reported by the check of shapes.
    body.and_then(|body| serde_json::from_str(body.get()).ok()).unwrap_or(About {
        thread_id: None,
        reason: None,
        progress_id: None,
    })
}

fn is_beyond_variables(event: &EventMessage) -> bool {
    let areas = event.body::<InvalidatedEventBody>().ok().and_then(|body| body.areas).unwrap_or_default();
    areas.is_empty() || areas.iter().any(|area| *area != InvalidatedAreas::Variables)
}
