//! A target's end of the line: it listens for a debug adapter of the same machine.
//!
//! One thread serves it; who holds it may send. It never waits, and it may break at any time: what is said on it goes to the node as well.

use std::{
    fs, io,
    io::{Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use bytes::{Buf, Bytes, BytesMut};

use super::{TooLong, append, is_hello, take};
use crate::{
    limits::{DAP_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX},
    token::Token,
};

/// Bytes that wait for an adapter that does not read. Beyond, it hears everything from the node alone.
const UNSENT_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// Bytes of an adapter's first word.
const HELLO_BYTES_MAX: usize = 1024;
/// Bytes that are read at a time.
const READ_BYTES: usize = 16 * 1024;

/// The listening socket, and who came.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    token: Token,
    /// Who has not said its first word.
    newcomer: Option<Peer>,
    adapter: Option<Peer>,
}

#[derive(Debug)]
struct Peer {
    stream: UnixStream,
    received: BytesMut,
    unsent: BytesMut,
    /// It gets nothing more, but what it has said is heard to the end.
    is_deaf: bool,
}

impl Listener {
    /// Listens at `path`.
    ///
    /// # Errors
    /// What the system says of the path.
    pub fn listen(path: &Path, token: Token) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned(), token, newcomer: None, adapter: None })
    }

    /// Whether an adapter hears what is said.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.adapter.as_ref().is_some_and(|adapter| !adapter.is_deaf)
    }

    /// What to wait for until something can be read, and where this is said, also until something can be written.
    pub fn waits(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let peers = self.newcomer.iter().chain(&self.adapter);
        let peers = peers.map(|peer| (peer.stream.as_fd(), !peer.unsent.is_empty() && !peer.is_deaf));
        std::iter::once((self.listener.as_fd(), false)).chain(peers)
    }

    /// Sends a message as far as the adapter takes it now; the rest follows.
    pub fn send(&mut self, message: &[u8]) {
        let Some(adapter) = self.adapter.as_mut().filter(|adapter| !adapter.is_deaf) else { return };
        if append(&mut adapter.unsent, message).is_err() || adapter.unsent.len() > UNSENT_BYTES_MAX {
            adapter.stop_telling();
        }
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        if let Some(adapter) = &mut self.adapter {
            adapter.flush();
        }
    }

    /// Takes what has come: an adapter's messages, and adapters.
    pub fn take(&mut self, mut give: impl FnMut(Bytes)) {
        // Who came is looked at when there is nothing else: that takes as long as all the rest.
        if !self.take_messages(&mut give) {
            self.greet();
            self.take_messages(&mut give);
        }
    }

    /// True if the adapter has sent any.
    fn take_messages(&mut self, give: &mut impl FnMut(Bytes)) -> bool {
        let Some(adapter) = &mut self.adapter else { return false };
        adapter.flush();
        let is_open = adapter.read();
        let mut has_any = false;
        let is_sound = loop {
            match take(&mut adapter.received) {
                Ok(Some(message)) if message.len() <= DAP_MESSAGE_BYTES_MAX => {
                    has_any = true;
                    give(message);
                }
                Ok(None) => break true,
                Ok(Some(_)) | Err(TooLong(_)) => break false,
            }
        };
        if !(is_open && is_sound) {
            self.adapter = None;
        }
        has_any
    }

    /// Lets a newcomer in when it has said who it is. It takes the place of the one before, whose session is over.
    fn greet(&mut self) {
        if let Ok((stream, _)) = self.listener.accept()
            && stream.set_nonblocking(true).is_ok()
        {
            self.newcomer =
                Some(Peer { stream, received: BytesMut::new(), unsent: BytesMut::new(), is_deaf: false });
        }
        let Some(newcomer) = &mut self.newcomer else { return };
        let is_open = newcomer.read();
        match take(&mut newcomer.received) {
            Ok(Some(said)) if is_hello(&said, &self.token) => self.adapter = self.newcomer.take(),
            Ok(None) if is_open && newcomer.received.len() <= HELLO_BYTES_MAX => {}
            _ => self.newcomer = None,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The node's folder goes with the node in any case.
        let _ = fs::remove_file(&self.path);
    }
}

impl Peer {
    /// Reads what is there. False at the end.
    fn read(&mut self) -> bool {
        let mut piece = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return false,
                Ok(count) => {
                    self.received.extend_from_slice(&piece[..count]);
                    if count < piece.len() {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.is_deaf {
            match self.stream.write(&self.unsent) {
                Ok(count) => self.unsent.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.stop_telling(),
            }
        }
    }

    fn stop_telling(&mut self) {
        self.is_deaf = true;
        self.unsent.clear();
        // The adapter reads the end, and asks by way of the head from then on. When it is gone this is of no use, and no harm.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(folder: &Path, token: &Token) -> Listener {
        Listener::listen(&folder.join("line.sock"), token.clone()).unwrap()
    }

    fn adapter(line: &Listener, hello: &str) -> UnixStream {
        let mut stream = UnixStream::connect(&line.path).unwrap();
        say(&mut stream, hello);
        stream
    }

    fn say(stream: &mut UnixStream, message: &str) {
        let mut frame = BytesMut::new();
        append(&mut frame, message.as_bytes()).unwrap();
        stream.write_all(&frame).unwrap();
    }

    fn taken(line: &mut Listener) -> Vec<Bytes> {
        let mut messages = Vec::new();
        line.take(|message| messages.push(message));
        messages
    }

    #[test]
    fn only_an_adapter_that_knows_the_token_is_heard_and_the_next_takes_its_place() {
        let (folder, token) = (tempfile::tempdir().unwrap(), Token::random());
        let mut line = listener(folder.path(), &token);
        let mut stranger = adapter(&line, &crate::line::hello(&Token::random()));
        say(&mut stranger, "{}");
        assert!(taken(&mut line).is_empty() && !line.is_heard());
        assert_eq!(stranger.read(&mut [0]).unwrap_or(0), 0, "it is sent away");

        let mut first = adapter(&line, &crate::line::hello(&token));
        say(&mut first, "[1]");
        assert_eq!(taken(&mut line), [&b"[1]"[..]], "what comes with the first word is heard");
        assert!(line.is_heard());
        let mut second = adapter(&line, &crate::line::hello(&token));
        say(&mut second, "[2]");
        assert_eq!(taken(&mut line), [&b"[2]"[..]]);
        line.send(b"{}");
        line.flush();
        let mut frame = [0; 6];
        second.read_exact(&mut frame).unwrap();
        assert_eq!(&frame, b"\x02\0\0\0{}");
        assert_eq!(first.read(&mut frame).unwrap(), 0, "its place is taken");

        drop(second);
        assert!(taken(&mut line).is_empty() && !line.is_heard());
        let path = line.path.clone();
        drop(line);
        assert!(!path.exists());
    }

    #[test]
    fn an_adapter_that_does_not_read_is_told_nothing_more_and_is_still_heard() {
        let (folder, token) = (tempfile::tempdir().unwrap(), Token::random());
        let mut line = listener(folder.path(), &token);
        let mut slow = adapter(&line, &crate::line::hello(&token));
        taken(&mut line);
        let message = vec![b' '; MESSAGE_BYTES_MAX / 2];
        for _ in 0..6 {
            line.send(&message);
            line.flush();
        }
        assert!(!line.is_heard());
        say(&mut slow, "[3]");
        assert_eq!(taken(&mut line), [&b"[3]"[..]]);
    }
}
