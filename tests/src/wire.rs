//! The DAP wire as the strictest known clients read it: exactly `Content-Length: N`, an empty line, N bytes.
//!
//! Written apart from the adapter's codec, so that a mistake there is not made here too.

use std::io::{self, BufRead, Read, Write};

/// Writes one message.
///
/// # Errors
/// When the other side is gone.
pub fn write(sink: &mut impl Write, body: &[u8]) -> io::Result<()> {
    let mut message = format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    message.extend_from_slice(body);
    sink.write_all(&message)?;
    sink.flush()
}

/// Reads one message; `None` at the end between two messages.
///
/// # Errors
/// When the stream breaks, ends within a message, or has anything but a strict header.
pub fn read(source: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut header = Vec::new();
    source.take(64).read_until(b'\n', &mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    let length = length(&header).ok_or_else(|| wrong(&header))?;
    let mut blank = [0; 2];
    source.read_exact(&mut blank)?;
    if &blank != b"\r\n" {
        return Err(wrong(&blank));
    }
    let mut body = vec![0; length];
    source.read_exact(&mut body)?;
    Ok(Some(body))
}

fn length(header: &[u8]) -> Option<usize> {
    let digits = header.strip_prefix(b"Content-Length: ")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn wrong(bytes: &[u8]) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{:?} stands where the strict header `Content-Length: N` has to",
            String::from_utf8_lossy(bytes)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_strict_form_is_read() {
        let mut wire = Vec::new();
        write(&mut wire, b"{}").unwrap();
        assert_eq!(wire, b"Content-Length: 2\r\n\r\n{}");
        let mut source = &wire[..];
        assert_eq!(read(&mut source).unwrap().as_deref(), Some(&b"{}"[..]));
        assert_eq!(read(&mut source).unwrap(), None);
        for loose in
            ["content-length: 2\r\n\r\n{}", "Content-Length: 2\n\n{}", "\r\n", "Content-Length: 5\r\n\r\n{}"]
        {
            assert!(read(&mut loose.as_bytes()).is_err(), "{loose:?}");
        }
    }
}
