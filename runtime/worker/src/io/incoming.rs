//! Messages from peers, and whose turn it is to wait for them.
//!
//! A thread that has nothing to do but wait for an answer or for its next task waits for the peers' sockets itself: it *leads*. So an
//! answer wakes one thread, not the I/O thread which then wakes another. While nobody leads, the I/O thread waits. All sockets are
//! watched by one epoll instance. The leader waits for that; the I/O thread watches it through a second one, the gate, which is closed
//! while somebody leads.
//!
//! What always holds: somebody waits for the sockets, because the gate is open whenever nobody leads. Readiness is a level: who comes
//! to wait sees what came before. Only one at a time reads, and gives the reactor what it has read before another may, so that the
//! messages of a connection keep their order.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use manta_proto::{frame, v1::PeerMessage};
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    parking::Bell,
    reactor::{ConnId, FastMap},
};

/// Memory that a reader takes at a time.
const READ_BYTES: usize = 64 * 1024;
/// Room that a reader wants before it reads. Messages share the memory that they were read into, so it is used up before more is
/// taken.
const ROOM_BYTES: usize = 4 * 1024;
/// Sockets that one look finds ready.
const READY_MAX: usize = 16;
/// A leader's wait that was this short, and ended with one message, was a quick one.
const QUICK: Duration = Duration::from_micros(150);
/// After so many in a row, one message is answered by the next: the next wait is expected to be quick too.
const QUICK_IN_A_ROW: u32 = 4;
/// It then looks again and again for so long before it sleeps: to wake a core that sleeps takes longer than many an answer.
const LOOKING: Duration = Duration::from_micros(50);
/// What the bell is called among connections.
const BELL: u64 = u64::MAX;

/// The sockets of all peers on this machine.
pub(crate) struct Incoming {
    sockets: Epoll,
    gate: Epoll,
    pub bell: Arc<Bell>,
    is_led: AtomicBool,
    /// Tells the I/O thread that a leader has left something to read.
    left: Notify,
    /// Quick waits since the last that was not.
    quick: AtomicU32,
    sources: Mutex<FastMap<ConnId, Source>>,
    /// The process that made the connections: a fork of it must not read from them.
    pid: u32,
}

struct Source {
    socket: Arc<OwnedFd>,
    /// The beginning of a message whose rest is to come.
    buffer: BytesMut,
}

/// What a look has found.
pub(crate) struct Ready {
    events: [EpollEvent; READY_MAX],
    count: usize,
    /// How long a leader has waited for it.
    waited: Option<Duration>,
}

impl Ready {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// What was read in one go.
#[derive(Default)]
pub(crate) struct Received {
    pub messages: Vec<(ConnId, PeerMessage)>,
    /// Connections that are over, and why, for people.
    pub ended: Vec<(ConnId, String)>,
}

/// The calling thread waits for the sockets, until this is dropped.
pub(crate) struct Lead<'a>(&'a Incoming);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // In this order: the next to lead closes the gate only after it was opened here.
        self.0.set_gate(EpollFlags::EPOLLIN);
        self.0.is_led.store(false, Ordering::SeqCst);
        // To open the gate wakes nobody when the gate was ready once before and nobody has looked at it since (epoll(7) tells an edge
        // only of what is new). What comes from now on does.
        if !self.0.poll(EpollTimeout::ZERO).is_empty() {
            self.0.left.notify_one();
        }
    }
}

