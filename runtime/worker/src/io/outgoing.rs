//! Messages on their way to peers, and whose turn it is to send them.
//!
//! The I/O thread carries out what the reactor wants. Who waits for an answer, or has one to give, sends it on its own thread when
//! nobody else is at it, which spares a wake-up on either side. Whoever takes effects from the reactor has the turn until it has carried
//! them out, so that messages leave in their order.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use bytes::{Buf, BytesMut};
use manta_proto::{
    frame::{self, FrameError},
    ids::TaskId,
    v1::{PeerMessage, TaskDone, peer_message},
};
use nix::sys::socket::{MsgFlags, send};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::push::Push;
use crate::{
    SystemErrorKind, convert,
    reactor::{ConnId, Effect, FastMap},
};

/// Memory that an empty outbox keeps for the next messages.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// The outboxes of all connections, and the turn.
pub(crate) struct Outgoing {
    turn: Mutex<Turn>,
    outboxes: Mutex<FastMap<ConnId, Arc<Outbox>>>,
    /// The process that made the connections: a fork of it must not write to them.
    pid: u32,
}

/// What the one has who carries out effects.
#[derive(Default)]
pub(crate) struct Turn {
    /// Effects that only the I/O thread can carry out, and those behind them.
    pub left: Vec<Effect>,
}

impl Outgoing {
    pub fn new() -> Self {
        Self { turn: Mutex::default(), outboxes: Mutex::default(), pid: std::process::id() }
    }

    /// The I/O thread's turn.
    pub fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock()
    }

    /// Another thread's turn, unless somebody has it.
    pub fn try_turn(&self) -> Option<MutexGuard<'_, Turn>> {
        self.turn.try_lock()
    }

    /// Whether this process is a fork of the one that has the connections.
    pub fn is_inherited(&self) -> bool {
        self.pid != std::process::id()
    }

    pub fn add(&self, conn: ConnId) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::default());
        self.outboxes.lock().insert(conn, Arc::clone(&outbox));
        outbox
    }

    pub fn remove(&self, conn: ConnId) {
        let outbox = self.outboxes.lock().remove(&conn);
        if let Some(outbox) = outbox {
            outbox.close();
        }
    }

    fn find(&self, conn: ConnId) -> Option<Arc<Outbox>> {
        self.outboxes.lock().get(&conn).cloned()
    }
}

/// Messages on their way to one peer, encoded one after the other, so that many leave in one write.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

#[derive(Default)]
struct Waiting {
    buffer: BytesMut,
    /// The connection's writer has taken messages and not sent all of them yet.
    in_flight: bool,
    /// The socket, once messages may be written to it.
    socket: Option<Arc<OwnedFd>>,
    closed: bool,
}

impl Outbox {
    fn append(&self, write: impl FnOnce(&mut BytesMut) -> Result<(), FrameError>) -> Result<(), FrameError> {
        write(&mut self.waiting.lock().buffer)
    }

    /// Writes what waits, as far as the socket takes it at once; the connection's writer is told of the rest.
    fn flush(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.in_flight || waiting.buffer.is_empty() {
            return;
        }
        if let Some(socket) = &waiting.socket {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            // Whatever is wrong with the socket, its writer finds out.
            let sent = send(socket.as_raw_fd(), &waiting.buffer, flags).unwrap_or(0);
            if sent == waiting.buffer.len() {
                if waiting.buffer.capacity() > KEPT_BYTES_MAX {
                    waiting.buffer = BytesMut::new();
                }
                return waiting.buffer.clear();
            }
            waiting.buffer.advance(sent);
        }
        self.ready.notify_one();
    }

    /// What waits now, which may be nothing.
    pub fn take_now(&self) -> BytesMut {
        self.waiting.lock().buffer.split()
    }

    /// From now on anybody who has the turn may write to the socket.
    pub fn connected(&self, socket: Arc<OwnedFd>) {
        let mut waiting = self.waiting.lock();
        if !waiting.closed {
            waiting.socket = Some(socket);
        }
    }

    /// Lets the writer end after what is in the box.
    pub fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.socket = None;
        self.ready.notify_one();
    }

    /// All that waits, for the connection's writer, which has sent what it took before; `None` when the box is closed and empty.
    pub async fn take(&self) -> Option<BytesMut> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                waiting.in_flight = !waiting.buffer.is_empty();
                if waiting.in_flight {
                    return Some(waiting.buffer.split());
                }
                if waiting.closed {
                    return None;
                }
            }
            self.ready.notified().await;
        }
    }
}

