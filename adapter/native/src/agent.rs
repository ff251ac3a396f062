//! The debug agent: one process that debugs one other process for one client.
//!
//! Everything happens on the calling thread, which waits in `poll` for three things: a child's change (SIGCHLD, read through a
//! signalfd, is sent for every stop of a traced thread), bytes from the client or its node, and room for bytes to them. A signalfd
//! keeps what has not been read, so nothing is ever missed between two waits, and no stop has to change threads before it is
//! judged.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use dap::{Codec, Malformed, Message};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use tokio_util::codec::Decoder;

use crate::attach::{self, Refused};
use crate::engine::Mode;
use crate::limits::{GIVE_WAY, LINGER, MESSAGE_BYTES_MAX, NOBODY_RAN};
use crate::requests::{Flow, Server};
use crate::tracer::Means;

/// How long threads may take to let go when the agent ends.
const RELEASE_TIME: Duration = Duration::from_secs(2);
/// How long the last messages may take to be read.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Bytes that are read from the client at a time.
const READ_BYTES: usize = 64 << 10;

/// What to debug and for whom.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The process.
    pub pid: i32,
    /// Speak the target profile on standard input and output.
    pub stdio: bool,
    /// Be an ordinary DAP adapter for the client that connects here.
    pub listen: Option<SocketAddr>,
    /// A process that another debugger traces is looked at all the same; else it is refused.
    pub takes_pictures: bool,
    /// The other end answers `mantaNeedsDebugInfo`.
    pub asks_for_debug_info: bool,
}

