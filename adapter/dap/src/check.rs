//! A strict check of a conversation, for tests and for logs.
//!
//! It holds each message to the schema by the generated types (a message must survive decode and encode unchanged, so
//! that a property which the schema does not declare, and every `null`, is a finding) and the whole to the protocol's
//! order. It is stricter than a client: what clients silently ignore is most often a misspelling.

mod order;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::validate::{At, Validate};
use crate::{
    Direction, ErrorResponseBody, Event, EventVisitor, Message, Request, RequestVisitor, visit_event,
    visit_request,
};

use order::Order;

/// Something in a conversation that breaks the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The message, counted from 1 in the order of the conversation; for what is missing at the end, its request.
    pub number: usize,
    /// Which way the message went, and what it is.
    pub label: String,
    /// What is wrong, as a sentence's beginning of a few words.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}: {}", self.number, self.label, self.text)
    }
}

/// A conversation that is being checked.
#[derive(Debug)]
pub struct Conversation {
    order: Order,
    prefix: Option<String>,
    count: usize,
    findings: Vec<Finding>,
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}

impl Conversation {
    /// A conversation that has not begun, of the protocol's own messages only.
    pub fn new() -> Self {
        Self { order: Order::new(), prefix: None, count: 0, findings: Vec::new() }
    }

    /// Allows custom requests and events whose names start with `prefix`.
    #[must_use]
    pub fn allow_prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.to_owned());
        self
    }

    /// For adapters that are talked to without `initialize`, by an agreement outside the protocol.
    #[must_use]
    pub fn without_handshake(mut self) -> Self {
        self.order.skip_handshake();
        self
    }

    /// Checks the next message, given as it was sent.
    pub fn observe(&mut self, direction: Direction, text: &str) {
        self.count += 1;
        let mut found = Vec::new();
        let label = match (serde_json::from_str::<Value>(text), Message::from_slice(text.as_bytes())) {
            (Ok(Value::Object(whole)), Ok(message)) => {
                self.check_shape(direction, &whole, &message, &mut found);
                self.order.observe(self.count, direction, &message, &mut found);
                format!("{direction} {} {}", kind(&message), message.name())
            }
            (_, Err(malformed)) => {
                found.push(malformed.reason);
                direction.to_string()
            }
            (other, Ok(_)) => {
                found.push(format!("is not a JSON object: {other:?}"));
                direction.to_string()
            }
        };
        let number = self.count;
        self.findings.extend(found.into_iter().map(|text| Finding { number, label: label.clone(), text }));
    }

    /// Checks a whole log as [`crate::Log`] writes it.
    pub fn observe_log(&mut self, log: &str) {
        #[derive(serde::Deserialize)]
        struct Row<'a> {
            dir: &'a str,
            #[serde(borrow)]
            msg: &'a serde_json::value::RawValue,
        }
        for (index, line) in log.lines().enumerate() {
            match serde_json::from_str::<Row<'_>>(line) {
                Ok(Row { dir: "in", msg }) => self.observe(Direction::In, msg.get()),
                Ok(Row { dir: "out", msg }) => self.observe(Direction::Out, msg.get()),
                Ok(Row { dir, .. }) => self.add_about_log(index, format!("{dir:?} is neither in nor out")),
                Err(error) => self.add_about_log(index, format!("is not a line of a log: {error}")),
            }
        }
    }

    /// How many messages have been checked.
    pub fn message_count(&self) -> usize {
        self.count
    }

    /// Ends the conversation and says all that was wrong in it.
    pub fn finish(mut self) -> Vec<Finding> {
        self.order.finish(&mut self.findings);
        self.findings
    }

    fn add_about_log(&mut self, index: usize, text: String) {
        self.findings.push(Finding { number: self.count + 1, label: format!("line {}", index + 1), text });
    }

    fn is_custom(&self, name: &str) -> bool {
        self.prefix.as_ref().is_some_and(|prefix| name.starts_with(prefix.as_str()))
    }

    fn check_shape(
        &self,
        direction: Direction,
        whole: &Map<String, Value>,
        message: &Message,
        found: &mut Vec<String>,
    ) {
        let declared: &[&str] = match message {
            Message::Request(_) => &["seq", "type", "command", "arguments"],
            Message::Response(_) => &["seq", "type", "request_seq", "success", "command", "message", "body"],
            Message::Event(_) => &["seq", "type", "event", "body"],
        };
        for (key, value) in whole {
            if !declared.contains(&key.as_str()) {
                found.push(format!("{key}: is a property that the protocol does not declare"));
            } else if value.is_null() {
                found.push(format!("{key}: is null; what is absent is left out"));
            }
        }
        let name = message.name();
        match message {
            Message::Request(_) => {
                let known = visit_request(name, Arguments(whole.get("arguments")));
                // A client may ask for what only it knows; it is refused, and harms nobody.
                if known.is_none() && direction == Direction::Out && !self.is_custom(name) {
                    found.push("is a reverse request that the protocol does not know".to_owned());
                }
                found.extend(known.unwrap_or_default());
            }
            Message::Response(response) if response.success => {
                found.extend(visit_request(name, Success(whole.get("body"))).unwrap_or_default());
            }
            Message::Response(response) => {
                if direction == Direction::Out && response.message.as_deref().unwrap_or_default().is_empty() {
                    found.push("is a refusal without a message".to_owned());
                }
                if let Some(body @ Value::Object(_)) = whole.get("body") {
                    found.extend(check_part::<ErrorResponseBody>("body", Some(body), false));
                }
            }
            Message::Event(_) => {
                let known = visit_event(name, Body(whole.get("body")));
                if known.is_none() && !self.is_custom(name) {
                    found.push("is an event that the protocol does not know".to_owned());
                }
                found.extend(known.unwrap_or_default());
            }
        }
    }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Request(_) => "request",
        Message::Response(_) => "response",
        Message::Event(_) => "event",
    }
}

