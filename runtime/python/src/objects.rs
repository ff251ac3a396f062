//! `get`, `put`, `wait`: what waits for objects, or makes them without a task.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use manta_worker::{Core, Format, GetError, ObjectRef, Seen, StoreError, SubmitError};
use parking_lot::{Condvar, Mutex};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyList},
};

use crate::{
    connection::{self, ActForTask},
    decode::decode,
    encode::{Encoded, encode, recording},
    object_ref::PyObjectRef,
};

/// Above this, a value may go into the store, which may have to make room first: other Python threads run meanwhile.
pub const DETACH_BYTES: usize = manta_proto::limits::INLINE_BYTES_MAX / 2;

fn refs_of(refs: &Bound<'_, PyList>) -> PyResult<Vec<ObjectRef>> {
    let inner = |(index, item): (usize, Bound<'_, PyAny>)| match item.cast_exact::<PyObjectRef>() {
        Ok(object_ref) => Ok(object_ref.get().inner().clone()),
        Err(_) => Err(PyTypeError::new_err(format!(
            "get() takes ObjectRefs, and item {index} is of type {}",
            item.get_type().qualname()?
        ))),
    };
    refs.iter().enumerate().map(inner).collect()
}

fn duration(timeout_seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(seconds) = timeout_seconds else { return Ok(None) };
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!("'timeout' must be 0 or more seconds, not {seconds}")));
    }
    // A longer time than a Duration holds is no limit at all.
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

/// Runs `wait` without the GIL; Python's signal handlers run meanwhile, and what they raise ends the wait.
fn waiting<T: Send>(
    py: Python<'_>,
    core: &Core,
    wait: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<T, GetError> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let result = py.detach(|| {
        let _acting = ActForTask::begin(core);
        wait(&mut || {
            raised = Python::attach(|py| py.check_signals()).err();
            raised.is_some()
        })
    });
    match (result, raised) {
        (Ok(value), None) => Ok(value),
        (_, Some(raised)) => Err(raised),
        (Err(error), None) => Err(get_error(py, &error)?),
    }
}

/// Runs `wait` without the GIL; Python's signal handlers run meanwhile, and what they raise is the outcome.
pub fn waiting_for_signals<T: Send>(
    py: Python<'_>,
    wait: impl FnOnce(&mut dyn FnMut() -> bool) -> T + Send,
) -> PyResult<T> {
    let mut raised = None;
    let result = py.detach(|| {
        wait(&mut || {
            raised = Python::attach(|py| py.check_signals()).err();
            raised.is_some()
        })
    });
    raised.map_or(Ok(result), Err)
}

fn get_error(py: Python<'_>, error: &GetError) -> PyResult<PyErr> {
    let class = match error {
        GetError::Timeout(_) => "GetTimeoutError",
        GetError::Interrupted | GetError::Disconnected(_) => "RaySystemError",
        GetError::StaleRef => return Ok(PyValueError::new_err(error.to_string())),
    };
    exception(py, class, &error.to_string())
}

fn exception(py: Python<'_>, class: &str, message: &str) -> PyResult<PyErr> {
    Ok(PyErr::from_value(py.import("manta.exceptions")?.getattr(class)?.call1((message,))?))
}

fn store_exception(error: &StoreError) -> &'static str {
    match error {
        StoreError::TooLarge { .. } | StoreError::NoRoom { .. } => "ObjectStoreFullError",
        StoreError::DiskFull { .. } => "OutOfDiskError",
        StoreError::Damaged { .. } | StoreError::Io { .. } => "RaySystemError",
    }
}

/// The exception for a task or value that was not taken.
pub fn submit_error(py: Python<'_>, error: &SubmitError) -> PyErr {
    let message = error.to_string();
    let made = match error {
        SubmitError::Store(error) => exception(py, store_exception(error), &message),
        SubmitError::Disconnected(_) | SubmitError::Registry(_) => exception(py, "RaySystemError", &message),
        SubmitError::PendingCalls { .. } => exception(py, "PendingCallsLimitExceeded", &message),
        SubmitError::NameTaken { .. } => exception(py, "ActorAlreadyExistsError", &message),
        SubmitError::Resource { .. } | SubmitError::StaleRef | SubmitError::ForcedCall => {
            Ok(PyValueError::new_err(message))
        }
    };
    made.unwrap_or_else(|failure| failure)
}

/// The values of the refs, in their order; raises the first failure among them.
#[pyfunction]
#[pyo3(signature = (refs, timeout))]
pub fn get<'py>(
    py: Python<'py>,
    refs: &Bound<'py, PyList>,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyList>> {
    let (core, refs, timeout) = (connection::core()?, refs_of(refs)?, duration(timeout)?);
    let values = waiting(py, &core, |interrupted| core.get(&refs, timeout, interrupted))?;
    let decoded: Vec<_> = values.iter().map(|value| decode(py, value)).collect::<PyResult<_>>()?;
    PyList::new(py, decoded)
}

type Split<'py> = (Bound<'py, PyList>, Bound<'py, PyList>);

