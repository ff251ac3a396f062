//! The log of a conversation: one line a message, `{"dir": "in" | "out", "msg": {...}}`, in the order in which the
//! adapter saw them. `in` is from the client to the adapter.

use std::fmt;
use std::io::{self, Write};

use serde_json::value::RawValue;

use crate::limits::MALFORMED_BYTES_KEPT;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the adapter.
    In,
    /// From the adapter to the client.
    Out,
}

impl Direction {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    /// The other way.
    pub fn reverse(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes a conversation's log. Each line is written at once and whole, so that the log of an adapter that was
/// killed ends with the last message that it saw.
#[derive(Debug)]
pub struct Log<W> {
    sink: W,
    line: Vec<u8>,
}

impl<W: Write> Log<W> {
    /// A log that writes into `sink`, which should not buffer.
    pub fn new(sink: W) -> Self {
        Self { sink, line: Vec::new() }
    }

    /// Writes the text of one message. A text that is not JSON is kept, cut, as `{"malformed": "..."}`.
    pub fn record(&mut self, direction: Direction, text: &[u8]) -> io::Result<()> {
        self.line.clear();
        write!(self.line, "{{\"dir\":\"{direction}\",\"msg\":")?;
        if serde_json::from_slice::<&RawValue>(text).is_ok() {
            // JSON has line ends between its tokens only, never within one.
            self.line
                .extend(text.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        } else {
            let kept = String::from_utf8_lossy(&text[..text.len().min(MALFORMED_BYTES_KEPT)]);
            serde_json::to_writer(&mut self.line, &serde_json::json!({ "malformed": kept }))?;
        }
        self.line.extend_from_slice(b"}\n");
        self.sink.write_all(&self.line)?;
        self.sink.flush()
    }

    /// Gives the sink back.
    pub fn into_inner(self) -> W {
        self.sink
    }
}
