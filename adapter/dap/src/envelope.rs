//! The envelope of every message, read in two steps: first who asks what, then the arguments.
//!
//! So a request with bad arguments, or one that nobody knows, still has the number and the name that its refusal needs.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::validate::Validate;
use crate::{ErrorMessage, ErrorResponseBody, Seq};

/// A request of the protocol, or one of an adapter's own.
pub trait Request {
    /// Its name on the wire.
    const COMMAND: &'static str;
    /// Whether a request without arguments breaks the protocol.
    const NEEDS_ARGUMENTS: bool = false;
    /// Whether a success without a body breaks the protocol.
    const NEEDS_BODY: bool = false;
    /// What it asks with.
    type Arguments: Serialize + DeserializeOwned;
    /// What it is answered with.
    type Response: Serialize + DeserializeOwned;
}

/// An event of the protocol, or one of an adapter's own.
pub trait Event {
    /// Its name on the wire.
    const EVENT: &'static str;
    /// Whether an event without a body breaks the protocol.
    const NEEDS_BODY: bool = false;
    /// What it tells.
    type Body: Serialize + DeserializeOwned;
}

/// Something to be done with the type of a request that is known by its command only.
pub trait RequestVisitor {
    /// What comes out.
    type Output;
    /// Does it for the request `R`.
    fn visit<R: Request>(self) -> Self::Output
    where
        R::Arguments: Validate,
        R::Response: Validate;
}

/// Something to be done with the type of an event that is known by its name only.
pub trait EventVisitor {
    /// What comes out.
    type Output;
    /// Does it for the event `E`.
    fn visit<E: Event>(self) -> Self::Output
    where
        E::Body: Validate;
}

/// One message of either side.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Asks for something.
    Request(RequestMessage),
    /// Answers a request.
    Response(ResponseMessage),
    /// Tells something.
    Event(EventMessage),
}

/// A request as it travels.
#[derive(Clone, Debug)]
pub struct RequestMessage {
    /// The sender's number of this message; 0 until it is sent.
    pub seq: Seq,
    /// What is asked.
    pub command: String,
    /// The arguments as they were sent.
    pub arguments: Option<Box<RawValue>>,
}

/// A response as it travels.
#[derive(Clone, Debug)]
pub struct ResponseMessage {
    /// The sender's number of this message; 0 until it is sent.
    pub seq: Seq,
    /// The number of the request.
    pub request_seq: Seq,
    /// Whether it was done.
    pub success: bool,
    /// What was asked.
    pub command: String,
    /// Why it was not done.
    pub message: Option<String>,
    /// The result, or the error's details.
    pub body: Option<Box<RawValue>>,
}

/// An event as it travels.
#[derive(Clone, Debug)]
pub struct EventMessage {
    /// The sender's number of this message; 0 until it is sent.
    pub seq: Seq,
    /// What happened.
    pub event: String,
    /// The details.
    pub body: Option<Box<RawValue>>,
}

/// A text that is not a message, with as much as could be read of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// What is wrong, as a sentence.
    pub reason: String,
    /// The message's number, where it could be read.
    pub seq: Option<Seq>,
    /// The request's command, where it could be read.
    pub command: Option<String>,
}

impl Malformed {
    /// The refusal of a request of which at least the number and the command could be read.
    pub fn refusal(&self) -> Option<ResponseMessage> {
        let command = self.command.clone()?;
        Some(ResponseMessage::err(self.seq?, command, self.reason.clone()))
    }
}

/// Every key that an envelope may have. All are optional, so that a message that lacks one can be told which.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    seq: Option<Seq>,
    command: Option<String>,
    event: Option<String>,
    request_seq: Option<Seq>,
    success: Option<bool>,
    message: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// The two keys that a refusal needs, read alone when the rest cannot be.
#[derive(Deserialize)]
struct Salvage {
    seq: Option<Seq>,
    command: Option<String>,
}

