//! The worker's side: tasks come, results go.

use std::sync::Arc;

use manta_worker::{CurrentTask, FunctionId, NewValue, NextTask, RunnableTask, TaskFunction};
use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyDict, PyTuple},
};

use crate::{
    connection,
    decode::decode,
    encode::{Encoded, encode},
    objects::DETACH_BYTES,
};

/// A task to run. It ends with `succeed` or with `fail`.
#[pyclass(frozen, module = "manta._manta")]
pub struct Task(Arc<RunnableTask>);

#[pymethods]
impl Task {
    /// The task's name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// The id of its function.
    #[getter]
    fn function_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        match &self.0.function {
            TaskFunction::Python(id) => Ok(PyBytes::new(py, &id.0)),
            TaskFunction::Rust(path) => Err(PyRuntimeError::new_err(format!(
                "the Rust task '{path}' came to a Python worker; its owner sent it wrongly"
            ))),
        }
    }

    /// How many values it returns.
    #[getter]
    fn num_returns(&self) -> u32 {
        self.0.num_returns
    }

    /// The positional and the keyword arguments. Raises the failure of the first that is one.
    fn arguments<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let mut positional = Vec::with_capacity(self.0.args.len());
        let keywords = PyDict::new(py);
        for (keyword, value) in &self.0.args {
            let value = decode(py, value)?;
            match keyword {
                None => positional.push(value),
                Some(keyword) => keywords.set_item(keyword, value)?,
            }
        }
        Ok((PyTuple::new(py, positional)?, keywords))
    }

    /// Ends the task with its values, as many as `num_returns`.
    fn succeed(&self, py: Python<'_>, values: &Bound<'_, PyTuple>) -> PyResult<()> {
        let what = || format!("what the task '{}' returned", self.0.name);
        let encoded: Vec<_> =
            values.iter_borrowed().map(|value| encode(&value, &what)).collect::<PyResult<_>>()?;
        self.finish(py, &encoded, false)
    }

    /// Ends the task with its packed exception, and the line that lists of tasks show of it.
    #[pyo3(signature = (error, line = ""))]
    fn fail(&self, py: Python<'_>, error: Bound<'_, PyBytes>, line: &str) -> PyResult<()> {
        connection::core()?.failing(&self.0, line);
        self.finish(py, &[Encoded::error(error)], true)
    }
}

impl Task {
    fn finish(&self, py: Python<'_>, encoded: &[Encoded<'_>], failed: bool) -> PyResult<()> {
        let core = connection::core()?;
        let buffers: Vec<_> = encoded.iter().map(Encoded::buffers).collect();
        let values: Vec<NewValue<'_>> =
            encoded.iter().zip(&buffers).map(|(encoded, buffers)| encoded.value(buffers)).collect();
        if encoded.iter().map(Encoded::len).sum::<usize>() > DETACH_BYTES {
            py.detach(|| core.finish(&self.0, &values, failed));
        } else {
            core.finish(&self.0, &values, failed);
        }
        connection::set_running_task(None);
        Ok(())
    }
}

/// Waits for the next task; `None` when the worker's time is over.
#[pyfunction]
pub fn next_task(py: Python<'_>) -> PyResult<Option<Task>> {
    let core = connection::core()?;
    match py.detach(|| core.next_task(0, None)) {
        NextTask::Run(task) => {
            connection::set_running_task(Some(CurrentTask {
                id: task.id,
                attempt: task.attempt,
                name: task.name.clone(),
                job_id: task.job_id,
                slot: task.slot,
            }));
            Ok(Some(Task(Arc::from(task))))
        }
        NextTask::Nothing => {
            Err(PyRuntimeError::new_err("the core gave neither a task nor the worker's end"))
        }
        NextTask::Exit(_) => Ok(None),
    }
}

/// The name and the pickle of a function that a task's owner registered.
#[pyfunction]
pub fn function_code<'py>(py: Python<'py>, function_id: &[u8]) -> PyResult<(String, Bound<'py, PyBytes>)> {
    let id = function_id
        .try_into()
        .map(FunctionId)
        .map_err(|_| PyValueError::new_err("a function id has 16 bytes"))?;
    match connection::core()?.function(&id) {
        Some((name, code)) => Ok((name, PyBytes::new(py, &code))),
        None => Err(PyRuntimeError::new_err(
            "the code of the task's function did not come with it; its owner did not register it",
        )),
    }
}