impl Incoming {
    pub fn new() -> io::Result<Self> {
        let sockets = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let gate = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let bell = Bell::new()?;
        sockets.add(bell.fd(), EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        gate.add(&sockets.0, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(Self {
            sockets,
            gate,
            bell: Arc::new(bell),
            is_led: AtomicBool::new(false),
            left: Notify::new(),
            quick: AtomicU32::new(0),
            sources: Mutex::default(),
            pid: std::process::id(),
        })
    }

    /// Readable when the I/O thread is to look for messages.
    pub fn gate(&self) -> BorrowedFd<'_> {
        self.gate.0.as_fd()
    }

    /// A leader has left something to read, of which the gate may say nothing.
    pub async fn left(&self) {
        self.left.notified().await;
    }

    /// From now on messages are read from a connection's socket.
    pub fn add(&self, conn: ConnId, socket: Arc<OwnedFd>) -> io::Result<()> {
        let fd = Arc::clone(&socket);
        self.sources.lock().insert(conn, Source { socket, buffer: BytesMut::new() });
        Ok(self.sockets.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, conn.0))?)
    }

    /// Nothing more is read from it.
    pub fn remove(&self, conn: ConnId) {
        let source = self.sources.lock().remove(&conn);
        if let Some(source) = source {
            self.forget(&source);
        }
    }

    fn forget(&self, source: &Source) {
        if let Err(error) = self.sockets.delete(&source.socket) {
            tracing::error!("a peer's socket cannot be taken out of epoll: {error}");
        }
    }

    /// Makes the calling thread the one that waits for the sockets, unless there is one.
    pub fn try_lead(&self) -> Option<Lead<'_>> {
        let is_free = !self.is_led.load(Ordering::Relaxed)
            && self.pid == std::process::id()
            && self.is_led.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        is_free.then(|| {
            self.set_gate(EpollFlags::empty());
            Lead(self)
        })
    }

    fn set_gate(&self, flags: EpollFlags) {
        if let Err(error) = self.gate.modify(&self.sockets.0, &mut EpollEvent::new(flags, 0)) {
            tracing::error!("whose turn it is to read cannot be changed: {error}");
        }
    }

    /// What is ready now, for the I/O thread; nothing while somebody leads.
    pub fn look(&self) -> Ready {
        if self.is_led.load(Ordering::SeqCst) {
            return Ready { events: [EpollEvent::empty(); READY_MAX], count: 0, waited: None };
        }
        self.poll(EpollTimeout::ZERO)
    }

    fn poll(&self, timeout: EpollTimeout) -> Ready {
        let mut events = [EpollEvent::empty(); READY_MAX];
        // A signal, or a debugger, may end the wait early.
        let count = self.sockets.wait(&mut events, timeout).unwrap_or(0);
        Ready { events, count, waited: None }
    }

    /// Reads what is there from those that are ready; `each` is called with it before anybody else may read.
    pub fn read<R>(&self, ready: &Ready, each: impl FnOnce(Received) -> R) -> R {
        let mut received = Received::default();
        let mut sources = self.sources.lock();
        for event in &ready.events[..ready.count] {
            if event.data() == BELL {
                self.bell.silence();
                if ready.waited.is_none() && self.is_led.load(Ordering::SeqCst) {
                    // It may have been rung for who leads since the look.
                    self.bell.ring();
                }
                continue;
            }
            let conn = ConnId(event.data());
            // Another reader may have found its end meanwhile.
            let Some(source) = sources.get_mut(&conn) else { continue };
            let Err(cause) = source.read(conn, &mut received.messages) else { continue };
            received.ended.push((conn, cause));
            if let Some(source) = sources.remove(&conn) {
                self.forget(&source);
            }
        }
        if let Some(waited) = ready.waited {
            let is_quick = received.messages.len() == 1 && waited < QUICK;
            let quick = if is_quick { self.quick.load(Ordering::Relaxed).saturating_add(1) } else { 0 };
            self.quick.store(quick, Ordering::Relaxed);
        }
        each(received)
    }
}

impl Lead<'_> {
    /// Waits until peers have sent something, the bell rings, or the time is over. A timeout is rounded up to a millisecond.
    pub fn wait(&self, timeout: Option<Duration>) -> Ready {
        let timeout = timeout.map_or(EpollTimeout::NONE, |timeout| {
            let millis = timeout.as_micros().div_ceil(1000);
            EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
        });
        let since = Instant::now();
        let mut ready = self.0.poll(EpollTimeout::ZERO);
        if self.0.quick.load(Ordering::Relaxed) >= QUICK_IN_A_ROW {
            while ready.is_empty() && since.elapsed() < LOOKING {
                std::thread::yield_now();
                ready = self.0.poll(EpollTimeout::ZERO);
            }
        }
        if ready.is_empty() {
            ready = self.0.poll(timeout);
        }
        Ready { waited: Some(since.elapsed()), ..ready }
    }
}

