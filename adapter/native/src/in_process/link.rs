//! Packets to and from the helper of a process.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use manta_guard::GUARD_VERSION;
use manta_guard::wire::{self, EVENT_WORDS, GENERAL_WORDS, HEADER_WORDS, PACKET_BYTES};
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::time::TimeVal;

/// How long the helper may take to answer: it waits for nobody, but the machine may be busy, or the process stopped (Ctrl-Z).
const ANSWER_TIME: Duration = Duration::from_secs(5);
const HEADER_BYTES: usize = HEADER_WORDS * 8;

/// Why a process does not help itself.
#[derive(Debug, thiserror::Error)]
pub enum NoHelper {
    /// It does not link the guard, or has not let an agent in.
    #[error(
        "it has no helper: it does not link manta-guard, or has not let this agent in (manta_guard::allow_tracer)"
    )]
    Absent,
    /// It lets only one in at a time, and answers only while nobody holds its thread.
    #[error(
        "its helper does not take this agent: it was not let in (manta_guard::allow_tracer), another agent debugs the process, or another \
         debugger holds all of its threads"
    )]
    Refused,
    /// It has another layout.
    #[error(
        "the program was built with another version of Manta ({found}, this one is {GUARD_VERSION}); build it again with this version"
    )]
    Version {
        /// The version in the program.
        found: u64,
    },
    /// The system refuses this too.
    #[error("its helper cannot be reached: {0}")]
    Io(#[from] io::Error),
}

/// What the helper says of itself when it lets an agent in.
#[derive(Clone, Copy)]
pub(super) struct Hello {
    /// Its thread.
    pub helper: i32,
    /// Breakpoints can be set.
    pub can_write_code: bool,
    /// The signal that interrupts a thread.
    pub signal: u64,
}

/// The connection to a helper.
pub(super) struct Link {
    socket: OwnedFd,
    sequence: Cell<u64>,
    packet: RefCell<Vec<u8>>,
    /// Stops that came while an answer was waited for.
    events: RefCell<VecDeque<wire::Event>>,
}

