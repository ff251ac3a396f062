//! The worker's side: tasks come, results go.

use std::{sync::Arc, time::Duration};

use manta_proto::ids::{NodeId, ProcessId};
use manta_worker::{
    Core, CurrentTask, Format, FunctionId, NewValue, NextTask, RunnableTask, SystemError, SystemErrorKind,
    TaskFunction,
};
use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyDict, PyTuple},
};

use crate::{
    connection,
    decode::decode,
    encode::{Encoded, encode},
    msgpack,
    object_ref::PyObjectRef,
    objects::{DETACH_BYTES, submit_error},
    stream,
};

/// How often a task that waits for its consumer looks at signals.
const ROOM_POLL: Duration = Duration::from_millis(50);

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
            TaskFunction::Method(method) => {
                Err(PyRuntimeError::new_err(format!("the call of '{method}' came to a worker as a task")))
            }
            TaskFunction::Named(name) => Ok(PyBytes::new(py, name.as_bytes())),
        }
    }

    /// `module:qualified.name` of its function, when it came without code.
    #[getter]
    fn function_name(&self) -> Option<&str> {
        match &self.0.function {
            TaskFunction::Named(name) => Some(name),
            TaskFunction::Python(_) | TaskFunction::Method(_) => None,
        }
    }

    /// Whether its owner is of another language.
    #[getter]
    fn cross_language(&self) -> bool {
        self.0.cross_language
    }

    /// The method that it calls.
    #[getter]
    fn method(&self) -> PyResult<&str> {
        match &self.0.function {
            TaskFunction::Method(method) => Ok(method),
            TaskFunction::Python(_) | TaskFunction::Named(_) => Err(PyRuntimeError::new_err(format!(
                "the task '{}' calls no method of an actor",
                self.0.name
            ))),
        }
    }

    /// The task as (id, attempt, name, job id).
    #[getter]
    fn identity(&self) -> (String, u32, &str, String) {
        (self.0.id.to_string(), self.0.attempt, &self.0.name, self.0.job_id.to_string())
    }

    /// The handle of the actor that it makes, as `actor_from_wire` reads it, and how many calls of each group run at once.
    #[getter]
    fn creates<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, PyBytes>, Vec<u32>)> {
        let creates = self.0.creates.as_ref()?;
        Some((PyBytes::new(py, &creates.handle), creates.group_limits.clone()))
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
            values.iter_borrowed().map(|value| self.encode(&value, &what)).collect::<PyResult<_>>()?;
        self.finish(py, &encoded, false)
    }

    /// Ends the task with the values that it made before it failed: the others are its packed exception.
    fn succeed_in_part(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyTuple>,
        error: &Bound<'_, PyBytes>,
    ) -> PyResult<()> {
        let what = || format!("what the task '{}' yielded", self.0.name);
        let mut encoded: Vec<_> =
            values.iter_borrowed().map(|value| self.encode(&value, &what)).collect::<PyResult<_>>()?;
        while encoded.len() < self.0.num_returns as usize {
            encoded.push(Encoded::error(Format::PythonError, error.clone()));
        }
        self.finish(py, &encoded, false)
    }

    /// Ends the task with its packed exception, and the line that lists of tasks show of it. With `is_final`, it is not retried.
    #[pyo3(signature = (error, line = "", is_final = false))]
    fn fail(&self, py: Python<'_>, error: Bound<'_, PyBytes>, line: &str, is_final: bool) -> PyResult<()> {
        let core = connection::core()?;
        core.failing(&self.0, line);
        if is_final {
            core.failing_for_good(&self.0);
        }
        let format = if self.0.cross_language { Format::RustError } else { Format::PythonError };
        self.finish(py, &[Encoded::error(format, error)], true)
    }

    /// Ends the task that makes an actor for another language; the sentence says why there is none.
    fn fail_creation(&self, py: Python<'_>, sentence: String, line: &str) -> PyResult<()> {
        connection::core()?.failing(&self.0, line);
        let error = SystemError { kind: SystemErrorKind::ActorDied, message: sentence, actor: None }.encode();
        self.finish(py, &[Encoded::of(Format::SystemError, error, Vec::new())], true)
    }

    /// The task's id.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.id.0)
    }

    /// Whether the task was cancelled while it ran.
    fn is_interrupted(&self) -> bool {
        stream::is_to_interrupt(self.0.id)
    }

    /// Ends a task that was cancelled.
    fn end_cancelled(&self) -> PyResult<()> {
        connection::core()?.finish_cancelled(&self.0);
        connection::set_running_task(None);
        Ok(())
    }

    /// The task is the last of this worker.
    fn retire(&self) -> PyResult<()> {
        connection::core()?.retire(&self.0);
        Ok(())
    }

    /// Whether it makes its values one by one.
    #[getter]
    fn streaming(&self) -> bool {
        self.0.streaming
    }

    /// Whether a limit is set on the values that were not taken.
    #[getter]
    fn has_backpressure(&self) -> bool {
        self.0.backpressure != 0
    }

    /// Sends one value of a streaming task. [`Task::wait_for_room`] is to follow.
    fn yield_value(&self, py: Python<'_>, index: u32, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let core = connection::core()?;
        let what = || format!("value {} that the task '{}' yielded", index + 1, self.0.name);
        let encoded = self.encode(value, &what)?;
        let buffers = encoded.buffers();
        let value = encoded.value(&buffers);
        let send = || core.yield_value(&self.0, index, &value);
        let sent = if encoded.len() > DETACH_BYTES { py.detach(send) } else { send() };
        sent.map(drop).map_err(|error| submit_error(py, &error))
    }

    /// Sends a packed exception in the place of a value of a streaming task.
    fn yield_error(&self, py: Python<'_>, index: u32, error: Bound<'_, PyBytes>) -> PyResult<()> {
        let encoded = Encoded::error(Format::PythonError, error);
        let sent = connection::core()?.yield_value(&self.0, index, &encoded.value(&encoded.buffers()));
        sent.map(drop).map_err(|error| submit_error(py, &error))
    }

    /// Refs of the first so many values, which were sent to the owner: its process and node, in hex.
    fn item_refs(&self, count: u32, owner: &str, owner_node: &str) -> PyResult<Vec<PyObjectRef>> {
        let core = connection::core()?;
        let (Some(owner), Some(node)) = (ProcessId::from_hex(owner), NodeId::from_hex(owner_node)) else {
            return Err(PyValueError::new_err("these are no ids of a process and a node"));
        };
        Ok((0..count).map(|index| PyObjectRef::new(core.item_ref(&self.0, index, owner, node))).collect())
    }

    /// Waits while too many of its values were not taken.
    fn wait_for_room(&self, py: Python<'_>) -> PyResult<()> {
        let core = connection::core()?;
        while !py.detach(|| core.wait_for_room(&self.0, ROOM_POLL)) {
            py.check_signals()?;
        }
        Ok(())
    }
}

