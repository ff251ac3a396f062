//! The wire: a header with the body's length, an empty line, the body.
//!
//! What comes in is read with tolerance (header names in any case, other headers, `Content-Type`), but what cannot be a
//! debug client is refused: a web page that reached a local port sends `Origin:` or an HTTP request line. A body that is
//! not a message is an item, not an error: its frame was whole, so the connection goes on. A header that cannot be
//! read is an error, as nobody knows where the next message starts.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::limits::{HEADER_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::{Malformed, Message};

const END_OF_HEADER: &[u8] = b"\r\n\r\n";
const HTTP_METHODS: &[&str] =
    &["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "PRI"];

/// Reads and writes the messages of one connection.
#[derive(Debug, Clone)]
pub struct Codec {
    message_bytes_max: usize,
    /// The length of the body whose header has been read already.
    body_bytes: Option<usize>,
    /// How much of an unfinished header has been searched for its end.
    searched_bytes: usize,
}

/// One message that came in, with its text as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The body's text.
    pub text: Bytes,
    /// The message, or why the text is none.
    pub message: Result<Message, Malformed>,
}

/// The text of one message that goes out, serialised by the caller, who may log it as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing(pub Bytes);

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The header announces a body beyond the limit.
    #[error(
        "A message of {announced} bytes was announced, and the limit is {limit} bytes. The connection is closed; \
         ask for less at a time (fewer variables or frames in one request)."
    )]
    TooLong {
        /// What the header said.
        announced: u64,
        /// The limit of this connection.
        limit: usize,
    },
    /// The header is longer than any header of the protocol.
    #[error(
        "No message header ended within {limit} bytes. The connection is closed: the other side does not speak the \
         Debug Adapter Protocol."
    )]
    HeaderTooLong {
        /// The limit.
        limit: usize,
    },
    /// The header cannot be read.
    #[error("The message header {header:?} cannot be read: {cause}. The connection is closed.")]
    Header {
        /// The header as it was sent, cut.
        header: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A web browser is at the other end.
    #[error(
        "The connection comes from a web page (it sent {evidence:?}) and is refused, because a page could debug your \
         programs in secret. Connect with a debug client."
    )]
    WebPage {
        /// The line that gave it away, cut.
        evidence: String,
    },
    /// The other side went away in the middle of a message.
    #[error("The connection ended in the middle of a message, after {received} bytes of it.")]
    Truncated {
        /// How much of the unfinished message had come.
        received: usize,
    },
    /// The transport failed.
    #[error("The connection failed: {0}.")]
    Io(#[from] std::io::Error),
}

impl Default for Codec {
    fn default() -> Self {
        Self::with_limit(MESSAGE_BYTES_MAX)
    }
}

impl Codec {
    /// A codec that refuses bodies of more than `message_bytes_max` bytes.
    pub fn with_limit(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, body_bytes: None, searched_bytes: 0 }
    }

    /// The length of the next body, once its header has come.
    fn header(&mut self, buffer: &mut BytesMut) -> Result<Option<usize>, CodecError> {
        if let Some(length) = self.body_bytes {
            return Ok(Some(length));
        }
        if self.searched_bytes == 0 {
            // Some writers end a body with line ends that they do not count.
            let blank = buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            buffer.advance(blank);
        }
        // The end may straddle what was searched before.
        let from = self.searched_bytes.saturating_sub(END_OF_HEADER.len() - 1);
        let found = buffer[from..].windows(END_OF_HEADER.len()).position(|window| window == END_OF_HEADER);
        let Some(end) = found.map(|position| from + position) else {
            self.searched_bytes = buffer.len();
            refuse_web_page(buffer)?;
            if buffer.len() > HEADER_BYTES_MAX {
                return Err(CodecError::HeaderTooLong { limit: HEADER_BYTES_MAX });
            }
            return Ok(None);
        };
        self.searched_bytes = 0;
        if end > HEADER_BYTES_MAX {
            return Err(CodecError::HeaderTooLong { limit: HEADER_BYTES_MAX });
        }
        let header = buffer.split_to(end + END_OF_HEADER.len());
        let length = body_length(&header[..end])?;
        if length > self.message_bytes_max as u64 {
            return Err(CodecError::TooLong { announced: length, limit: self.message_bytes_max });
        }
        let length = length as usize;
        self.body_bytes = Some(length);
        Ok(Some(length))
    }
}

