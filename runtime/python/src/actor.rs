//! Actors as Python sees them: handles, and the door to making, finding and ending actors.

use std::mem::ManuallyDrop;

use manta_worker::{ActorOptions, ActorRef, MadeActor};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyDict, PyTuple},
};

use crate::{
    connection,
    objects::{submit_error, waiting_for_signals},
    prepared::{Call, PreparedTask},
};

/// A counted handle of an actor.
#[pyclass(frozen, name = "ActorRef", module = "manta._manta")]
pub struct PyActorRef(ManuallyDrop<ActorRef>);

impl PyActorRef {
    fn new(actor: ActorRef) -> Self {
        Self(ManuallyDrop::new(actor))
    }
}

impl Drop for PyActorRef {
    fn drop(&mut self) {
        // As with refs of objects: a fork has no connection on which to count one down.
        if !connection::is_forked() {
            // SAFETY: this is the only place that drops it, and it runs once.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

#[pymethods]
impl PyActorRef {
    /// The actor's id in hexadecimal digits.
    fn hex(&self) -> String {
        self.0.id().to_string()
    }

    /// What another process makes the handle from; from now on the actor's handles are not counted.
    fn to_wire<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_wire())
    }

    /// A method with its options, ready to be called any number of times.
    #[expect(clippy::too_many_arguments, reason = "called from one place in Python")]
    fn prepare(
        &self,
        method: &str,
        name: String,
        num_returns: u32,
        max_retries: u32,
        retry_exceptions: bool,
        group: u32,
        pending_max: Option<usize>,
        cross_language: bool,
    ) -> PreparedTask {
        let call = Call { actor: (*self.0).clone(), group, pending_max };
        PreparedTask::of_call(method, name, num_returns, (max_retries, retry_exceptions), call)
            .across_languages(cross_language)
    }
}

/// The handle that was pickled, as one of this process's connection.
#[pyfunction]
pub fn actor_from_wire(wire: &[u8]) -> PyResult<PyActorRef> {
    connection::core()?.actor_from_wire(wire).map(PyActorRef::new).ok_or_else(|| {
        PyValueError::new_err(format!(
            "{} bytes are no actor handle; the data is damaged or from another version of Manta",
            wire.len()
        ))
    })
}

/// What an actor is beside its class and arguments.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct ActorWish {
    class_name: String,
    max_restarts: u32,
    group_limits: Vec<u32>,
    held: Vec<(String, f64)>,
    detached: bool,
    name: Option<String>,
    namespace: Option<String>,
    handle: Vec<u8>,
    get_if_exists: bool,
}

type Found<'py> = (PyActorRef, Option<Bound<'py, PyBytes>>);

fn described(py: Python<'_>, made: MadeActor) -> Found<'_> {
    let found = made.found.map(|handle| PyBytes::new(py, &handle));
    (PyActorRef::new(made.actor), found)
}

/// Makes an actor: answers with its handle, and with its maker's description when it was there already.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "what is taken out of a Python dict is ours")]
pub fn new_actor<'py>(
    py: Python<'py>,
    class: &Bound<'py, PreparedTask>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    wish: ActorWish,
) -> PyResult<Found<'py>> {
    let core = connection::core()?;
    let held: Vec<_> = wish.held.iter().map(|(name, amount)| (name.as_str(), *amount)).collect();
    let options = ActorOptions {
        class: &wish.class_name,
        max_restarts: wish.max_restarts,
        group_limits: &wish.group_limits,
        held: &held,
        detached: wish.detached,
        name: wish.name.as_deref(),
        namespace: wish.namespace.as_deref(),
        handle: &wish.handle,
        get_if_exists: wish.get_if_exists,
    };
    let made = class.get().with_task(args, kwargs, |_, task| {
        waiting_for_signals(py, |interrupted| core.new_actor(task, &options, interrupted))
    })??;
    Ok(described(py, made.map_err(|error| submit_error(py, &error))?))
}

/// The actor of a name with its maker's description, or `None`.
#[pyfunction]
#[pyo3(signature = (namespace, name))]
pub fn find_actor<'py>(py: Python<'py>, namespace: Option<&str>, name: &str) -> PyResult<Option<Found<'py>>> {
    let core = connection::core()?;
    let found = waiting_for_signals(py, |interrupted| core.find_actor(namespace, name, interrupted))?;
    let found = found.map_err(|error| submit_error(py, &error))?;
    Ok(found.map(|made| described(py, made)))
}

/// Ends an actor.
#[pyfunction]
pub fn kill_actor(actor: &Bound<'_, PyActorRef>, no_restart: bool) -> PyResult<()> {
    connection::core()?
        .kill_actor(&actor.get().0, no_restart)
        .map_err(|error| submit_error(actor.py(), &error))
}

/// Ends the actor that this worker hosts.
#[pyfunction]
pub fn exit_actor(cause: &str) -> PyResult<()> {
    connection::core()?.exit_actor(cause);
    Ok(())
}
