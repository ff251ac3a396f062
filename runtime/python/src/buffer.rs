//! Bytes of the object store as a Python buffer: numpy reads them in place.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use manta_worker::SharedBuffer;
use pyo3::{exceptions::PyBufferError, ffi, prelude::*};

/// A read-only buffer over shared memory, which stays mapped as long as this object or a view of it lives.
#[pyclass(frozen, name = "StoredBuffer", module = "manta._manta")]
pub struct StoredBuffer(pub SharedBuffer);

#[pymethods]
impl StoredBuffer {
    /// Fills a view of the whole buffer.
    ///
    /// # Safety
    /// Called by the interpreter only, with a valid `view`.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err(
                "values from the object store are read-only, because other tasks read the same memory; copy the value to change it",
            ));
        }
        let bytes = &slf.get().0;
        let length = ffi::Py_ssize_t::try_from(bytes.len())
            .map_err(|_| PyBufferError::new_err("the value is larger than this machine can address"))?;
        let start =
            if bytes.is_empty() { ptr::null_mut() } else { bytes.as_ptr().cast_mut().cast::<c_void>() };
        // SAFETY: the interpreter gave a valid view; the bytes live as long as `slf`, to which the view takes a reference; and
        // they are marked read-only, so that nobody writes through the pointer.
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, length, 1, flags) };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