impl Decoder for Codec {
    type Item = Incoming;
    type Error = CodecError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, CodecError> {
        let Some(length) = self.header(buffer)? else { return Ok(None) };
        if buffer.len() < length {
            buffer.reserve(length - buffer.len());
            return Ok(None);
        }
        self.body_bytes = None;
        let text = buffer.split_to(length).freeze();
        let message = Message::from_slice(&text);
        Ok(Some(Incoming { text, message }))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, CodecError> {
        if let Some(incoming) = self.decode(buffer)? {
            return Ok(Some(incoming));
        }
        // Line ends after the last message are harmless; anything else is half a message.
        let is_blank = buffer.iter().all(u8::is_ascii_whitespace);
        if is_blank && self.body_bytes.is_none() {
            buffer.clear();
            return Ok(None);
        }
        let received = buffer.len();
        buffer.clear();
        Err(CodecError::Truncated { received })
    }
}

impl Encoder<Outgoing> for Codec {
    type Error = CodecError;

    fn encode(&mut self, outgoing: Outgoing, buffer: &mut BytesMut) -> Result<(), CodecError> {
        let body = outgoing.0;
        let length = body.remaining().to_string();
        buffer.reserve(length.len() + body.len() + "Content-Length: \r\n\r\n".len());
        buffer.put_slice(b"Content-Length: ");
        buffer.put_slice(length.as_bytes());
        buffer.put_slice(END_OF_HEADER);
        buffer.put(body);
        Ok(())
    }
}

impl Encoder<&Message> for Codec {
    type Error = CodecError;

    fn encode(&mut self, message: &Message, buffer: &mut BytesMut) -> Result<(), CodecError> {
        self.encode(Outgoing(message.to_vec().into()), buffer)
    }
}

impl Encoder<Message> for Codec {
    type Error = CodecError;

    fn encode(&mut self, message: Message, buffer: &mut BytesMut) -> Result<(), CodecError> {
        self.encode(&message, buffer)
    }
}

/// Finds the length in a whole header.
fn body_length(header: &[u8]) -> Result<u64, CodecError> {
    refuse_web_page(header)?;
    let wrong = |cause| CodecError::Header { header: cut(header), cause };
    let text = std::str::from_utf8(header).map_err(|_| wrong("it is not text"))?;
    let mut length = None;
    for line in text.split("\r\n") {
        let (name, value) =
            line.split_once(':').ok_or_else(|| wrong("a line of it has no colon after the header's name"))?;
        if !name.trim().eq_ignore_ascii_case("Content-Length") {
            continue;
        }
        let value = value.trim();
        // `parse` alone would also take a sign.
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let value = if is_number { value.parse().ok() } else { None };
        let value = value.ok_or_else(|| wrong("its Content-Length is not a number of bytes"))?;
        if length.replace(value).is_some_and(|earlier| earlier != value) {
            return Err(wrong("it has two different values of Content-Length"));
        }
    }
    length.ok_or_else(|| wrong("it has no Content-Length"))
}

/// Refuses what a browser sends. It looks at unfinished headers too, so that a page is refused at its first line.
fn refuse_web_page(header: &[u8]) -> Result<(), CodecError> {
    let is_from_page = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let first_word = line.split(' ').next().unwrap_or_default();
        let is_request = line.contains(' ') && HTTP_METHODS.contains(&first_word);
        let name = line.split_once(':').map(|(name, _)| name.trim());
        is_request || name.is_some_and(|name| name.eq_ignore_ascii_case("Origin"))
    };
    match header.split(|&byte| byte == b'\n').find(|line| is_from_page(line)) {
        Some(line) => Err(CodecError::WebPage { evidence: cut(line) }),
        None => Ok(()),
    }
}

/// A text for an error message, not longer than a person reads.
fn cut(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 80;
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let mut text = String::from_utf8_lossy(shown).trim().to_owned();
    if bytes.len() > SHOWN_BYTES_MAX {
        text.push('…');
    }
    text
}
