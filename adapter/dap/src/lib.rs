//! The Debug Adapter Protocol: its types, its envelope and its wire.
//!
//! Types, requests and events are generated from the official schema (`generated.rs`); the envelope, the codec, the
//! strict check of a conversation and the log are written by hand. Unknown values of an enumeration survive a round
//! trip, absent means absent and never `null`, and an unknown command loses nothing.
//!
//! ```
//! use dap::{ContinueResponseBody, EventMessage, Message, StoppedEventBody, StoppedEventReason, ThreadId, events, requests};
//!
//! let text = br#"{"seq": 3, "type": "request", "command": "continue", "arguments": {"threadId": 7}}"#;
//! let Message::Request(request) = Message::from_slice(text)? else { panic!("it is a request") };
//! let arguments: dap::ContinueArguments = request.arguments()?;
//! assert_eq!(arguments.thread_id, ThreadId(7));
//!
//! let body = ContinueResponseBody { all_threads_continued: Some(false) };
//! let mut response = Message::from(request.ok::<requests::Continue>(&body));
//! response.set_seq(1);
//!
//! let body = StoppedEventBody {
//!     reason: StoppedEventReason::Step,
//!     thread_id: Some(ThreadId(7)),
//!     ..Default::default()
//! };
//! let stopped = EventMessage::new::<events::Stopped>(&body);
//! assert_eq!(stopped.body.unwrap().get(), r#"{"reason":"step","threadId":7}"#);
//! # Ok::<(), dap::Malformed>(())
//! ```
//!
//! This crate must never know what is debugged, and never open a socket or a process.

mod check;
mod codec;
mod envelope;
#[allow(missing_docs, reason = "what a field means is said by the specification, to which each type links")]
mod generated;
mod ids;
pub mod limits;
mod log;
pub mod validate;
mod values;

pub use check::{Conversation, Finding};
pub use codec::{Codec, CodecError, Incoming, Outgoing};
pub use envelope::{
    Event, EventMessage, EventVisitor, Malformed, Message, Request, RequestMessage, RequestVisitor,
    ResponseMessage,
};
pub use generated::*;
pub use ids::{
    BreakpointId, FrameId, GotoTargetId, LocationReference, ModuleId, Seq, SourceReference, StepInTargetId,
    ThreadId, VariablesReference,
};
pub use log::{Direction, Log};
pub use values::Empty;