impl Source {
    /// Reads once, and takes all messages that are whole by then. The error says why there will be no more.
    fn read(&mut self, conn: ConnId, messages: &mut Vec<(ConnId, PeerMessage)>) -> Result<(), String> {
        match receive(&self.socket, &mut self.buffer) {
            Ok(0) => return Err("it closed the connection".to_owned()),
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.desc().to_owned()),
        }
        while let Some(message) = frame::read(&mut self.buffer).map_err(|error| error.to_string())? {
            messages.push((conn, message));
        }
        Ok(())
    }
}

/// Appends what a socket has now.
fn receive(socket: &OwnedFd, buffer: &mut BytesMut) -> Result<usize, Errno> {
    if buffer.capacity() - buffer.len() < ROOM_BYTES {
        buffer.reserve(READ_BYTES);
    }
    let room = buffer.spare_capacity_mut();
    // SAFETY: recv(2) writes at most as many bytes as there is room for, into memory that is the buffer's own.
    let count =
        unsafe { libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) };
    let count = usize::try_from(count).map_err(|_| Errno::last())?;
    // SAFETY: recv(2) has written that many bytes behind those that were there.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream};

    use manta_proto::v1::{CancelTask, peer_message};

    use super::*;

    fn message(byte: u8) -> PeerMessage {
        let cancel = CancelTask { task_id: vec![byte; 16].into(), ..CancelTask::default() };
        PeerMessage { message: Some(peer_message::Message::Cancel(cancel)) }
    }

    fn framed(message: &PeerMessage) -> BytesMut {
        let mut bytes = BytesMut::new();
        frame::write(&mut bytes, message).unwrap();
        bytes
    }

    fn is_open(incoming: &Incoming) -> bool {
        incoming.gate.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap() > 0
    }

    fn read(incoming: &Incoming, ready: &Ready) -> Received {
        incoming.read(ready, |received| received)
    }

    #[test]
    fn the_gate_is_open_whenever_nobody_leads() {
        let incoming = Incoming::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        incoming.add(ConnId(1), Arc::new(ours.into())).unwrap();
        assert!(!is_open(&incoming), "nothing has come");
        let lead = incoming.try_lead().unwrap();
        assert!(incoming.try_lead().is_none(), "one leads");
        theirs.write_all(&framed(&message(1))).unwrap();
        assert!(!is_open(&incoming) && incoming.look().is_empty(), "it is the leader's to read");
        drop(lead);
        assert!(is_open(&incoming), "nobody has read it");
        let received = read(&incoming, &incoming.look());
        assert_eq!(received.messages, [(ConnId(1), message(1))]);
        assert!(!is_open(&incoming), "all is read");
        let lead = incoming.try_lead().unwrap();
        theirs.write_all(&framed(&message(2))).unwrap();
        let received = read(&incoming, &lead.wait(None));
        assert_eq!(received.messages, [(ConnId(1), message(2))]);
    }

    /// Threads lead for a while and leave, and one that waits at the gate reads meanwhile: no message waits for ever, none is lost, and
    /// all come in their order.
    #[test]
    fn somebody_waits_for_the_sockets_at_every_moment() {
        const MESSAGES: u8 = 250;
        const LEADERS: usize = 3;
        let incoming = Incoming::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        incoming.add(ConnId(1), Arc::new(ours.into())).unwrap();
        let (read_so_far, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let (tell, told) = std::sync::mpsc::channel();
        let take = |ready: &Ready| {
            incoming.read(ready, |received| {
                let count = received.messages.len();
                read_so_far.lock().extend(received.messages.into_iter().map(|(_, message)| message));
                (0..count).for_each(|_| tell.send(()).unwrap());
            });
        };
        let sent: Vec<_> = (0..MESSAGES).map(message).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    incoming.gate.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE).unwrap_or(0);
                    take(&incoming.look());
                }
            });
            let lead_for_a_while = || {
                while !is_over.load(Ordering::SeqCst) {
                    if let Some(lead) = incoming.try_lead() {
                        take(&lead.wait(Some(Duration::from_millis(1))));
                    }
                    std::thread::yield_now();
                }
            };
            let leaders: Vec<_> = (0..LEADERS).map(|_| scope.spawn(lead_for_a_while)).collect();
            for message in &sent {
                theirs.write_all(&framed(message)).unwrap();
                // Only an answer brings the next, so one that nobody reads would hold up all.
                let answer = told.recv_timeout(Duration::from_secs(30));
                if answer.is_err() {
                    break;
                }
            }
            is_over.store(true, Ordering::SeqCst);
            // The one at the gate may still wait. A leader would read what is to wake it, so they go first.
            leaders.into_iter().for_each(|leader| leader.join().unwrap());
            theirs.write_all(&framed(&message(0))).unwrap();
        });
        let read_so_far = read_so_far.into_inner();
        assert_eq!(read_so_far[..sent.len().min(read_so_far.len())], sent);
    }

    #[test]
    fn what_a_leader_leaves_is_told_also_when_the_gate_was_ready_before() {
        use std::task::{Context, Waker};
        let incoming = Incoming::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        incoming.add(ConnId(1), Arc::new(ours.into())).unwrap();
        // As tokio watches it.
        let outer = Epoll::new(EpollCreateFlags::empty()).unwrap();
        outer.add(incoming.gate(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)).unwrap();
        let is_woken = || {
            let by_gate = outer.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap() > 0;
            let left = std::pin::pin!(incoming.left());
            left.poll(&mut Context::from_waker(Waker::noop())).is_ready() || by_gate
        };
        theirs.write_all(&framed(&message(1))).unwrap();
        assert!(is_woken());
        assert_eq!(read(&incoming, &incoming.look()).messages.len(), 1);
        let lead = incoming.try_lead().unwrap();
        theirs.write_all(&framed(&message(2))).unwrap();
        drop(lead);
        assert!(is_woken());
    }

    #[test]
    fn the_bell_ends_a_wait_once() {
        let incoming = Incoming::new().unwrap();
        let lead = incoming.try_lead().unwrap();
        let parking = crate::parking::Parking::default();
        parking.reader_sleeps(&incoming.bell);
        parking.notify_one();
        let ready = lead.wait(None);
        let received = read(&incoming, &ready);
        assert!(!ready.is_empty() && received.messages.is_empty() && received.ended.is_empty());
        assert!(lead.wait(Some(Duration::ZERO)).is_empty());
    }

    #[test]
    fn the_bell_that_rings_for_a_leader_is_not_silenced_by_who_looked_before() {
        let incoming = Incoming::new().unwrap();
        incoming.bell.ring();
        let before = incoming.look();
        let lead = incoming.try_lead().unwrap();
        let parking = crate::parking::Parking::default();
        read(&incoming, &lead.wait(None));
        parking.reader_sleeps(&incoming.bell);
        parking.notify_one();
        read(&incoming, &before);
        assert!(!lead.wait(Some(Duration::ZERO)).is_empty(), "the leader sleeps on");
    }

    #[test]
    fn messages_in_pieces_come_whole_and_the_end_after_them() {
        let incoming = Incoming::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        incoming.add(ConnId(7), Arc::new(ours.into())).unwrap();
        let bytes = framed(&message(3));
        theirs.write_all(&bytes[..5]).unwrap();
        assert!(read(&incoming, &incoming.look()).messages.is_empty());
        theirs.write_all(&bytes[5..]).unwrap();
        drop(theirs);
        let received = read(&incoming, &incoming.look());
        assert_eq!(received.messages, [(ConnId(7), message(3))]);
        let received = read(&incoming, &incoming.look());
        assert_eq!(received.ended, [(ConnId(7), "it closed the connection".to_owned())]);
        assert!(!is_open(&incoming) && incoming.look().is_empty(), "its end is told once");
        incoming.remove(ConnId(7));
    }

    #[test]
    fn a_frame_above_the_limit_ends_its_connection_alone() {
        let incoming = Incoming::new().unwrap();
        let pairs: Vec<_> = (0..2).map(|_| UnixStream::pair().unwrap()).collect();
        let mut theirs = Vec::new();
        for (number, (ours, their)) in (1..).zip(pairs) {
            incoming.add(ConnId(number), Arc::new(ours.into())).unwrap();
            theirs.push(their);
        }
        theirs[0].write_all(&u32::MAX.to_le_bytes()).unwrap();
        theirs[1].write_all(&framed(&message(4))).unwrap();
        let received = read(&incoming, &incoming.look());
        assert_eq!(received.messages, [(ConnId(2), message(4))]);
        assert!(matches!(&received.ended[..], [(ConnId(1), cause)] if cause.contains("limit")));
    }
}
