//! The worker's end of the debug tunnel: DAP messages between the Python engine and the node, and the line to an adapter of this machine.
//!
//! Nothing of it runs until the first message comes; then a thread of its own loads the engine and serves it. That thread waits for the
//! node and for the line at one time, so a message of the line changes no thread before it is looked at, and a thread of the program
//! that stops writes to the line itself.
//!
//! What only says that a thread runs on waits a moment for the message that is likely to follow, and leaves together with it: each
//! departure wakes the processes on the way to the client. While there is a line, the node hears a little later, and of several steps at
//! one time: nobody waits for it.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::OnceLock,
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_proto::{
    ids::Incarnation,
    line::{self as wire, Listener},
};
use manta_worker::Core;
use parking_lot::Mutex;
use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyBytes};

use crate::connection;

/// How long a message waits for the next one. Where it is steps that it tells of, they have come to their ends by then.
const SOON: Duration = Duration::from_micros(500);
/// How long the node waits for what an adapter has on the line already.
const BEHIND: Duration = Duration::from_millis(5);

struct Tunnel {
    state: Mutex<State>,
    /// Wakes the thread that serves: a byte in `bell` for each thing to look at.
    ring: UnixStream,
    bell: UnixStream,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Bytes>,
    serving: bool,
    server: Option<ThreadId>,
    to_node: Outbox,
    to_line: Outbox,
    line: Option<Listener>,
}

/// Messages of the engine that wait for the next one.
#[derive(Default)]
struct Outbox {
    waiting: Vec<Bytes>,
    until: Option<Instant>,
}

impl Outbox {
    /// Adds a message, which may wait so long for others. What is given is to be sent.
    fn add(&mut self, message: Bytes, wait: Option<Duration>, now: Instant) -> Vec<Bytes> {
        self.waiting.push(message);
        match wait {
            Some(wait) => {
                self.until.get_or_insert(now + wait);
                Vec::new()
            }
            None => self.take(),
        }
    }

    /// What has waited long enough.
    fn take_due(&mut self, now: Instant) -> Vec<Bytes> {
        if self.until.is_some_and(|until| until <= now) { self.take() } else { Vec::new() }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.until = None;
        std::mem::take(&mut self.waiting)
    }
}

impl State {
    fn is_heard(&self) -> bool {
        self.line.as_ref().is_some_and(Listener::is_heard)
    }

    /// When something has waited long enough.
    fn next_due(&self) -> Option<Instant> {
        self.to_node.until.into_iter().chain(self.to_line.until).min()
    }

    fn add(&mut self, core: &Core, message: Bytes, soon: bool, for_node: bool) {
        let now = Instant::now();
        let soon = soon.then_some(SOON);
        let is_heard = self.is_heard();
        if is_heard {
            let due = self.to_line.add(message.clone(), soon, now);
            self.tell_line(&due);
        }
        let due = self.to_node.add(message, if is_heard && !for_node { Some(BEHIND) } else { soon }, now);
        // Under the lock, so that messages leave in the order in which they were sent.
        tell_node(core, due);
    }

    fn send_due(&mut self, core: &Core) {
        let now = Instant::now();
        let due = self.to_line.take_due(now);
        self.tell_line(&due);
        let due = self.to_node.take_due(now);
        tell_node(core, due);
    }

    fn tell_line(&mut self, messages: &[Bytes]) {
        let Some(line) = self.line.as_mut().filter(|_| !messages.is_empty()) else { return };
        for message in messages {
            line.send(message);
        }
        line.flush();
    }

    /// Takes what has come on the line.
    fn take_from_line(&mut self) {
        let Some(line) = &mut self.line else { return };
        let was_heard = line.is_heard();
        line.take(|message| self.messages.push_back(message));
        if was_heard && !line.is_heard() {
            self.to_line.take();
            // The node is the only one now who can tell.
            self.to_node.until = self.to_node.until.map(|_| Instant::now());
        }
    }
}

fn tell_node(core: &Core, messages: Vec<Bytes>) {
    if !messages.is_empty() {
        core.send_debug(messages);
    }
}

static TUNNEL: OnceLock<Tunnel> = OnceLock::new();

/// The tunnel of this worker.
fn tunnel() -> PyResult<&'static Tunnel> {
    TUNNEL.get().ok_or_else(|| PyRuntimeError::new_err("this process is no worker that can be debugged"))
}

impl Tunnel {
    fn new() -> std::io::Result<Self> {
        let (ring, bell) = UnixStream::pair()?;
        ring.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        Ok(Self { state: Mutex::default(), ring, bell })
    }

    /// Has the thread that serves look again.
    fn ring(&self) {
        // When it is full there is enough to wake it.
        let _ = (&self.ring).write_all(&[0]);
    }

