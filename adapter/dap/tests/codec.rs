//! The wire, from the other side's view: what tolerance takes, what must be refused, and that no cut of the stream matters.

use bytes::{BufMut, BytesMut};
use dap::{Codec, CodecError, Incoming, Message};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};

const THREADS: &str = r#"{"seq":1,"type":"request","command":"threads"}"#;
const NEXT: &str = r#"{"seq":2,"type":"request","command":"next","arguments":{"threadId":7,"name":"größe"}}"#;

fn framed(body: &str) -> String {
    format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Feeds the stream in pieces and gives all that was read of it.
fn read_in_pieces<'a>(
    codec: &mut Codec,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Incoming>, CodecError> {
    let mut buffer = BytesMut::new();
    let mut items = Vec::new();
    for piece in pieces {
        buffer.put_slice(piece);
        while let Some(item) = codec.decode(&mut buffer)? {
            items.push(item);
        }
    }
    while let Some(item) = codec.decode_eof(&mut buffer)? {
        items.push(item);
    }
    Ok(items)
}

fn read(stream: &[u8]) -> Result<Vec<Incoming>, CodecError> {
    read_in_pieces(&mut Codec::default(), std::iter::once(stream))
}

fn texts(items: &[Incoming]) -> Vec<&str> {
    items.iter().map(|item| std::str::from_utf8(&item.text).unwrap()).collect()
}

#[test]
fn every_cut_of_the_stream_gives_the_same_messages() {
    let stream = framed(THREADS) + &framed(NEXT);
    for cut in 0..=stream.len() {
        let (one, other) = stream.as_bytes().split_at(cut);
        let items = read_in_pieces(&mut Codec::default(), [one, other].into_iter()).unwrap();
        assert_eq!(texts(&items), [THREADS, NEXT], "cut at {cut}");
        assert!(items.iter().all(|item| item.message.is_ok()));
    }
    let items = read_in_pieces(&mut Codec::default(), stream.as_bytes().chunks(1)).unwrap();
    assert_eq!(texts(&items), [THREADS, NEXT]);
}

#[test]
fn headers_are_read_in_any_case_and_with_others_among_them() {
    let length = THREADS.len();
    for header in [
        format!("content-length: {length}\r\n\r\n"),
        format!("CONTENT-LENGTH:{length}\r\n\r\n"),
        format!(
            "Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: {length}\r\n\r\n"
        ),
        format!("Content-Length:  {length} \r\nX-Odd: a: b\r\n\r\n"),
        format!("\r\n\r\nContent-Length: {length}\r\n\r\n"),
    ] {
        let items = read(format!("{header}{THREADS}").as_bytes())
            .unwrap_or_else(|error| panic!("{header:?}: {error}"));
        assert_eq!(texts(&items), [THREADS], "{header:?}");
    }
}

#[test]
fn line_ends_that_a_writer_did_not_count_are_skipped() {
    let stream = framed(THREADS) + "\r\n" + &framed(NEXT) + "\r\n\r\n";
    assert_eq!(texts(&read(stream.as_bytes()).unwrap()), [THREADS, NEXT]);
}

#[test]
fn a_header_that_cannot_be_read_ends_the_connection_with_its_cause() {
    for (header, cause) in [
        ("Content-Length: five\r\n\r\n", "not a number"),
        ("Content-Length: -5\r\n\r\n", "not a number"),
        ("Content-Length: +5\r\n\r\n", "not a number"),
        ("Content-Length: \r\n\r\n", "not a number"),
        ("Content-Length: 99999999999999999999999\r\n\r\n", "not a number"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "two different"),
        ("Content-Type: text\r\n\r\n", "no Content-Length"),
        ("nonsense\r\n\r\n", "no colon"),
        ("Content-Length\u{0}\r\n\r\n", "no colon"),
    ] {
        let error = read(format!("{header}12345").as_bytes()).unwrap_err();
        assert!(matches!(error, CodecError::Header { .. }), "{header:?}: {error}");
        assert!(error.to_string().contains(cause), "{header:?}: {error}");
    }
    assert!(matches!(read(b"Content-Length: \xff\r\n\r\n").unwrap_err(), CodecError::Header { .. }));
}

#[test]
fn a_header_without_an_end_is_refused_at_its_limit() {
    let error = read(&vec![b'x'; dap::limits::HEADER_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, CodecError::HeaderTooLong { .. }), "{error}");
    let long =
        format!("X-Odd: {}\r\nContent-Length: 2\r\n\r\n{{}}", "x".repeat(dap::limits::HEADER_BYTES_MAX));
    assert!(matches!(read(long.as_bytes()).unwrap_err(), CodecError::HeaderTooLong { .. }));
}

#[test]
fn a_hundred_megabytes_are_refused_before_the_first_byte_of_them() {
    let mut buffer = BytesMut::from("Content-Length: 104857600\r\n\r\n");
    let error = Codec::default().decode(&mut buffer).unwrap_err();
    assert!(matches!(error, CodecError::TooLong { announced: 104_857_600, .. }), "{error}");
    assert!(buffer.capacity() < 1024 * 1024, "memory was set aside for a message that is refused");
}

#[test]
fn the_limit_itself_is_allowed() {
    let mut codec = Codec::with_limit(THREADS.len());
    let items = read_in_pieces(&mut codec, std::iter::once(framed(THREADS).as_bytes())).unwrap();
    assert_eq!(texts(&items), [THREADS]);
    let error = read_in_pieces(&mut codec, std::iter::once(framed(NEXT).as_bytes())).unwrap_err();
    assert!(matches!(error, CodecError::TooLong { .. }), "{error}");
}

#[test]
fn a_web_page_is_refused_at_its_first_line() {
    for stream in [
        "POST / HTTP/1.1\r\n",
        "GET /secret HTTP/1.1\r\nHost: localhost:6481\r\n",
        "OPTIONS * HTTP/1.1\r\nOrigin: https://example.com\r\n\r\n",
        "Content-Length: 2\r\nOrigin: https://example.com\r\n\r\n{}",
        "origin : null\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let error = Codec::default().decode(&mut BytesMut::from(stream)).unwrap_err();
        assert!(matches!(error, CodecError::WebPage { .. }), "{stream:?}: {error}");
    }
}

#[test]
fn a_body_that_is_no_message_does_not_end_the_connection() {
    let bad =
        ["{", "[]", "null", "", "{\"seq\":1}", "{\"seq\":1,\"type\":\"reverseRequest\",\"command\":\"x\"}"];
    for bad in bad {
        let items = read((framed(bad) + &framed(THREADS)).as_bytes()).unwrap();
        assert_eq!(items.len(), 2, "{bad:?}");
        assert!(items[0].message.is_err(), "{bad:?}");
        assert!(items[1].message.is_ok(), "{bad:?}");
    }
    let not_text = [b"Content-Length: 3\r\n\r\n\"\xff\"".as_slice(), framed(THREADS).as_bytes()].concat();
    let items = read(&not_text).unwrap();
    assert!(items[0].message.is_err() && items[1].message.is_ok());
}

#[test]
fn a_client_that_vanishes_in_mid_message_is_noticed() {
    let stream = framed(NEXT);
    for cut in 1..stream.len() {
        let error = read(&stream.as_bytes()[..cut]).unwrap_err();
        assert!(matches!(error, CodecError::Truncated { .. }), "cut at {cut}: {error}");
    }
    assert_eq!(read(b"").unwrap(), []);
}

#[test]
fn what_is_written_is_exact() {
    let message = Message::from_slice(THREADS.as_bytes()).unwrap();
    let mut buffer = BytesMut::new();
    Codec::default().encode(&message, &mut buffer).unwrap();
    assert_eq!(buffer, framed(THREADS).as_bytes());
}

proptest! {
    #[test]
    fn any_bytes_are_answered_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_header_is_answered_without_a_panic(header in "(Content-Length|Origin|GET|X)?[: ]{0,2}[-+0-9a ]{0,6}(\r\n){0,3}[a{}\"]{0,9}") {
        let _ = read(header.as_bytes());
    }

    #[test]
    fn any_message_in_any_pieces_is_read_as_it_was_written(
        texts in proptest::collection::vec("\\PC{0,40}", 1..5),
        piece in 1_usize..50,
    ) {
        let mut codec = Codec::default();
        let mut buffer = BytesMut::new();
        let mut sent = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let body = serde_json::value::to_raw_value(&serde_json::json!({ "output": text })).unwrap();
            let event = dap::EventMessage { seq: index as i64 + 1, event: text.clone(), body: Some(body) };
            codec.encode(Message::Event(event.clone()), &mut buffer).unwrap();
            sent.push(Message::Event(event));
        }
        let items = read_in_pieces(&mut codec, buffer.chunks(piece)).unwrap();
        let received: Vec<_> = items.into_iter().map(|item| item.message.unwrap()).collect();
        prop_assert_eq!(received, sent);
    }
}