impl Message {
    /// Reads one message from its JSON text.
    pub fn from_slice(text: &[u8]) -> Result<Self, Malformed> {
        let wire: Wire<'_> = serde_json::from_slice(text).map_err(|error| {
            let salvage = serde_json::from_slice(text).unwrap_or(Salvage { seq: None, command: None });
            let reason = format!("The message is not one of the Debug Adapter Protocol: {error}.");
            Malformed { reason, seq: salvage.seq, command: salvage.command }
        })?;
        let (seq, command) = (wire.seq, wire.command.clone());
        let lacks = |key: &str| Malformed {
            reason: format!("The message is not one of the Debug Adapter Protocol: it has no `{key}`."),
            seq,
            command: command.clone(),
        };
        let kind = wire.kind.ok_or_else(|| lacks("type"))?;
        let seq = wire.seq.ok_or_else(|| lacks("seq"))?;
        match kind.as_str() {
            "request" => Ok(Self::Request(RequestMessage {
                seq,
                command: wire.command.ok_or_else(|| lacks("command"))?,
                arguments: wire.arguments.map(ToOwned::to_owned),
            })),
            "response" => Ok(Self::Response(ResponseMessage {
                seq,
                request_seq: wire.request_seq.ok_or_else(|| lacks("request_seq"))?,
                success: wire.success.ok_or_else(|| lacks("success"))?,
                command: wire.command.ok_or_else(|| lacks("command"))?,
                message: wire.message,
                body: wire.body.map(ToOwned::to_owned),
            })),
            "event" => Ok(Self::Event(EventMessage {
                seq,
                event: wire.event.ok_or_else(|| lacks("event"))?,
                body: wire.body.map(ToOwned::to_owned),
            })),
            other => Err(Malformed {
                reason: format!("A message's `type` is request, response or event; this one says {other:?}."),
                seq: Some(seq),
                command: wire.command,
            }),
        }
    }

    /// The JSON text of the message, on one line where its parts are.
    pub fn to_vec(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Out<'a> {
            seq: Seq,
            #[serde(rename = "type")]
            kind: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            request_seq: Option<Seq>,
            #[serde(skip_serializing_if = "Option::is_none")]
            success: Option<bool>,
            #[serde(skip_serializing_if = "Option::is_none")]
            command: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            event: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            arguments: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            body: Option<&'a RawValue>,
        }
        let mut out = Out {
            seq: self.seq(),
            kind: "event",
            request_seq: None,
            success: None,
            command: None,
            event: None,
            message: None,
            arguments: None,
            body: None,
        };
        match self {
            Self::Request(request) => {
                out.kind = "request";
                out.command = Some(&request.command);
                out.arguments = request.arguments.as_deref();
            }
            Self::Response(response) => {
                out.kind = "response";
                out.request_seq = Some(response.request_seq);
                out.success = Some(response.success);
                out.command = Some(&response.command);
                out.message = response.message.as_deref();
                out.body = response.body.as_deref();
            }
            Self::Event(event) => {
                out.event = Some(&event.event);
                out.body = event.body.as_deref();
            }
        }
        // Texts, numbers and checked JSON only: there is nothing in here that could fail to be written.
        serde_json::to_vec(&out).expect("an envelope is always written")
    }

    /// The sender's number of this message.
    pub fn seq(&self) -> Seq {
        match self {
            Self::Request(RequestMessage { seq, .. })
            | Self::Response(ResponseMessage { seq, .. })
            | Self::Event(EventMessage { seq, .. }) => *seq,
        }
    }

    /// Numbers the message; the one writer of a connection does this as it sends.
    pub fn set_seq(&mut self, number: Seq) {
        match self {
            Self::Request(RequestMessage { seq, .. })
            | Self::Response(ResponseMessage { seq, .. })
            | Self::Event(EventMessage { seq, .. }) => *seq = number,
        }
    }

    /// The command or the event's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Request(request) => &request.command,
            Self::Response(response) => &response.command,
            Self::Event(event) => &event.event,
        }
    }
}

impl RequestMessage {
    /// A request of the type `R`.
    pub fn new<R: Request>(seq: Seq, arguments: &R::Arguments) -> Self {
        Self { seq, command: R::COMMAND.to_owned(), arguments: raw(arguments) }
    }

    /// The arguments as `T`. Absent arguments and `null` read as an empty object.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T, Malformed> {
        read(self.arguments.as_deref()).map_err(|error| Malformed {
            reason: format!("The arguments of `{}` cannot be read: {error}.", self.command),
            seq: Some(self.seq),
            command: Some(self.command.clone()),
        })
    }

    /// The answer that it was done.
    pub fn ok<R: Request>(&self, body: &R::Response) -> ResponseMessage {
        ResponseMessage::ok::<R>(self.seq, body)
    }

    /// The answer that it was not done, and why.
    pub fn err(&self, why: impl Into<ErrorMessage>) -> ResponseMessage {
        ResponseMessage::err(self.seq, self.command.clone(), why)
    }
}

impl ResponseMessage {
    /// The answer that the request `R` was done.
    pub fn ok<R: Request>(request_seq: Seq, body: &R::Response) -> Self {
        Self {
            seq: 0,
            request_seq,
            success: true,
            command: R::COMMAND.to_owned(),
            message: None,
            body: raw(body),
        }
    }

    /// The answer that a request was not done, and why. The sentence stands both in `message`, which every client
    /// shows, and in the body, whose `showUser` some clients follow.
    pub fn err(request_seq: Seq, command: impl Into<String>, why: impl Into<ErrorMessage>) -> Self {
        let why = why.into();
        let message = Some(why.text());
        let body = raw(&ErrorResponseBody { error: Some(why) });
        Self { seq: 0, request_seq, success: false, command: command.into(), message, body }
    }