/// Why an agent could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The process cannot be traced.
    #[error("{0}")]
    Attach(#[from] Refused),
    /// No client, or more than one way to reach one.
    #[error("a debug agent needs exactly one of --stdio and --listen ADDRESS")]
    NoClient,
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on: {cause}; choose another address")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The system refused something that it never refuses.
    #[error("the debug agent failed: {0}")]
    Io(#[from] io::Error),
}

/// A straight way to the client beside the one over the node. Whoever makes one says who is let in. It never waits, and may break at any
/// time: what is said on it is told to the node as well.
pub trait Line {
    /// Whether a client hears what is said.
    fn is_heard(&self) -> bool;
    /// What to wait for until something can be read, and where this is said, also until something can be written.
    fn waits(&self) -> Vec<(BorrowedFd<'_>, bool)>;
    /// Takes what has come: clients, and their messages.
    fn take(&mut self, give: &mut dyn FnMut(Bytes));
    /// Adds a message to what is to be written.
    fn send(&mut self, message: &[u8]);
    /// Writes as far as that is possible without waiting.
    fn flush(&mut self);
}

/// A line, if there is one.
pub type AnyLine<'a> = Option<&'a mut (dyn Line + 'static)>;

/// The two ends of a connection.
struct Wire {
    input: File,
    output: File,
}

/// Debugs until the process ends, or the client has gone and every thread runs freely again.
///
/// To be called on the main thread, before any other thread is made: SIGCHLD has to be blocked in all of them.
///
/// # Errors
/// See [`AgentError`].
pub fn run(options: &AgentOptions, line: AnyLine<'_>) -> Result<(), AgentError> {
    let signals = block_signals()?;
    let listener = match (options.stdio, options.listen) {
        (true, None) => None,
        (false, Some(address)) => {
            Some(TcpListener::bind(address).map_err(|cause| AgentError::Listen { address, cause })?)
        }
        _ => return Err(AgentError::NoClient),
    };
    let mode = if options.stdio { Mode::Cluster } else { Mode::Standalone };
    let mut server = Server::new(attach::attach(options.pid, mode, options.takes_pictures)?);
    server.engine.asks_for_debug_info = options.asks_for_debug_info;
    let wire = match &listener {
        None => Wire::of(dup(io::stdin().as_fd())?, dup(io::stdout().as_fd())?)?,
        Some(listener) => {
            // On standard error, as `manta dap` says it; with port 0 nobody could know it otherwise.
            eprintln!("manta debug-agent listens on {}", listener.local_addr()?);
            for sentence in server.engine.introduction() {
                eprintln!("{sentence}");
            }
            match accept(&mut server, listener, &signals)? {
                Some(wire) => wire,
                None => return Ok(()),
            }
        }
    };
    let ended = serve(&mut server, &wire, line, &signals);
    server.release_for_good();
    let released = finish(&mut server, &signals, RELEASE_TIME);
    flush(&mut server, &wire);
    ended?;
    released
}

fn block_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    // A client that goes away is an error of a write, not the end of the agent.
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

fn dup(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    fd.try_clone_to_owned()
}

impl Wire {
    fn of(input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        for fd in [&input, &output] {
            let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
            fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        Ok(Self { input: File::from(input), output: File::from(output) })
    }
}

/// What [`take_signals`] found.
#[derive(PartialEq, Eq)]
enum Signalled {
    Nothing,
    End,
}

/// Lets the engine see everything that threads did.
fn take_signals(server: &mut Server, signals: &SignalFd) -> io::Result<Signalled> {
    let mut found = Signalled::Nothing;
    while let Some(signal) = signals.read_signal()? {
        if signal.ssi_signo != libc::SIGCHLD as u32 {
            found = Signalled::End;
        }
    }
    take_events(server)?;
    Ok(found)
}

fn take_events(server: &mut Server) -> io::Result<()> {
    loop {
        match server.engine.process.next_event() {
            Ok(Some((tid, waited))) => server.engine.on_wait(tid, waited),
            Ok(None) => return Ok(()),
            Err(error) if server.engine.process.means() == Means::Ptrace => return Err(error),
            Err(_) => {
                // Only a process that has ended, or replaced its program, closes the socket of its helper.
                server.engine.on_process_gone();
                return Ok(());
            }
        }
    }
}

/// What tells that something has happened to the process: signals, and the socket of a process that helps itself.
fn of_process<'a>(server: &'a Server, signals: &'a SignalFd) -> Vec<PollFd<'a>> {
    let of = [Some(signals.as_fd()), server.engine.process.events()];
    of.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect()
}

/// Waits for a client; the process may end before one comes.
fn accept(server: &mut Server, listener: &TcpListener, signals: &SignalFd) -> io::Result<Option<Wire>> {
    loop {
        let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        fds.append(&mut of_process(server, signals));
        wait(&mut fds, None)?;
        let connected = fds[0].any() == Some(true);
        let signalled = fds[1..].iter().any(|fd| fd.any() == Some(true));
        if signalled && (take_signals(server, signals)? == Signalled::End || server.engine.has_ended()) {
            return Ok(None);
        }
        if connected {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            let output = dup(stream.as_fd())?;
            server.engine.outbox.clear();
            return Wire::of(OwnedFd::from(stream), output).map(Some);
        }
    }
}

/// Lets those run first that a stop on its way wakes: they may have been put in line behind this very thread.
fn give_way() {
    let until = Instant::now() + GIVE_WAY;
    while Instant::now() < until {
        std::thread::yield_now();
    }
}

/// Lets those run first that were put in line behind this very thread, as long as there are any.
fn let_pass() {
    let until = Instant::now() + GIVE_WAY;
    let mut before = Instant::now();
    while before < until {
        std::thread::yield_now();
        let now = Instant::now();
        if now - before < NOBODY_RAN {
            return;
        }
        before = now;
    }
}

/// Looks again and again for a moment, and leaves the processor in between to whoever wants it. True when something has happened.
///
/// While a client steps, the next stop or question is near: a processor that has gone to sleep meanwhile takes longer to wake than any
/// of them takes.
fn linger(fds: &mut [PollFd<'_>], most: Option<Duration>) -> io::Result<bool> {
    let until = Instant::now() + most.map_or(LINGER, |most| most.min(LINGER));
    loop {
        wait(fds, Some(Duration::ZERO))?;
        if fds.iter().any(|fd| fd.any() == Some(true)) {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        std::thread::yield_now();
    }
}

fn wait(fds: &mut [PollFd<'_>], most: Option<Duration>) -> io::Result<()> {
    match ppoll(fds, most.map(TimeSpec::from), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Serves the client until it goes, the process ends, or a signal says to stop.
fn serve(
    server: &mut Server,
    wire: &Wire,
    mut line: AnyLine<'_>,
    signals: &SignalFd,
) -> Result<(), AgentError> {
    let mut codec = Codec::with_limit(MESSAGE_BYTES_MAX);
    let mut received = BytesMut::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        write_due(server, wire, line.as_deref_mut())?;
        let lingers = line.as_deref().is_some_and(|line| line.is_heard());
        let found = wait_for_some(server, wire, line.as_deref(), signals, lingers)?;
        if found.of_process {
            let found = take_signals(server, signals)?;
            if server.after() == Flow::Close || found == Signalled::End || server.engine.has_ended() {
                return Ok(());
            }
        }
        if found.on_line && take_from_line(server, line.as_deref_mut()) == Flow::Close {
            return Ok(());
        }
        if found.on_wire {
            let is_open = read_some(wire, &mut buffer, &mut received)?;
            if decode_all(server, &mut codec, &mut received) == Flow::Close || !is_open {
                return Ok(());
            }
        }
    }
}

/// Writes what is due, and tells of stops what the client will ask.
fn write_due(server: &mut Server, wire: &Wire, mut line: AnyLine<'_>) -> io::Result<()> {
    if server.engine.outbox.may_wait(Instant::now()).is_none() {
        let has_line = line.as_deref().is_some_and(|line| line.is_heard());
        if server.engine.looks.are_due() {
            if has_line {
                // The adapter and its client take the stop in meanwhile.
                tell_client(server, wire, line.as_deref_mut())?;
                let_pass();
            }
            // Over the node behind the stop, but in one write: each process on the way is woken once for both.
            server.tell_stacks();
        }
        tell_client(server, wire, line.as_deref_mut())?;
        if server.engine.looks.owe_any() {
            if has_line {
                let_pass();
            } else {
                give_way();
            }
            server.tell_variables();
            tell_client(server, wire, line.as_deref_mut())?;
        }
    }
    if server.engine.outbox.wire_may_wait(Instant::now()).is_none() {
        write_waiting(server, wire)?;
    }
    if server.engine.keep_handlers() {
        tell_client(server, wire, line)?;
    }
    Ok(())
}

/// Writes what is there for the client, on the way that it hears.
fn tell_client(server: &mut Server, wire: &Wire, line: AnyLine<'_>) -> io::Result<()> {
    let Some(line) = line.filter(|line| line.is_heard()) else {
        server.engine.outbox.set_line(false);
        return write_waiting(server, wire);
    };
    let messages = server.engine.outbox.take_line();
    if !messages.is_empty() {
        messages.iter().for_each(|message| line.send(message));
        line.flush();
        server.engine.outbox.set_line(line.is_heard());
    }
    Ok(())
}

/// Where something has happened.
struct Found {
    of_process: bool,
    on_line: bool,
    on_wire: bool,
}

fn wait_for_some(
    server: &Server,
    wire: &Wire,
    line: Option<&(dyn Line + 'static)>,
    signals: &SignalFd,
    lingers: bool,
) -> io::Result<Found> {
    let outbox = &server.engine.outbox;
    let (now, is_full) = (Instant::now(), outbox.is_full());
    let (may_wait, wire_may_wait) = (outbox.may_wait(now), outbox.wire_may_wait(now));
    let flags = |reads: bool, writes: bool| {
        let reads = if reads { PollFlags::POLLIN } else { PollFlags::empty() };
        reads | if writes { PollFlags::POLLOUT } else { PollFlags::empty() }
    };
    let writes = !outbox.wire().is_empty() && wire_may_wait.is_none();
    let mut fds = vec![
        PollFd::new(wire.input.as_fd(), flags(!is_full, false)),
        PollFd::new(wire.output.as_fd(), flags(false, writes)),
    ];
    fds.append(&mut of_process(server, signals));
    let of_line = fds.len();
    // What is asked on the line is answered to the node as well: while that does not read, nothing more is taken in.
    let waits = line.filter(|_| !is_full).map(Line::waits).unwrap_or_default();
    fds.extend(waits.iter().map(|(fd, writes)| PollFd::new(*fd, flags(true, *writes))));
    let has_events = server.engine.process.has_events_waiting();
    let most =
        if has_events { Some(Duration::ZERO) } else { may_wait.into_iter().chain(wire_may_wait).min() };
    if !lingers || !linger(&mut fds, most)? {
        // What it has lingered is over.
        wait(&mut fds, most.map(|most| most.saturating_sub(now.elapsed())))?;
    }
    let any = |fds: &[PollFd<'_>]| fds.iter().any(|fd| fd.any() == Some(true));
    Ok(Found {
        of_process: has_events || any(&fds[2..of_line]),
        on_line: any(&fds[of_line..]),
        on_wire: !is_full && any(&fds[..1]),
    })
}

fn take_from_line(server: &mut Server, line: AnyLine<'_>) -> Flow {
    let Some(line) = line else { return Flow::Open };
    let mut messages = Vec::new();
    line.take(&mut |message| messages.push(message));
    server.engine.outbox.set_line(line.is_heard());
    for message in messages {
        if take_message(server, Message::from_slice(&message)) == Flow::Close {
            return Flow::Close;
        }
    }
    Flow::Open
}

fn take_message(server: &mut Server, message: Result<Message, Malformed>) -> Flow {
    match message {
        Ok(message) => return server.on_message(&message),
        // Without its number and name a request cannot be answered.
        Err(malformed) => match malformed.refusal() {
            Some(refusal) => server.engine.outbox.respond(refusal),
            None => server.engine.outbox.console(&format!("{malformed}\n")),
        },
    }
    Flow::Open
}

/// Reads what is there. False at the end.
fn read_some(wire: &Wire, buffer: &mut [u8], received: &mut BytesMut) -> io::Result<bool> {
    loop {
        match (&wire.input).read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                received.extend_from_slice(&buffer[..count]);
                if count < buffer.len() {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A client that is gone is gone in whatever way.
            Err(_) => return Ok(false),
        }
    }
}

fn decode_all(server: &mut Server, codec: &mut Codec, received: &mut BytesMut) -> Flow {
    loop {
        match codec.decode(received) {
            Ok(None) => return Flow::Open,
            Ok(Some(incoming)) => {
                if take_message(server, incoming.message) == Flow::Close {
                    return Flow::Close;
                }
            }
            Err(error) => {
                server.engine.outbox.console(&format!("{error}\n"));
                return Flow::Close;
            }
        }
    }
}

fn write_waiting(server: &mut Server, wire: &Wire) -> io::Result<()> {
    let outbox = &mut server.engine.outbox;
    while !outbox.wire().is_empty() {
        match (&wire.output).write(outbox.wire()) {
            Ok(count) => outbox.wrote(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Nobody reads any more; the end of the input will say so too.
            Err(_) => outbox.wrote(outbox.wire().len()),
        }
    }
    Ok(())
}

/// Waits until every thread runs freely. When the agent ends after that, the kernel lets go of them.
fn finish(server: &mut Server, signals: &SignalFd, most: Duration) -> Result<(), AgentError> {
    let until = Instant::now() + most;
    while !server.engine.is_released() && !server.engine.has_ended() && Instant::now() < until {
        if !server.engine.process.has_events_waiting() {
            let mut fds = of_process(server, signals);
            wait(&mut fds, Some(until.saturating_duration_since(Instant::now())))?;
        }
        take_signals(server, signals)?;
    }
    Ok(())
}

fn flush(server: &mut Server, wire: &Wire) {
    let until = Instant::now() + FLUSH_TIME;
    while !server.engine.outbox.wire().is_empty() && Instant::now() < until {
        let mut fds = [PollFd::new(wire.output.as_fd(), PollFlags::POLLOUT)];
        if wait(&mut fds, Some(until.saturating_duration_since(Instant::now()))).is_err()
            || write_waiting(server, wire).is_err()
        {
            return;
        }
    }
}
