//! The worker's end of the debug tunnel: DAP messages between the node and the Python engine.
//!
//! Nothing of it runs until the first message comes; then a thread of its own loads the engine and serves it.
//!
//! What only says that a thread runs on waits a moment for the message that is likely to follow, and leaves together with it: each
//! departure wakes four processes on the way to the client.

use std::{
    collections::VecDeque,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_worker::Core;
use parking_lot::{Condvar, Mutex};
use pyo3::{prelude::*, types::PyBytes};

use crate::connection;

/// How long a message waits for the next one. Where it is steps that it tells of, they have come to their ends by then.
const SOON: Duration = Duration::from_micros(500);

#[derive(Default)]
struct Tunnel {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Bytes>,
    serving: bool,
    outbox: Outbox,
}

/// Messages of the engine that wait for the next one.
#[derive(Default)]
struct Outbox {
    waiting: Vec<Bytes>,
    until: Option<Instant>,
}

impl Outbox {
    /// Adds a message, which waits when `soon` says so. What is given is to be sent.
    fn add(&mut self, message: Bytes, soon: bool, now: Instant) -> Vec<Bytes> {
        self.waiting.push(message);
        if soon {
            self.until.get_or_insert(now + SOON);
            return Vec::new();
        }
        self.take()
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

fn tunnel() -> &'static Tunnel {
    static TUNNEL: OnceLock<Tunnel> = OnceLock::new();
    TUNNEL.get_or_init(Tunnel::default)
}

/// Passes each message for this worker's engine to the thread that serves it, which the first message starts.
pub fn install(core: &Core) {
    core.set_debug_handler(Box::new(|message| {
        let tunnel = tunnel();
        let mut state = tunnel.state.lock();
        state.messages.push_back(message);
        tunnel.changed.notify_one();
        if !state.serving {
            state.serving = thread::Builder::new().name("manta-debug".to_owned()).spawn(serve).is_ok();
        }
    }));
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
    let message = py.detach(|| {
        let tunnel = tunnel();
        let mut state = tunnel.state.lock();
        loop {
            let due = state.outbox.take_due(Instant::now());
            if !due.is_empty() {
                core.send_debug(due);
            }
            if let Some(message) = state.messages.pop_front() {
                return message;
            }
            match state.outbox.until {
                Some(until) => drop(tunnel.changed.wait_until(&mut state, until)),
                None => tunnel.changed.wait(&mut state),
            }
        }
    });
    Ok(PyBytes::new(py, &message))
}

/// Sends a DAP message of this worker's engine. One for which `soon` is good enough may wait a moment for the next.
#[pyfunction]
#[pyo3(signature = (message, soon=false, /))]
pub fn debug_send(message: &[u8], soon: bool) -> PyResult<()> {
    let core = connection::core()?;
    let tunnel = tunnel();
    let mut state = tunnel.state.lock();
    let waited = state.outbox.until.is_some();
    let due = state.outbox.add(Bytes::copy_from_slice(message), soon, Instant::now());
    // Under the lock, so that messages leave in the order in which they were sent.
    if !due.is_empty() {
        core.send_debug(due);
    } else if !waited {
        tunnel.changed.notify_one();
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
        assert!(outbox.add(message("answer"), true, now).is_empty());
        assert!(outbox.add(message("continued"), true, now + SOON / 2).is_empty());
        assert!(outbox.take_due(now + SOON / 2).is_empty());
        let all = outbox.add(message("stopped"), false, now + SOON / 2);
        assert_eq!(all, [message("answer"), message("continued"), message("stopped")]);
        assert!(outbox.take_due(now + SOON).is_empty() && outbox.until.is_none());

        assert!(outbox.add(message("answer"), true, now).is_empty());
        assert_eq!(outbox.take_due(now + SOON), [message("answer")]);
    }
}