fn word(bytes: &[u8], index: usize) -> u64 {
    bytes
        .get(index * 8..index * 8 + 8)
        .map_or(0, |word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
}

impl Link {
    /// Connects to the helper of a process.
    pub fn connect(pid: i32) -> Result<(Self, Hello), NoHelper> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (started, _) = wire::started_and_parent(&stat).ok_or(NoHelper::Absent)?;
        let name = wire::socket_name(pid.cast_unsigned(), started);
        let address = UnixAddr::new_abstract(name.as_bytes()).map_err(io::Error::from)?;
        let socket = socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .map_err(io::Error::from)?;
        match socket::connect(socket.as_raw_fd(), &address) {
            Ok(()) => {}
            Err(Errno::ECONNREFUSED) => return Err(NoHelper::Absent),
            Err(error) => return Err(io::Error::from(error).into()),
        }
        // Anybody may have taken that name.
        let peer = socket::getsockopt(&socket, sockopt::PeerCredentials).map_err(io::Error::from)?;
        if peer.pid() != pid {
            return Err(NoHelper::Absent);
        }
        let most = TimeVal::from(libc::timeval { tv_sec: ANSWER_TIME.as_secs() as i64, tv_usec: 0 });
        socket::setsockopt(&socket, sockopt::ReceiveTimeout, &most).map_err(io::Error::from)?;
        let link = Self {
            socket,
            sequence: Cell::new(0),
            packet: RefCell::new(vec![0; PACKET_BYTES]),
            events: RefCell::default(),
        };
        match link.receive(MsgFlags::empty()) {
            Ok(bytes) => {
                let hello = hello_of(&link.packet.borrow()[..bytes])?;
                Ok((link, hello))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(NoHelper::Refused),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(NoHelper::Refused),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives one packet. Its bytes.
    fn receive(&self, flags: MsgFlags) -> io::Result<usize> {
        loop {
            match socket::recv(self.socket.as_raw_fd(), &mut self.packet.borrow_mut(), flags) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => return Ok(bytes),
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a request, and gives its number.
    pub fn send(&self, kind: u64, first: u64, second: u64, bytes: &[u8]) -> io::Result<u64> {
        self.sequence.set(self.sequence.get() + 1);
        let words = [kind, self.sequence.get(), first, second];
        let mut packet: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        packet.extend_from_slice(bytes);
        socket::send(self.socket.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL)?;
        Ok(self.sequence.get())
    }

    /// Waits for an answer, and gives its bytes to `take`.
    fn answer<T>(&self, sequence: u64, take: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        loop {
            let bytes = self.receive(MsgFlags::empty())?;
            let packet = self.packet.borrow();
            let packet = &packet[..bytes];
            match word(packet, 0) {
                wire::EVENT => self.events.borrow_mut().extend(event(packet)),
                // An answer that came too late for an earlier request is nobody's.
                wire::REPLY if word(packet, 1) == sequence => {
                    let error = word(packet, 2) as i32;
                    if error != 0 {
                        return Err(io::Error::from_raw_os_error(error));
                    }
                    return Ok(take(packet.get(HEADER_BYTES..).unwrap_or_default()));
                }
                _ => {}
            }
        }
    }

    /// Sends a request and gives the bytes of its answer to `take`.
    pub fn request<T>(
        &self,
        kind: u64,
        first: u64,
        second: u64,
        bytes: &[u8],
        take: impl FnOnce(&[u8]) -> T,
    ) -> io::Result<T> {
        let sequence = self.send(kind, first, second, bytes)?;
        self.answer(sequence, take)
    }

    /// What the system says of the process to itself.
    pub fn file(&self, which: u64) -> io::Result<Vec<u8>> {
        let sequence = self.send(wire::FILE, which, 0, &[])?;
        let mut content = Vec::new();
        loop {
            let before = content.len();
            self.answer(sequence, |bytes| content.extend_from_slice(bytes))?;
            if content.len() == before {
                return Ok(content);
            }
        }
    }

    /// The next stop, if there is one. Never blocks.
    pub fn next_event(&self) -> io::Result<Option<wire::Event>> {
        if let Some(event) = self.events.borrow_mut().pop_front() {
            return Ok(Some(event));
        }
        loop {
            match self.receive(MsgFlags::MSG_DONTWAIT) {
                // What is none is an answer that came too late.
                Ok(bytes) => {
                    if let Some(event) = event(&self.packet.borrow()[..bytes]) {
                        return Ok(Some(event));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Was a stop received already?
    pub fn has_events_waiting(&self) -> bool {
        !self.events.borrow().is_empty()
    }

    /// Readable when there is a stop.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn hello_of(packet: &[u8]) -> Result<Hello, NoHelper> {
    let fact = |index| word(packet, HEADER_WORDS + index);
    if word(packet, 0) != wire::HELLO || fact(0) != u64::from(GUARD_VERSION) {
        return Err(NoHelper::Version { found: fact(0) });
    }
    Ok(Hello { helper: fact(1) as i32, can_write_code: fact(2) == 1, signal: fact(3) })
}

fn event(packet: &[u8]) -> Option<wire::Event> {
    if packet.len() != EVENT_WORDS * 8 || word(packet, 0) != wire::EVENT {
        return None;
    }
    let mut general = [0; GENERAL_WORDS];
    for (index, register) in general.iter_mut().enumerate() {
        *register = word(packet, EVENT_WORDS - GENERAL_WORDS + index);
    }
    Some(wire::Event {
        kind: word(packet, 0),
        tid: word(packet, 1),
        slot: word(packet, 2),
        code: word(packet, 3),
        is_rewound: word(packet, 4),
        vector: word(packet, 5),
        fs_base: word(packet, 6),
        general,
    })
}
