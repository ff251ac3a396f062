//! Python values to bytes. Numbers, text and bytes are encoded here; everything else by the pickler that the package chooses.

use std::cell::RefCell;

use manta_worker::{Format, NewValue, ObjectRef};
use pyo3::{
    buffer::PyBuffer,
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString},
};

use crate::connection;

thread_local! {
    /// The refs met by each pickling in progress on this thread, innermost last.
    static CONTAINED: RefCell<Vec<Vec<ObjectRef>>> = const { RefCell::new(Vec::new()) };
}

/// Told by a ref that is being pickled. Outside of our own pickling nobody knows where the bytes go: the object stays.
pub fn note_contained(object_ref: &ObjectRef) {
    let is_recorded = CONTAINED
        .with_borrow_mut(|pickling| pickling.last_mut().map(|refs| refs.push(object_ref.clone())).is_some());
    if !is_recorded && let Ok(core) = connection::core() {
        core.leak(object_ref);
    }
}

/// Runs `pickle` and collects the refs that it meets on this thread.
pub fn recording<T>(pickle: impl FnOnce() -> T) -> (T, Vec<ObjectRef>) {
    CONTAINED.with_borrow_mut(|pickling| pickling.push(Vec::new()));
    let result = pickle();
    (result, CONTAINED.with_borrow_mut(Vec::pop).unwrap_or_default())
}

enum InBand<'py> {
    Own(Vec<u8>),
    Python(Bound<'py, PyBytes>),
}

/// A value's bytes, on their way into the core.
pub struct Encoded<'py> {
    format: Format,
    inband: InBand<'py>,
    buffers: Vec<PyBuffer<u8>>,
    contained: Vec<ObjectRef>,
}

impl<'py> Encoded<'py> {
    fn own(bytes: Vec<u8>) -> Self {
        Self {
            format: Format::Pickle5,
            inband: InBand::Own(bytes),
            buffers: Vec::new(),
            contained: Vec::new(),
        }
    }

    /// Bytes of our own in a format of the caller's.
    pub fn of(format: Format, bytes: Vec<u8>, contained: Vec<ObjectRef>) -> Self {
        Self { format, contained, ..Self::own(bytes) }
    }

    /// The packed exception of a task that failed.
    pub fn error(format: Format, bytes: Bound<'py, PyBytes>) -> Self {
        Self { format, inband: InBand::Python(bytes), buffers: Vec::new(), contained: Vec::new() }
    }

    /// The large buffers, to be kept while [`Encoded::value`] borrows them.
    pub fn buffers(&self) -> Vec<&[u8]> {
        self.buffers.iter().map(bytes_of).collect()
    }

    /// The value as the core takes it; `buffers` are what [`Encoded::buffers`] gave.
    pub fn value<'a>(&'a self, buffers: &'a [&'a [u8]]) -> NewValue<'a> {
        let inband = match &self.inband {
            InBand::Own(bytes) => bytes,
            InBand::Python(bytes) => bytes.as_bytes(),
        };
        NewValue { format: self.format, inband, buffers, contained: &self.contained }
    }

    /// How many bytes are copied when the core takes it.
    pub fn len(&self) -> usize {
        let inband = match &self.inband {
            InBand::Own(bytes) => bytes.len(),
            InBand::Python(bytes) => bytes.as_bytes().len(),
        };
        inband + self.buffers.iter().map(|buffer| buffer.len_bytes()).sum::<usize>()
    }
}

fn bytes_of(buffer: &PyBuffer<u8>) -> &[u8] {
    if buffer.len_bytes() == 0 {
        return &[];
    }
    // SAFETY: the buffer is contiguous (`raw()` of a PickleBuffer gives nothing else) and held by `buffer`. Python code on another
    // thread may write to it while it is copied, as with every writer of bytes in the standard library: it reads torn
    // content, never memory that is not there.
    unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) }
}

/// Encodes `value`. `what` names it in the error when it cannot be pickled.
pub fn encode<'py>(value: &Bound<'py, PyAny>, what: &dyn Fn() -> String) -> PyResult<Encoded<'py>> {
    match encode_plain(value) {
        Some(encoded) => Ok(encoded),
        None => encode_pickled(value, what),
    }
}

