//! Streaming tasks as their consumer sees them, and the cancelling of tasks.

use std::{
    collections::VecDeque,
    mem::ManuallyDrop,
    sync::atomic::{AtomicBool, Ordering},
};

use manta_proto::ids::TaskId;
use manta_worker::{Core, Stream};
use parking_lot::Mutex;
use pyo3::{prelude::*, types::PyBytes};

use crate::{connection, object_ref::PyObjectRef, objects::submit_error};

/// The values of a streaming task.
#[pyclass(frozen, name = "Stream", module = "manta._manta")]
pub struct PyStream(ManuallyDrop<Stream>);

impl PyStream {
    /// Wraps a core's stream.
    pub fn new(stream: Stream) -> Self {
        Self(ManuallyDrop::new(stream))
    }
}

impl Drop for PyStream {
    fn drop(&mut self) {
        // As with refs: a fork has no connection of its own.
        if !connection::is_forked() {
            // SAFETY: this is the only place that drops it, and it runs once.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

#[pymethods]
impl PyStream {
    /// The ref of the next value and its place; `None` after the last.
    fn next(&self) -> Option<(PyObjectRef, u32)> {
        self.0.next().map(|(object_ref, index)| (PyObjectRef::new(object_ref), index))
    }

    /// Whether the stream ended before this place.
    fn is_past(&self, index: u32) -> bool {
        self.0.is_past(index)
    }

    /// The ref of the result that says that the task is over.
    fn result(&self) -> PyObjectRef {
        PyObjectRef::new(self.0.result().clone())
    }

    /// The task's id in hexadecimal digits.
    fn task_id(&self) -> String {
        self.0.task().to_string()
    }
}

/// Cancels the task that makes an object.
#[pyfunction]
pub fn cancel(object_ref: &Bound<'_, PyObjectRef>, force: bool, recursive: bool) -> PyResult<()> {
    let cancelled = connection::core()?.cancel(object_ref.get().inner(), force, recursive);
    cancelled.map_err(|error| submit_error(object_ref.py(), &error))
}

/// The task that is to be interrupted, until another one is.
static INTERRUPTED: Mutex<Option<TaskId>> = Mutex::new(None);
/// Calls of the hosted actor that are to be interrupted, until its event loop has taken them.
static INTERRUPTED_CALLS: Mutex<VecDeque<TaskId>> = Mutex::new(VecDeque::new());
/// As many as an actor can run at once.
const INTERRUPTED_CALLS_MAX: usize = 10_000;
/// Whether any ever was: most workers interrupt nothing.
static ANY_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether this worker hosts an actor whose calls run on an event loop.
static IS_LOOP: AtomicBool = AtomicBool::new(false);

/// From now on the calls that are to be interrupted are kept for [`take_interrupted_calls`].
#[pyfunction]
pub fn keep_interrupted_calls() {
    IS_LOOP.store(true, Ordering::Release);
}

/// The ids of the calls that are to be interrupted since this was last asked.
#[pyfunction]
pub fn take_interrupted_calls(py: Python<'_>) -> Vec<Bound<'_, PyBytes>> {
    let calls = std::mem::take(&mut *INTERRUPTED_CALLS.lock());
    calls.iter().map(|id| PyBytes::new(py, &id.0)).collect()
}

/// Has SIGINT sent to the calling thread, the worker's main one, whenever a task is to be interrupted.
pub fn install_interrupts(core: &Core) {
    // SAFETY: asks for the calling thread's own id, and cannot fail.
    let main_thread = unsafe { libc::pthread_self() };
    core.set_interrupt_handler(Box::new(move |task| {
        *INTERRUPTED.lock() = Some(task);
        ANY_INTERRUPTED.store(true, Ordering::Release);
        if IS_LOOP.load(Ordering::Acquire) {
            let mut calls = INTERRUPTED_CALLS.lock();
            if calls.len() == INTERRUPTED_CALLS_MAX {
                calls.pop_front();
            }
            calls.push_back(task);
        }
        // SAFETY: the main thread lives as long as the process.
        unsafe { libc::pthread_kill(main_thread, libc::SIGINT) };
    }));
}

/// Whether the task that runs is to be interrupted.
#[pyfunction]
pub fn is_interrupted() -> bool {
    connection::running_task().is_some_and(|task| is_to_interrupt(task.id))
}

/// Whether a task is to be interrupted.
pub fn is_to_interrupt(task: TaskId) -> bool {
    ANY_INTERRUPTED.load(Ordering::Acquire) && *INTERRUPTED.lock() == Some(task)
}
