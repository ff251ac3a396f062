//! Bytes to Python values, and to the exceptions that stand for failures.

use bytes::Bytes;
use manta_worker::{FetchedValue, Format};
use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyList, PyString},
};

use crate::{buffer::StoredBuffer, msgpack};

/// The Python value, or the exception to raise when it stands for a failure.
pub fn decode<'py>(py: Python<'py>, value: &FetchedValue) -> PyResult<Bound<'py, PyAny>> {
    match value.format() {
        Format::Pickle5 if value.buffers().is_empty() => match decode_plain(py, value.inband()) {
            Some(plain) => plain,
            None => unpickle(py, value),
        },
        Format::Pickle5 => unpickle(py, value),
        Format::Raw => Ok(PyBytes::new(py, value.inband()).into_any()),
        Format::MsgPack => msgpack::decode(py, value.inband()),
        Format::PythonError | Format::RustError | Format::SystemError => Err(failure(py, value)?),
    }
}

/// Reads what `encode` writes for numbers and short text; `None` sends everything else to the unpickler.
fn decode_plain<'py>(py: Python<'py>, pickle: &Bytes) -> Option<PyResult<Bound<'py, PyAny>>> {
    let body = pickle.strip_prefix(b"\x80\x05")?.strip_suffix(b".")?;
    let (opcode, argument) = body.split_first()?;
    match (opcode, argument) {
        (b'N', []) => Some(Ok(py.None().into_bound(py))),
        (0x88, []) => Some(Ok(PyBool::new(py, true).to_owned().into_any())),
        (0x89, []) => Some(Ok(PyBool::new(py, false).to_owned().into_any())),
        (b'J', number) => Some(i32::from_le_bytes(number.try_into().ok()?).into_bound_py_any(py)),
        (0x8a, [8, number @ ..]) => Some(i64::from_le_bytes(number.try_into().ok()?).into_bound_py_any(py)),
        (b'G', number) => Some(Ok(PyFloat::new(py, f64::from_be_bytes(number.try_into().ok()?)).into_any())),
        (0x8c, [length, text @ ..]) if usize::from(*length) == text.len() => {
            Some(Ok(PyString::new(py, std::str::from_utf8(text).ok()?).into_any()))
        }
        _ => None,
    }
}

fn unpickle<'py>(py: Python<'py>, value: &FetchedValue) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let loads = LOADS.import(py, "pickle", "loads")?;
    if value.buffers().is_empty() {
        return loads.call1((PyBytes::new(py, value.inband()),));
    }
    let buffers = PyList::empty(py);
    for buffer in value.buffers() {
        buffers.append(Bound::new(py, StoredBuffer(buffer.clone()))?)?;
    }
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "buffers"), buffers)?;
    loads.call((PyBytes::new(py, value.inband()),), Some(&keywords))
}

/// The exception that a failed value stands for.
pub fn failure(py: Python<'_>, value: &FetchedValue) -> PyResult<PyErr> {
    let errors = py.import(intern!(py, "manta._errors"))?;
    let exception = match (value.format(), value.system_error()) {
        (_, Some(error)) => {
            let actor = error.actor.map(|id| id.to_string());
            errors.call_method1(intern!(py, "system_error"), (kind_name(error.kind), error.message, actor))?
        }
        (Format::RustError, _) => {
            errors.call_method1(intern!(py, "rust_error"), (PyBytes::new(py, value.inband()),))?
        }
        _ => errors.call_method1(intern!(py, "unpack"), (PyBytes::new(py, value.inband()),))?,
    };
    Ok(PyErr::from_value(exception))
}

/// The word that the package chooses the exception's class by.
fn kind_name(kind: manta_worker::SystemErrorKind) -> &'static str {
    use manta_worker::SystemErrorKind as Kind;
    match kind {
        Kind::WorkerDied => "worker_died",
        Kind::NodeDied => "node_died",
        Kind::Unschedulable => "unschedulable",
        Kind::ObjectLost => "object_lost",
        Kind::Forgotten => "forgotten",
        Kind::OwnerDied => "owner_died",
        Kind::ReconstructionFailed => "reconstruction_failed",
        Kind::ReconstructionAttempts => "reconstruction_attempts",
        Kind::ReconstructionEvicted => "reconstruction_evicted",
        Kind::StoreFull => "store_full",
        Kind::DiskFull => "disk_full",
        Kind::Cancelled => "cancelled",
        Kind::ActorDied => "actor_died",
        Kind::ActorUnavailable | Kind::ActorRestarting => "actor_unavailable",
        Kind::ActorUnschedulable => "actor_unschedulable",
        Kind::GroupRemoved => "group_removed",
        Kind::ActorGroupRemoved => "actor_group_removed",
        Kind::EnvironmentFailed => "environment_failed",
        Kind::OutOfMemory => "out_of_memory",
        Kind::Internal => "internal",
    }
}