struct Arguments<'a>(Option<&'a Value>);
struct Success<'a>(Option<&'a Value>);
struct Body<'a>(Option<&'a Value>);

impl RequestVisitor for Arguments<'_> {
    type Output = Vec<String>;

    fn visit<R: Request>(self) -> Vec<String>
    where
        R::Arguments: Validate,
        R::Response: Validate,
    {
        check_part::<R::Arguments>("arguments", self.0, R::NEEDS_ARGUMENTS)
    }
}

impl RequestVisitor for Success<'_> {
    type Output = Vec<String>;

    fn visit<R: Request>(self) -> Vec<String>
    where
        R::Arguments: Validate,
        R::Response: Validate,
    {
        check_part::<R::Response>("body", self.0, R::NEEDS_BODY)
    }
}

impl EventVisitor for Body<'_> {
    type Output = Vec<String>;

    fn visit<E: Event>(self) -> Vec<String>
    where
        E::Body: Validate,
    {
        check_part::<E::Body>("body", self.0, E::NEEDS_BODY)
    }
}

/// Holds one part of a message to its type.
fn check_part<T: Serialize + DeserializeOwned + Validate>(
    name: &str,
    part: Option<&Value>,
    is_needed: bool,
) -> Vec<String> {
    let Some(part) = part else {
        return if is_needed { vec![format!("{name}: is missing")] } else { Vec::new() };
    };
    let value = match serde_json::from_value::<T>(part.clone()) {
        Ok(value) => value,
        Err(error) => return vec![format!("{name}: {error}")],
    };
    let mut at = At::new(name);
    value.validate(&mut at);
    let mut found = at.into_found();
    match serde_json::to_value(&value) {
        // The type has no properties, so that nothing in it can be misspelt.
        Ok(Value::Null) if part.is_object() => {}
        Ok(Value::Null) => found.push(format!("{name}: is not an object")),
        Ok(again) => compare(name, part, &again, &mut found),
        Err(error) => found.push(format!("{name}: cannot be written again: {error}")),
    }
    found
}

/// Says what was lost between a part as it was sent and as its type keeps it.
fn compare(path: &str, sent: &Value, kept: &Value, found: &mut Vec<String>) {
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => {
            for (key, value) in sent {
                let path = format!("{path}.{key}");
                match kept.get(key) {
                    Some(again) => compare(&path, value, again, found),
                    None if value.is_null() => {
                        found.push(format!("{path}: is null; what is absent is left out"));
                    }
                    None => found.push(format!("{path}: is a property that the protocol does not declare")),
                }
            }
        }
        (Value::Array(sent), Value::Array(kept)) if sent.len() == kept.len() => {
            for (index, (value, again)) in sent.iter().zip(kept).enumerate() {
                compare(&format!("{path}[{index}]"), value, again, found);
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        _ if sent == kept => {}
        _ => found.push(format!("{path}: {sent} is kept as {kept}")),
    }
}
