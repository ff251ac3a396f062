//! `ObjectRef` as Python sees it.

use std::mem::ManuallyDrop;

use manta_proto::ids::ObjectId;
use manta_worker::ObjectRef;
use pyo3::{
    exceptions::PyValueError,
    intern,
    prelude::*,
    types::{PyBytes, PyTuple, PyType},
};

use crate::{connection, encode};

/// A reference to the result of a task, or to a value given to `put`.
#[pyclass(frozen, name = "ObjectRef", module = "manta")]
pub struct PyObjectRef(ManuallyDrop<ObjectRef>);

impl PyObjectRef {
    /// Wraps a core's ref.
    pub fn new(object_ref: ObjectRef) -> Self {
        Self(ManuallyDrop::new(object_ref))
    }

    /// The core's ref.
    pub fn inner(&self) -> &ObjectRef {
        &self.0
    }
}

impl Drop for PyObjectRef {
    fn drop(&mut self) {
        // A fork shares the parent's refs but not its connection: counting one down there would touch locks that the parent's
        // threads held at the fork.
        if !connection::is_forked() {
            // SAFETY: this is the only place that drops it, and it runs once.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

#[pymethods]
impl PyObjectRef {
    /// The object's id in hexadecimal digits.
    fn hex(&self) -> String {
        self.0.id().to_string()
    }

    /// The object's id.
    fn binary<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.id().0)
    }

    /// The id of the task that makes the object.
    fn task_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let id = PyBytes::new(py, &self.0.id().task().0);
        py.import(intern!(py, "manta._ids"))?.getattr(intern!(py, "TaskID"))?.call1((id,))
    }

    /// The id of the job that this process belongs to.
    fn job_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import(intern!(py, "manta.runtime_context"))?.call_method0(intern!(py, "current_job_id"))
    }

    /// Never: a ref is made by a task or by `put`.
    fn is_nil(&self) -> bool {
        false
    }

    /// The id of the process that owns the object.
    fn owner_address<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.owner().0)
    }

    /// Where the object was made, which is not recorded.
    fn call_site(&self) -> &'static str {
        ""
    }

    /// How many bytes an id has.
    #[staticmethod]
    fn size() -> usize {
        size_of::<ObjectId>()
    }

    fn __repr__(&self) -> String {
        format!("ObjectRef({})", self.0.id())
    }

    fn __hash__(&self) -> u64 {
        // Ids are random in their first half; the last bytes tell a task's results apart.
        let id = self.0.id().0;
        let (task, index) = (id.first_chunk::<8>(), id.last_chunk::<4>());
        let task = task.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        task.wrapping_add(index.map_or(0, |bytes| u64::from(u32::from_be_bytes(*bytes))))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0.id() == self.0.id())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        encode::note_contained(&self.0);
        let rebuild = py.import(intern!(py, "manta._manta"))?.getattr(intern!(py, "object_ref_from_wire"))?;
        (rebuild, (PyBytes::new(py, &self.0.to_wire()),)).into_pyobject(py)
    }

    /// A `concurrent.futures.Future` of the value.
    fn future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("manta._awaiting")?.call_method1("future", (slf,))
    }

    /// An `asyncio.Future` of the value, for the loop that runs.
    fn as_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("manta._awaiting")?.call_method1("as_future", (slf,))
    }

    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("manta._awaiting")?.call_method1("awaiting", (slf,))
    }

    /// `ObjectRef[int]` is for type checkers; it is `ObjectRef` when it runs.
    #[classmethod]
    fn __class_getitem__<'py>(class: &Bound<'py, PyType>, _item: &Bound<'py, PyAny>) -> Bound<'py, PyType> {
        class.clone()
    }
}

/// The ref that was pickled, as one of this process's connection.
#[pyfunction]
pub fn object_ref_from_wire(wire: &[u8]) -> PyResult<PyObjectRef> {
    let object_ref = connection::core()?.ref_from_wire(wire);
    object_ref.map(PyObjectRef::new).ok_or_else(|| {
        PyValueError::new_err(format!(
            "{} bytes are no object ref; the data is damaged or from another version of Manta",
            wire.len()
        ))
    })
}