    /// The answer to a request that was given up because the client asked so.
    pub fn cancelled(request_seq: Seq, command: impl Into<String>) -> Self {
        let message = Some("cancelled".to_owned());
        Self { seq: 0, request_seq, success: false, command: command.into(), message, body: None }
    }

    /// The body as `T`; an absent body reads as an empty object.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, Malformed> {
        read(self.body.as_deref()).map_err(|error| Malformed {
            reason: format!("The answer to `{}` cannot be read: {error}.", self.command),
            seq: Some(self.seq),
            command: Some(self.command.clone()),
        })
    }

    /// The error of a refused request: its body's where it has one, otherwise its message.
    pub fn error(&self) -> Option<ErrorMessage> {
        if self.success {
            return None;
        }
        let details = self.body::<ErrorResponseBody>().ok().and_then(|body| body.error);
        Some(details.unwrap_or_else(|| match &self.message {
            Some(message) => ErrorMessage::from(message.as_str()),
            None => ErrorMessage::from(format!("`{}` was refused without a reason.", self.command)),
        }))
    }
}

impl EventMessage {
    /// An event of the type `E`.
    pub fn new<E: Event>(body: &E::Body) -> Self {
        Self { seq: 0, event: E::EVENT.to_owned(), body: raw(body) }
    }

    /// The body as `T`; an absent body reads as an empty object.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, Malformed> {
        read(self.body.as_deref()).map_err(|error| Malformed {
            reason: format!("The event `{}` cannot be read: {error}.", self.event),
            seq: Some(self.seq),
            command: None,
        })
    }
}

impl ErrorMessage {
    /// An error whose text is shown as it stands.
    pub fn new(id: i32, text: impl Into<String>) -> Self {
        // Braces name variables in a format, so a text that has some of its own travels as a variable.
        let text = text.into();
        if text.contains(['{', '}']) {
            let variables = [("text".to_owned(), text)].into();
            return Self { id, format: "{text}".to_owned(), variables: Some(variables), ..Self::default() };
        }
        Self { id, format: text, ..Self::default() }
    }

    /// The same, and the client is asked to show it to the person at once.
    pub fn shown(mut self) -> Self {
        self.show_user = Some(true);
        self
    }

    /// The text with its variables filled in.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.format.len());
        let mut rest = self.format.as_str();
        while let Some(start) = rest.find('{') {
            text.push_str(&rest[..start]);
            let after = &rest[start + 1..];
            let value = after.find('}').and_then(|end| {
                self.variables.as_ref()?.get(&after[..end]).map(|value| (value.as_str(), end))
            });
            if let Some((value, end)) = value {
                text.push_str(value);
                rest = &after[end + 1..];
            } else {
                text.push('{');
                rest = after;
            }
        }
        text.push_str(rest);
        text
    }
}

impl From<String> for ErrorMessage {
    fn from(text: String) -> Self {
        Self::new(1, text)
    }
}

impl From<&str> for ErrorMessage {
    fn from(text: &str) -> Self {
        Self::new(1, text)
    }
}

impl From<RequestMessage> for Message {
    fn from(request: RequestMessage) -> Self {
        Self::Request(request)
    }
}

impl From<ResponseMessage> for Message {
    fn from(response: ResponseMessage) -> Self {
        Self::Response(response)
    }
}

impl From<EventMessage> for Message {
    fn from(event: EventMessage) -> Self {
        Self::Event(event)
    }
}

impl PartialEq for RequestMessage {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
            && self.command == other.command
            && text(self.arguments.as_deref()) == text(other.arguments.as_deref())
    }
}

impl PartialEq for ResponseMessage {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
            && self.request_seq == other.request_seq
            && self.success == other.success
            && self.command == other.command
            && self.message == other.message
            && text(self.body.as_deref()) == text(other.body.as_deref())
    }
}

impl PartialEq for EventMessage {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
            && self.event == other.event
            && text(self.body.as_deref()) == text(other.body.as_deref())
    }
}

fn text(part: Option<&RawValue>) -> Option<&str> {
    part.map(RawValue::get)
}

/// Writes a part of a message; one that holds nothing is absent.
fn raw<T: Serialize>(part: &T) -> Option<Box<RawValue>> {
    // The protocol's types have texts as keys and finite numbers only where they come from JSON: they are always written.
    let raw = serde_json::value::to_raw_value(part).expect("a part of a message is always written");
    (raw.get() != "null").then_some(raw)
}

/// Reads a part of a message. An absent one reads as an empty object or, where that is none, as nothing.
fn read<T: DeserializeOwned>(part: Option<&RawValue>) -> Result<T, serde_json::Error> {
    match part {
        Some(raw) if raw.get() != "null" => serde_json::from_str(raw.get()),
        _ => serde_json::from_str("{}").or_else(|error| serde_json::from_str("null").map_err(|_| error)),
    }
}
