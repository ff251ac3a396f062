//! Values that go to another language: MessagePack, or plain bytes.
//!
//! None, booleans, numbers, text, bytes, lists, tuples, dicts, object refs and handles of actors can go. Everything else is refused
//! with its place in the value.

use manta_worker::{
    Format, ObjectRef,
    foreign::{ACTOR_TAG, REF_TAG},
};
use pyo3::{
    IntoPyObjectExt,
    buffer::PyBuffer,
    exceptions::{PyTypeError, PyValueError},
    intern,
    prelude::*,
    types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};
use rmp::{Marker, decode, encode};

use crate::{connection, encode::Encoded, object_ref::PyObjectRef};

/// Lists and dicts inside each other.
const DEPTH_MAX: usize = 128;

/// A value for another language. `what` names it in the error when it cannot go there.
pub fn encode<'py>(value: &Bound<'py, PyAny>, what: &dyn Fn() -> String) -> PyResult<Encoded<'py>> {
    if let Some(bytes) = plain_bytes(value)? {
        return Ok(Encoded::of(Format::Raw, bytes, Vec::new()));
    }
    let mut writer = Writer { bytes: Vec::new(), contained: Vec::new(), path: Vec::new(), what };
    writer.write(value)?;
    Ok(Encoded::of(Format::MsgPack, writer.bytes, writer.contained))
}

/// Bytes, or an Arrow table or batch as an IPC stream, which every language has a reader for.
fn plain_bytes(value: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Some(bytes.as_bytes().to_vec()));
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(Some(bytes.to_vec()));
    }
    let kind = value.get_type();
    if kind.module()?.to_cow()?.starts_with("pyarrow")
        && ["Table", "RecordBatch"].contains(&&*kind.name()?.to_cow()?)
    {
        let stream = value.py().import("manta.cross_language")?.call_method1("_arrow_stream", (value,))?;
        return Ok(Some(PyBuffer::<u8>::get(&stream)?.to_vec(value.py())?));
    }
    Ok(None)
}

struct Writer<'a> {
    bytes: Vec<u8>,
    contained: Vec<ObjectRef>,
    path: Vec<String>,
    what: &'a dyn Fn() -> String,
}

fn length(count: usize) -> PyResult<u32> {
    u32::try_from(count).map_err(|_| PyValueError::new_err("MessagePack holds at most 2^32 - 1 of anything"))
}

/// Writing to memory does not fail.
fn written<T, E: std::fmt::Display>(result: Result<T, E>) -> PyResult<()> {
    result.map(drop).map_err(|error| PyValueError::new_err(error.to_string()))
}

impl Writer<'_> {
    fn write(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.path.len() > DEPTH_MAX {
            return Err(self.refusal(value, &format!("more than {DEPTH_MAX} levels deep")));
        }
        let out = &mut self.bytes;
        if value.is_none() {
            return written(encode::write_nil(out));
        }
        if let Ok(flag) = value.cast::<PyBool>() {
            return written(encode::write_bool(out, flag.is_true()));
        }
        if value.is_instance_of::<PyInt>() {
            return match (value.extract::<i64>(), value.extract::<u64>()) {
                (Ok(number), _) => written(encode::write_sint(out, number)),
                (_, Ok(number)) => written(encode::write_uint(out, number)),
                _ => Err(self.refusal(value, "a number beyond 64 bits")),
            };
        }
        if let Ok(number) = value.cast::<PyFloat>() {
            return written(encode::write_f64(out, number.value()));
        }
        if let Ok(text) = value.cast::<PyString>() {
            return written(encode::write_str(out, text.to_str()?));
        }
        if let Ok(reference) = value.cast::<PyObjectRef>() {
            let reference = reference.get().inner();
            self.contained.push(reference.clone());
            return self.extension(REF_TAG, &reference.to_wire());
        }
        if let Some(bytes) = plain_bytes(value)? {
            length(bytes.len())?;
            return written(encode::write_bin(&mut self.bytes, &bytes));
        }
        if let Ok(items) = value.cast::<PyList>() {
            return self.sequence(items.len(), items.iter());
        }
        if let Ok(items) = value.cast::<PyTuple>() {
            return self.sequence(items.len(), items.iter());
        }
        if let Ok(items) = value.cast::<PyDict>() {
            written(encode::write_map_len(&mut self.bytes, length(items.len())?))?;
            for (key, item) in items.iter() {
                self.path.push(format!("[{}]", key.repr()?));
                self.write(&key)?;
                self.write(&item)?;
                self.path.pop();
            }
            return Ok(());
        }
        match value.getattr_opt(intern!(value.py(), "_manta_foreign_wire")) {
            Ok(Some(wire)) => {
                let wire = wire.call0()?;
                self.extension(ACTOR_TAG, wire.cast::<PyBytes>()?.as_bytes())
            }
            _ => Err(self.refusal(value, &format!("a {}", value.get_type().fully_qualified_name()?))),
        }
    }

    fn extension(&mut self, tag: i8, bytes: &[u8]) -> PyResult<()> {
        written(encode::write_ext_meta(&mut self.bytes, length(bytes.len())?, tag))?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sequence<'py>(
        &mut self,
        count: usize,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        written(encode::write_array_len(&mut self.bytes, length(count)?))?;
        // A list that another thread makes longer meanwhile is cut; one that it makes shorter cannot be told apart from damage.
        let mut seen = 0;
        for (index, item) in items.take(count).enumerate() {
            self.path.push(format!("[{index}]"));
            self.write(&item)?;
            self.path.pop();
            seen += 1;
        }
        if seen == count {
            Ok(())
        } else {
            Err(PyValueError::new_err("a list changed while it was being sent"))
        }
    }

    fn refusal(&self, _value: &Bound<'_, PyAny>, kind: &str) -> PyErr {
        let (what, path) = ((self.what)(), self.path.iter().take(8).map(String::as_str).collect::<String>());
        let place = if path.is_empty() { what } else { format!("{what}, at {path},") };
        PyTypeError::new_err(format!(
            "{place} is {kind}, which another language cannot read; give None, a boolean, a number, text, bytes, a list, a dict, an \
             ObjectRef or an actor handle"
        ))
    }
}

