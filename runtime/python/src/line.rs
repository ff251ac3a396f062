//! This worker's end of the line to a debug adapter of the same machine.
//!
//! One thread serves it; any thread may send. It must never make a thread of the program wait, and it may break at any time: what is
//! said on it goes to the node as well.

use std::{
    fs, io,
    io::{Read, Write},
    net::Shutdown,
    os::{
        fd::AsRawFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use bytes::{Buf, Bytes, BytesMut};
use manta_proto::{
    limits::{DAP_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX},
    line,
    token::Token,
};

/// Bytes that wait for an adapter that does not read. Beyond, it hears everything from the node alone.
const UNSENT_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// Bytes of an adapter's first word.
const HELLO_BYTES_MAX: usize = 1024;
/// Bytes that are read at a time.
const READ_BYTES: usize = 16 * 1024;

/// The listening socket, and who came.
pub struct Line {
    listener: UnixListener,
    path: PathBuf,
    token: Token,
    /// Who has not said its first word.
    newcomer: Option<Peer>,
    adapter: Option<Peer>,
}

struct Peer {
    stream: UnixStream,
    received: BytesMut,
    unsent: BytesMut,
    /// It gets nothing more, but what it has said is heard to the end.
    is_deaf: bool,
}

impl Line {
    /// Listens at `path`.
    pub fn listen(path: &Path, token: Token) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned(), token, newcomer: None, adapter: None })
    }

    /// Whether an adapter hears what is said.
    pub fn is_heard(&self) -> bool {
        self.adapter.as_ref().is_some_and(|adapter| !adapter.is_deaf)
    }

    /// What to wait for.
    pub fn add_waits(&self, fds: &mut Vec<libc::pollfd>) {
        fds.push(wait_for(self.listener.as_raw_fd(), libc::POLLIN));
        for peer in self.newcomer.iter().chain(&self.adapter) {
            let writes = if peer.unsent.is_empty() || peer.is_deaf { 0 } else { libc::POLLOUT };
            fds.push(wait_for(peer.stream.as_raw_fd(), libc::POLLIN | writes));
        }
    }

    /// Sends a message as far as the adapter takes it now; the rest follows.
    pub fn send(&mut self, message: &[u8]) {
        let Some(adapter) = self.adapter.as_mut().filter(|adapter| !adapter.is_deaf) else { return };
        if line::append(&mut adapter.unsent, message).is_err() || adapter.unsent.len() > UNSENT_BYTES_MAX {
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
        if let Ok((stream, _)) = self.listener.accept()
            && stream.set_nonblocking(true).is_ok()
        {
            self.newcomer =
                Some(Peer { stream, received: BytesMut::new(), unsent: BytesMut::new(), is_deaf: false });
        }
        self.greet();
        let Some(adapter) = &mut self.adapter else { return };
        adapter.flush();
        let is_open = adapter.read();
        let is_sound = loop {
            match line::take(&mut adapter.received) {
                Ok(Some(message)) if message.len() <= DAP_MESSAGE_BYTES_MAX => give(message),
                Ok(None) => break true,
                Ok(Some(_)) | Err(line::TooLong(_)) => break false,
            }
        };
        if !(is_open && is_sound) {
            self.adapter = None;
        }
    }

    /// Lets a newcomer in when it has said who it is. It takes the place of the one before, whose session is over.
    fn greet(&mut self) {
        let Some(newcomer) = &mut self.newcomer else { return };
        let is_open = newcomer.read();
        match line::take(&mut newcomer.received) {
            Ok(Some(said)) if line::is_hello(&said, &self.token) => self.adapter = self.newcomer.take(),
            Ok(None) if is_open && newcomer.received.len() <= HELLO_BYTES_MAX => {}
            _ => self.newcomer = None,
        }
    }
}

impl Drop for Line {
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

/// An entry of `poll`.
pub fn wait_for(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}