    /// Waits, without the GIL, for the next message for the engine, and sends meanwhile what has waited long enough.
    fn receive(&self, core: &Core) -> Bytes {
        let mut fds = Vec::new();
        loop {
            let due = {
                let mut state = self.state.lock();
                state.send_due(core);
                if let Some(message) = state.messages.pop_front() {
                    return message;
                }
                fds.clear();
                fds.push(wait_for(self.bell.as_raw_fd(), libc::POLLIN));
                for (fd, writes) in state.line.iter().flat_map(Listener::waits) {
                    let writes = if writes { libc::POLLOUT } else { 0 };
                    fds.push(wait_for(fd.as_raw_fd(), libc::POLLIN | writes));
                }
                state.next_due()
            };
            wait(&mut fds, due);
            if fds[0].revents != 0 {
                let mut bytes = [0; 64];
                while (&self.bell).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
            }
            if fds[1..].iter().any(|fd| fd.revents != 0) {
                self.state.lock().take_from_line();
            }
        }
    }
}

/// An entry of `poll`.
fn wait_for(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

/// Waits until one of them is ready, or it is time.
fn wait(fds: &mut [libc::pollfd], until: Option<Instant>) {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let left = left.map(|left| libc::timespec {
        tv_sec: left.as_secs().cast_signed(),
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    let most = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the entries and the time outlive the call, and the count is that of the entries.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, most, std::ptr::null()) };
    if ready <= 0 {
        // What it says of the entries is only good when there is any.
        fds.iter_mut().for_each(|fd| fd.revents = 0);
    }
}

/// Passes each message for this worker's engine to the thread that serves it, which the first message starts.
pub fn install(core: &Core) -> PyResult<()> {
    let tunnel = Tunnel::new()?;
    if TUNNEL.set(tunnel).is_err() {
        return Err(PyRuntimeError::new_err("this process is a worker already"));
    }
    core.set_debug_handler(Box::new(|message| {
        let Some(tunnel) = TUNNEL.get() else { return };
        let mut state = tunnel.state.lock();
        state.messages.push_back(message);
        tunnel.ring();
        if !state.serving {
            state.serving = thread::Builder::new().name("manta-debug".to_owned()).spawn(serve).is_ok();
        }
    }));
    Ok(())
}

fn serve() {
    // `None`: the interpreter is ending, and the worker with it.
    Python::try_attach(|py| {
        let served = py.import("manta._debug_target").and_then(|module| module.call_method0("serve"));
        if let Err(error) = served {
            error.print(py);
        }
    });
}

/// Waits, without the GIL, for the next DAP message for this worker's engine. Sends meanwhile what has waited long enough.
#[pyfunction]
pub fn debug_receive(py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
    let core = connection::core()?;
    let tunnel = tunnel()?;
    {
        let mut state = tunnel.state.lock();
        if state.server.replace(thread::current().id()).is_none() {
            let process = core.process();
            let path = wire::socket(&process.session_dir, process.process_id, Incarnation::default());
            // Where it cannot listen, the way over the node is there.
            let line = Listener::listen(&path, core.token()).inspect_err(|error| {
                tracing::warn!(
                    "debug adapters reach this worker over its node only, as it cannot listen at {}: {error}",
                    path.display()
                );
            });
            state.line = line.ok();
        }
    }
    let message = py.detach(|| tunnel.receive(&core));
    Ok(PyBytes::new(py, &message))
}

/// Sends a DAP message of this worker's engine. One for which `soon` is good enough may wait a moment for the next. One that is `for_node`
/// answers the node, which waits for it.
#[pyfunction]
#[pyo3(signature = (message, soon=false, for_node=false, /))]
pub fn debug_send(message: &[u8], soon: bool, for_node: bool) -> PyResult<()> {
    let core = connection::core()?;
    let tunnel = tunnel()?;
    let mut state = tunnel.state.lock();
    let before = state.next_due();
    state.add(&core, Bytes::copy_from_slice(message), soon, for_node);
    let is_earlier = state.next_due().is_some_and(|due| before.is_none_or(|before| due < before));
    // The thread that serves looks by itself before it waits again.
    if is_earlier && state.server != Some(thread::current().id()) {
        tunnel.ring();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_wait_leaves_with_what_cannot_or_after_a_moment() {
        let (now, mut outbox) = (Instant::now(), Outbox::default());
        let message = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert!(outbox.add(message("answer"), Some(SOON), now).is_empty());
        assert!(outbox.add(message("continued"), Some(SOON), now + SOON / 2).is_empty());
        assert!(outbox.take_due(now + SOON / 2).is_empty());
        let all = outbox.add(message("stopped"), None, now + SOON / 2);
        assert_eq!(all, [message("answer"), message("continued"), message("stopped")]);
        assert!(outbox.take_due(now + SOON).is_empty() && outbox.until.is_none());

        assert!(outbox.add(message("answer"), Some(SOON), now).is_empty());
        assert_eq!(outbox.take_due(now + SOON), [message("answer")]);
    }
}