impl Task {
    /// A value for the task's owner.
    fn encode<'py>(&self, value: &Bound<'py, PyAny>, what: &dyn Fn() -> String) -> PyResult<Encoded<'py>> {
        if self.0.cross_language { msgpack::encode(value, what) } else { encode(value, what) }
    }

    /// Who it is, for what is said about it.
    pub fn current(&self) -> CurrentTask {
        let task = &self.0;
        CurrentTask {
            id: task.id,
            attempt: task.attempt,
            name: task.name.clone(),
            job_id: task.job_id,
            slot: task.slot,
        }
    }

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

/// Calls of an actor that are taken at once.
const CALLS_AT_ONCE_MAX: usize = 64;

/// Waits for calls of one of the hosted actor's concurrency groups; `None` when the worker's time is over. With `one`, there is one,
/// which the calling thread runs; else all that may run now, up to a limit, for an event loop.
#[pyfunction]
pub fn next_calls(py: Python<'_>, group: usize, one: bool) -> PyResult<Option<Vec<Task>>> {
    let core = connection::core()?;
    let calls = py.detach(|| {
        let mut calls = match core.next_call(group, None) {
            NextTask::Run(call) => vec![call],
            NextTask::Nothing => Vec::new(),
            NextTask::Exit(_) => return None,
        };
        while !one
            && calls.len() < CALLS_AT_ONCE_MAX
            && let NextTask::Run(call) = core.next_call(group, Some(Duration::ZERO))
        {
            calls.push(call);
        }
        if !one {
            // The loop's thread runs them, not this one.
            Core::set_current_task(None);
        }
        Some(calls)
    });
    Ok(calls.map(|calls| calls.into_iter().map(|call| Task(Arc::from(call))).collect()))
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