/// The opcodes are pickle's own, so that any reader of pickles understands the result.
fn encode_plain<'py>(value: &Bound<'py, PyAny>) -> Option<Encoded<'py>> {
    if value.is_none() {
        return Some(Encoded::own(b"\x80\x05N.".to_vec()));
    }
    if value.is_exact_instance_of::<PyInt>() {
        let number = value.extract::<i64>().ok()?;
        return Some(Encoded::own(match i32::try_from(number) {
            Ok(small) => framed(b"J", &small.to_le_bytes()),
            Err(_) => framed(b"\x8a\x08", &number.to_le_bytes()),
        }));
    }
    if let Ok(text) = value.cast_exact::<PyString>() {
        let text = text.to_str().ok()?;
        return Some(Encoded::own(match u8::try_from(text.len()) {
            Ok(length) => framed(&[0x8c, length], text.as_bytes()),
            Err(_) => framed(&long_text(text.len())?, text.as_bytes()),
        }));
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        let inband = InBand::Python(bytes.clone());
        return Some(Encoded { format: Format::Raw, inband, buffers: Vec::new(), contained: Vec::new() });
    }
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return Some(Encoded::own(framed(b"G", &number.value().to_be_bytes())));
    }
    let flag = value.cast_exact::<PyBool>().ok()?;
    Some(Encoded::own(framed(if flag.is_true() { b"\x88" } else { b"\x89" }, &[])))
}

fn framed(opcode: &[u8], argument: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(opcode.len() + argument.len() + 3);
    bytes.extend_from_slice(b"\x80\x05");
    bytes.extend_from_slice(opcode);
    bytes.extend_from_slice(argument);
    bytes.push(b'.');
    bytes
}

fn long_text(length: usize) -> Option<[u8; 5]> {
    let mut opcode = [b'X', 0, 0, 0, 0];
    opcode[1..].copy_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
    Some(opcode)
}

fn encode_pickled<'py>(value: &Bound<'py, PyAny>, what: &dyn Fn() -> String) -> PyResult<Encoded<'py>> {
    static PICKLERS: PyOnceLock<[Py<PyAny>; 3]> = PyOnceLock::new();
    let py = value.py();
    let [dumps, by_value, explain] = PICKLERS.get_or_try_init(py, || {
        let module = py.import("manta._serialization")?;
        PyResult::Ok([
            module.getattr("dumps")?.unbind(),
            module.getattr("dumps_by_value")?.unbind(),
            module.getattr("explain")?.unbind(),
        ])
    })?;
    let first = run_pickler(dumps.bind(py), value)?;
    if let Some(encoded) = first {
        return Ok(encoded);
    }
    match run_pickler(by_value.bind(py), value) {
        Ok(Some(encoded)) => Ok(encoded),
        Ok(None) => Err(pyo3::exceptions::PyTypeError::new_err(format!("{} was not pickled", what()))),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyException>(py) => {
            let explained = explain.bind(py).call1((value, what(), error.value(py)))?;
            let explained = PyErr::from_value(explained);
            explained.set_cause(py, Some(error));
            Err(explained)
        }
        Err(error) => Err(error),
    }
}

/// Calls a pickler of the package and collects the buffers and the refs that it meets.
fn run_pickler<'py>(
    pickler: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<Encoded<'py>>> {
    let py = value.py();
    let pickle_buffers = PyList::empty(py);
    let keep = pickle_buffers.getattr(intern!(py, "append"))?;
    let (pickled, contained) = recording(|| pickler.call1((value, keep)));
    let pickled = pickled?;
    if pickled.is_none() {
        return Ok(None);
    }
    let inband = InBand::Python(pickled.cast_into::<PyBytes>()?);
    let mut buffers = Vec::with_capacity(pickle_buffers.len());
    for buffer in &pickle_buffers {
        buffers.push(PyBuffer::get(&buffer.call_method0(intern!(py, "raw"))?)?);
    }
    Ok(Some(Encoded { format: Format::Pickle5, inband, buffers, contained }))
}