/// Waits for refs that are all of them `ObjectRef`s: answers with the ready ones, as many as were asked for, and the others. `None`
/// when something else is among them. When nothing is left over, the first list is the one that was given.
#[pyfunction]
#[pyo3(signature = (refs, num_returns, timeout, fetch_local))]
pub fn wait_refs<'py>(
    py: Python<'py>,
    refs: &Bound<'py, PyList>,
    num_returns: usize,
    timeout: Option<f64>,
    fetch_local: bool,
) -> PyResult<Option<Split<'py>>> {
    let (core, timeout) = (connection::core()?, duration(timeout)?);
    let Some(mut is_ready) = look(&core, refs, fetch_local)? else { return Ok(None) };
    if is_ready.iter().filter(|ready| **ready).count() < num_returns {
        let inner = refs_of(refs)?;
        is_ready = waiting(py, &core, |interrupted| {
            core.wait(&inner, num_returns, timeout, fetch_local, interrupted)
        })?;
    }
    if num_returns == refs.len() && is_ready.iter().all(|ready| *ready) {
        return Ok(Some((refs.clone(), PyList::empty(py))));
    }
    let (ready, others) = (PyList::empty(py), PyList::empty(py));
    let mut left = num_returns;
    for (item, is_ready) in refs.iter().zip(is_ready) {
        if is_ready && left > 0 {
            left -= 1;
            ready.append(item)?;
        } else {
            others.append(item)?;
        }
    }
    Ok(Some((ready, others)))
}

/// Which of the refs are ready at this moment; `None` when something else is among them.
fn look(core: &Core, refs: &Bound<'_, PyList>, fetch_local: bool) -> PyResult<Option<Vec<bool>>> {
    let mut is_ready = Vec::with_capacity(refs.len());
    core.look(fetch_local, |see| {
        for item in refs.iter() {
            let Ok(object_ref) = item.cast_exact::<PyObjectRef>() else { return Ok(None) };
            let seen = see(object_ref.get().inner());
            if seen == Seen::Again {
                return Err(PyValueError::new_err(
                    "wait() was given the same ObjectRef twice; pass each once",
                ));
            }
            is_ready.push(seen == Seen::Ready);
        }
        Ok(Some(()))
    })
    .map(|all| all.map(|()| is_ready))
}

/// Says for each ref whether it is ready.
#[pyfunction]
#[pyo3(signature = (refs, num_returns, timeout, fetch_local))]
pub fn wait(
    py: Python<'_>,
    refs: &Bound<'_, PyList>,
    num_returns: usize,
    timeout: Option<f64>,
    fetch_local: bool,
) -> PyResult<Vec<bool>> {
    let (core, refs, timeout) = (connection::core()?, refs_of(refs)?, duration(timeout)?);
    waiting(py, &core, |interrupted| core.wait(&refs, num_returns, timeout, fetch_local, interrupted))
}

/// Stores a value.
#[pyfunction]
pub fn put(value: &Bound<'_, PyAny>) -> PyResult<PyObjectRef> {
    let py = value.py();
    let core = connection::core()?;
    let encoded = encode(value, &|| "the value given to put()".to_owned())?;
    let buffers = encoded.buffers();
    let value = encoded.value(&buffers);
    let stored = if encoded.len() > DETACH_BYTES { py.detach(|| core.put(&value)) } else { core.put(&value) };
    stored.map(PyObjectRef::new).map_err(|error| submit_error(py, &error))
}

/// Stores a packed exception, which `get` of the ref raises.
#[pyfunction]
pub fn put_error(error: Bound<'_, PyBytes>) -> PyResult<PyObjectRef> {
    let (py, core) = (error.py(), connection::core()?);
    let encoded = Encoded::error(Format::PythonError, error);
    let buffers = encoded.buffers();
    core.put(&encoded.value(&buffers)).map(PyObjectRef::new).map_err(|error| submit_error(py, &error))
}

/// Functions may hold refs. They live as long as the connection, because workers may still have to run the function.
static CAPTURED: Mutex<Vec<ObjectRef>> = Mutex::new(Vec::new());

/// Pickles a function and makes it known to the cluster; answers with its id.
#[pyfunction]
pub fn register_function<'py>(name: &str, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = function.py();
    let core = connection::core()?;
    let serialization = py.import("manta._serialization")?;
    let (code, refs) = recording(|| serialization.call_method1("dumps_function", (function, name)));
    let code = code?.cast_into::<PyBytes>()?;
    CAPTURED.lock().extend(refs);
    let id = core.register_function(name, Bytes::copy_from_slice(code.as_bytes()));
    Ok(PyBytes::new(py, &id.0))
}

/// Lets go of what belongs to a connection that ends.
pub fn connection_ends() {
    CAPTURED.lock().clear();
    READY.state.lock().closed = true;
    READY.changed.notify_all();
}

/// Awaited objects that became ready, by the numbers that the package gave them.
struct Ready {
    state: Mutex<ReadyState>,
    changed: Condvar,
}

struct ReadyState {
    tokens: VecDeque<u64>,
    closed: bool,
}

static READY: Ready = Ready {
    state: Mutex::new(ReadyState { tokens: VecDeque::new(), closed: true }),
    changed: Condvar::new(),
};

/// Puts `token` into the queue of `next_ready` once the object is ready.
#[pyfunction]
pub fn notify_ready(object_ref: &Bound<'_, PyObjectRef>, token: u64) -> PyResult<()> {
    let core = connection::core()?;
    READY.state.lock().closed = false;
    let done = move || {
        READY.state.lock().tokens.push_back(token);
        READY.changed.notify_one();
    };
    core.on_ready(object_ref.get().inner(), Box::new(done));
    Ok(())
}

/// Waits for an awaited object to become ready; `None` when the connection has ended.
#[pyfunction]
pub fn next_ready(py: Python<'_>) -> Option<u64> {
    py.detach(|| {
        let mut state = READY.state.lock();
        loop {
            if let Some(token) = state.tokens.pop_front() {
                return Some(token);
            }
            if state.closed {
                return None;
            }
            READY.changed.wait(&mut state);
        }
    })
}