/// The sending of one turn.
pub(crate) struct Sending<'a> {
    outgoing: &'a Outgoing,
    /// Those that have something new; the last is the one in use.
    touched: Vec<(ConnId, Arc<Outbox>)>,
    /// Tasks that do not fit a message, and why.
    pub failed: Vec<(TaskId, FrameError)>,
}

impl<'a> Sending<'a> {
    pub fn new(outgoing: &'a Outgoing) -> Self {
        Self { outgoing, touched: Vec::new(), failed: Vec::new() }
    }

    fn outbox(&mut self, conn: ConnId) -> Option<&Outbox> {
        if self.touched.last().is_none_or(|(last, _)| *last != conn) {
            match self.touched.iter().position(|(known, _)| *known == conn) {
                Some(position) => {
                    let last = self.touched.len() - 1;
                    self.touched.swap(position, last);
                }
                None => self.touched.push((conn, self.outgoing.find(conn)?)),
            }
        }
        self.touched.last().map(|(_, outbox)| &**outbox)
    }

    /// Carries out an effect that is a message to a peer, or gives it back.
    pub fn carry_out(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Send { conn, message } => self.send(conn, message),
            Effect::Push { conn, id, task, lease, attempt, made_again, arguments } => {
                let push = Push { id, task: &task, lease, attempt, made_again, arguments: &arguments };
                let outcome = self.outbox(conn).map(|outbox| outbox.append(|buffer| push.write(buffer)));
                if let Some(Err(error)) = outcome {
                    self.failed.push((id, error));
                }
            }
            other => return Some(other),
        }
        None
    }

    fn send(&mut self, conn: ConnId, message: peer_message::Message) {
        let Some(outbox) = self.outbox(conn) else { return };
        let message = PeerMessage { message: Some(message) };
        if let Err(error) = outbox.append(|buffer| frame::write(buffer, &message)) {
            send_instead(outbox, message, &error);
        }
    }

    /// The messages go.
    pub fn flush(&self) {
        self.touched.iter().for_each(|(_, outbox)| outbox.flush());
    }
}

/// Sends a failure in place of results that are too large for a message together.
fn send_instead(outbox: &Outbox, message: PeerMessage, error: &FrameError) {
    let Some(peer_message::Message::Done(done)) = message.message else {
        tracing::error!("a message to a peer was dropped: {error}");
        return;
    };
    let sentence = format!("the results of a task could not be sent: {error}");
    let results = vec![convert::system_error(SystemErrorKind::Internal, sentence)];
    let message = PeerMessage {
        message: Some(peer_message::Message::Done(TaskDone { results, failed: true, ..done })),
    };
    if let Err(error) = outbox.append(|buffer| frame::write(buffer, &message)) {
        tracing::error!("a message to a peer was dropped: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::unix::net::UnixStream,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn put(outbox: &Outbox, text: &[u8]) {
        outbox
            .append(|buffer| {
                buffer.extend_from_slice(text);
                Ok(())
            })
            .unwrap();
    }

    /// What the writer gets without waiting.
    fn taken(outbox: &Outbox) -> Poll<Option<BytesMut>> {
        pin!(outbox.take()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn messages_leave_in_their_order_whoever_writes_them() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::default();
        put(&outbox, b"hello");
        outbox.flush();
        assert!(
            matches!(taken(&outbox), Poll::Ready(Some(bytes)) if bytes == "hello"),
            "no socket: the writer's"
        );
        outbox.connected(Arc::new(ours.into()));
        put(&outbox, b"second");
        outbox.flush();
        assert!(
            matches!(taken(&outbox), Poll::Ready(Some(bytes)) if bytes == "second"),
            "the writer was at work"
        );
        assert!(taken(&outbox).is_pending(), "it has sent that");
        put(&outbox, b"third");
        outbox.flush();
        let mut read = [0; 5];
        theirs.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"third");
        outbox.close();
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).unwrap();
        assert!(
            rest.is_empty() && matches!(taken(&outbox), Poll::Ready(None)),
            "nothing holds the socket open"
        );
    }

    #[test]
    fn what_a_full_socket_does_not_take_is_the_writers() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::default();
        outbox.connected(Arc::new(ours.into()));
        let all = vec![7; 64 * 1024 * 1024];
        put(&outbox, &all);
        outbox.flush();
        let Poll::Ready(Some(left)) = taken(&outbox) else {
            panic!("a socket that takes {} bytes", all.len())
        };
        assert!(!left.is_empty() && left.len() < all.len());
        let sent = all.len() - left.len();
        let mut read = vec![0; sent];
        (&theirs).read_exact(&mut read).unwrap();
        theirs.set_nonblocking(true).unwrap();
        assert_eq!((&theirs).read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}
