//! The worker's end of the debug tunnel: DAP messages between the node and the Python engine.
//!
//! Nothing of it runs until the first message comes; then a thread of its own loads the engine and serves it.

use std::{collections::VecDeque, sync::OnceLock, thread};

use bytes::Bytes;
use manta_worker::Core;
use parking_lot::{Condvar, Mutex};
use pyo3::{prelude::*, types::PyBytes};

use crate::connection;

#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Bytes>,
    serving: bool,
}

fn inbox() -> &'static Inbox {
    static INBOX: OnceLock<Inbox> = OnceLock::new();
    INBOX.get_or_init(Inbox::default)
}

/// Passes each message for this worker's engine to the thread that serves it, which the first message starts.
pub fn install(core: &Core) {
    core.set_debug_handler(Box::new(|message| {
        let inbox = inbox();
        let mut state = inbox.state.lock();
        state.messages.push_back(message);
        inbox.changed.notify_one();
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

/// Waits, without the GIL, for the next DAP message for this worker's engine.
#[pyfunction]
pub fn debug_receive(py: Python<'_>) -> Bound<'_, PyBytes> {
    let message = py.detach(|| {
        let inbox = inbox();
        let mut state = inbox.state.lock();
        loop {
            if let Some(message) = state.messages.pop_front() {
                return message;
            }
            inbox.changed.wait(&mut state);
        }
    });
    PyBytes::new(py, &message)
}

/// Sends a DAP message of this worker's engine.
#[pyfunction]
pub fn debug_send(message: &[u8]) -> PyResult<()> {
    connection::core()?.send_debug(Bytes::copy_from_slice(message));
    Ok(())
}