/// The Python value of a MessagePack value.
pub fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut reader = bytes;
    let value = read(py, &mut reader, 0)?;
    if reader.is_empty() { Ok(value) } else { Err(damaged(&"there is more behind it")) }
}

fn damaged(cause: &dyn std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("a value of another language cannot be read: {cause}"))
}

fn take<'a>(reader: &mut &'a [u8], count: usize) -> PyResult<&'a [u8]> {
    let (taken, rest) = reader.split_at_checked(count).ok_or_else(|| damaged(&"it is cut off"))?;
    *reader = rest;
    Ok(taken)
}

fn read<'py>(py: Python<'py>, reader: &mut &[u8], depth: usize) -> PyResult<Bound<'py, PyAny>> {
    if depth > DEPTH_MAX {
        return Err(damaged(&format!("it is more than {DEPTH_MAX} levels deep")));
    }
    let wrong = |error: &dyn std::fmt::Display| damaged(error);
    let marker = Marker::from_u8(*reader.first().ok_or_else(|| damaged(&"it is cut off"))?);
    match marker {
        Marker::Null => {
            *reader = &reader[1..];
            Ok(py.None().into_bound(py))
        }
        Marker::True | Marker::False => {
            *reader = &reader[1..];
            Ok(PyBool::new(py, marker == Marker::True).to_owned().into_any())
        }
        Marker::F32 => decode::read_f32(reader).map_err(|error| wrong(&error))?.into_bound_py_any(py),
        Marker::F64 => decode::read_f64(reader).map_err(|error| wrong(&error))?.into_bound_py_any(py),
        Marker::U64 => decode::read_u64(reader).map_err(|error| wrong(&error))?.into_bound_py_any(py),
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
            let length = decode::read_str_len(reader).map_err(|error| wrong(&error))?;
            let text = std::str::from_utf8(take(reader, length as usize)?).map_err(|error| wrong(&error))?;
            Ok(PyString::new(py, text).into_any())
        }
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
            let length = decode::read_bin_len(reader).map_err(|error| wrong(&error))?;
            Ok(PyBytes::new(py, take(reader, length as usize)?).into_any())
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            let count = decode::read_array_len(reader).map_err(|error| wrong(&error))?;
            let items = PyList::empty(py);
            for _ in 0..count {
                items.append(read(py, reader, depth + 1)?)?;
            }
            Ok(items.into_any())
        }
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            let count = decode::read_map_len(reader).map_err(|error| wrong(&error))?;
            let items = PyDict::new(py);
            for _ in 0..count {
                let key = read(py, reader, depth + 1)?;
                // Lists cannot be keys; tuples can.
                let key = match key.cast::<PyList>() {
                    Ok(list) => list.to_tuple().into_any(),
                    Err(_) => key.clone(),
                };
                items.set_item(key, read(py, reader, depth + 1)?)?;
            }
            Ok(items.into_any())
        }
        Marker::FixExt1
        | Marker::FixExt2
        | Marker::FixExt4
        | Marker::FixExt8
        | Marker::FixExt16
        | Marker::Ext8
        | Marker::Ext16
        | Marker::Ext32 => {
            let meta = decode::read_ext_meta(reader).map_err(|error| wrong(&error))?;
            let bytes = take(reader, meta.size as usize)?;
            extension(py, meta.typeid, bytes)
        }
        _ => decode::read_int::<i64, _>(reader).map_err(|error| wrong(&error))?.into_bound_py_any(py),
    }
}

fn extension<'py>(py: Python<'py>, tag: i8, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match tag {
        REF_TAG => {
            let reference = connection::core()?.ref_from_wire(bytes);
            let reference = reference.ok_or_else(|| damaged(&"an object ref in it is damaged"))?;
            Ok(Bound::new(py, PyObjectRef::new(reference))?.into_any())
        }
        ACTOR_TAG => {
            py.import("manta.cross_language")?.call_method1("_handle_from_wire", (PyBytes::new(py, bytes),))
        }
        other => Err(damaged(&format!("it has an extension of the unknown type {other}"))),
    }
}

/// A value as MessagePack.
#[pyfunction]
pub fn msgpack_dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let what = || "the value".to_owned();
    let mut writer = Writer { bytes: Vec::new(), contained: Vec::new(), path: Vec::new(), what: &what };
    writer.write(value)?;
    Ok(PyBytes::new(value.py(), &writer.bytes))
}

/// The value of MessagePack bytes.
#[pyfunction]
pub fn msgpack_loads<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    decode(py, data)
}
