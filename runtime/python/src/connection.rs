//! The one connection that a Python process has to its cluster: made, asked about, ended.

use std::{
    mem,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use manta_worker::{Core, CurrentTask, DriverOptions, JoinError, Language};
use parking_lot::{Mutex, RwLock};
use pyo3::{
    exceptions::{PyConnectionError, PyRuntimeError},
    prelude::*,
    types::PyDict,
};

use crate::{debug, head::PyPackage, objects, output::OutputQueue, stream, telemetry};

struct Connection {
    core: Core,
    is_worker: bool,
}

static CONNECTION: RwLock<Option<Connection>> = RwLock::new(None);
/// The job's printed lines; outlives the connection until its reader has them all.
static OUTPUT: Mutex<Option<Arc<OutputQueue>>> = Mutex::new(None);
/// The task that this worker runs. A Python worker has one slot, so threads that the task starts belong to it too.
static CURRENT: RwLock<Option<CurrentTask>> = RwLock::new(None);
/// Rises with each connection; 0 stands for none.
static GENERATION: AtomicU64 = AtomicU64::new(0);
static CONNECTED: AtomicBool = AtomicBool::new(false);
static FORKED: AtomicBool = AtomicBool::new(false);

/// The connection's core.
pub fn core() -> PyResult<Core> {
    match &*CONNECTION.read() {
        Some(connection) => Ok(connection.core.clone()),
        None => Err(not_connected()),
    }
}

fn not_connected() -> PyErr {
    PyRuntimeError::new_err(if FORKED.load(Ordering::Relaxed) {
        "this process was forked from one that is connected to a cluster, and a fork has no connection of its own; start the \
         process with multiprocessing's 'spawn' method, or make it a task"
    } else {
        "this process is not connected to a cluster; call init() first"
    })
}

/// Tells apart what was made under different connections.
pub fn generation() -> u64 {
    if CONNECTED.load(Ordering::Acquire) { GENERATION.load(Ordering::Acquire) } else { 0 }
}

/// Whether this process is a fork, whose memory holds a connection that is not its own.
pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// The job's printed lines.
pub fn output_queue() -> Option<Arc<OutputQueue>> {
    OUTPUT.lock().clone()
}

/// The task that the calling thread runs, or else this worker.
pub fn running_task() -> Option<CurrentTask> {
    manta_worker::current_task().or_else(|| CURRENT.read().clone())
}

/// While it lives, the calling thread counts as the running task's: a task whose threads wait gives its CPU back as one that waits
/// itself does.
pub struct ActForTask(bool);

impl ActForTask {
    /// Does nothing on the task's own thread, and in a driver.
    pub fn begin(core: &Core) -> Self {
        let task = running_task().filter(|_| core.current_task().is_none());
        let stands_in = task.is_some();
        if stands_in {
            Core::set_current_task(task);
        }
        Self(stands_in)
    }
}

impl Drop for ActForTask {
    fn drop(&mut self) {
        if self.0 {
            Core::set_current_task(None);
        }
    }
}

/// Sets the task that this worker runs.
pub fn set_running_task(task: Option<CurrentTask>) {
    *CURRENT.write() = task;
}

fn connected(core: Core, is_worker: bool) {
    *CONNECTION.write() = Some(Connection { core, is_worker });
    GENERATION.fetch_add(1, Ordering::AcqRel);
    CONNECTED.store(true, Ordering::Release);
}

fn join_error(error: &JoinError) -> PyErr {
    PyConnectionError::new_err(error.to_string())
}

/// Joins a cluster as a driver, or starts a private one.
#[pyfunction]
#[pyo3(signature = (*, address, num_cpus, object_store_memory, resources, labels, executable, language_version, sys_path, env, job_name, namespace, manta_bin, with_output, runtime_env, packages, infeasible_timeout_s))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python function")]
#[expect(clippy::needless_pass_by_value, reason = "what is taken out of Python arguments is ours")]
pub fn connect_driver(
    py: Python<'_>,
    address: Option<String>,
    num_cpus: Option<f64>,
    object_store_memory: Option<u64>,
    resources: Vec<(String, f64)>,
    labels: Vec<(String, String)>,
    executable: PathBuf,
    language_version: String,
    sys_path: Vec<String>,
    env: Vec<(String, String)>,
    job_name: String,
    namespace: String,
    manta_bin: Option<PathBuf>,
    with_output: bool,
    runtime_env: String,
    packages: Vec<Py<PyPackage>>,
    infeasible_timeout_s: Option<f64>,
) -> PyResult<()> {
    if is_forked() {
        return Err(not_connected());
    }
    let queue = Arc::new(OutputQueue::default());
    let sink = Arc::clone(&queue);
    let on_output: Option<manta_worker::OutputHandler> =
        if with_output { Some(Box::new(move |line| sink.push(line))) } else { None };
    let options = DriverOptions {
        programs: Vec::new(),
        address,
        num_cpus,
        object_store_memory,
        resources,
        labels,
        language: Language::Python,
        language_version,
        executable,
        sys_path,
        job_name,
        namespace,
        env,
        manta_bin_hint: manta_bin,
        on_output,
        infeasible_timeout: infeasible_timeout_s
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
        runtime_env,
        packages: packages.iter().map(|package| package.get().shared()).collect(),
    };
    let core = py.detach(|| Core::driver(options)).map_err(|error| join_error(&error))?;
    *OUTPUT.lock() = Some(queue);
    connected(core, false);
    Ok(())
}

/// Joins the node that started this process as its worker.
#[pyfunction]
pub fn connect_worker(py: Python<'_>, language_version: &str) -> PyResult<()> {
    let core = py.detach(|| Core::worker_from_env(language_version)).map_err(|error| join_error(&error))?;
    debug::install(&core)?;
    stream::install_interrupts(&core);
    telemetry::install_stacks(&core);
    connected(core, true);
    Ok(())
}

/// Leaves the cluster. What tasks printed is readable until `next_output` answers with `None`.
#[pyfunction]
pub fn shutdown(py: Python<'_>) {
    CONNECTED.store(false, Ordering::Release);
    let connection = CONNECTION.write().take();
    objects::connection_ends();
    py.detach(|| {
        if let Some(connection) = connection {
            connection.core.shutdown();
        }
        if let Some(queue) = output_queue() {
            queue.close();
        }
    });
}

/// In a forked child: gives up the parent's connection without ending it.
#[pyfunction]
pub fn forget() {
    if let Some(connection) = CONNECTION.write().take() {
        FORKED.store(true, Ordering::Relaxed);
        CONNECTED.store(false, Ordering::Release);
        // Its thread and sockets are the parent's; dropping it here would talk to nobody.
        mem::forget(connection);
    }
}

/// Whether this process is connected.
#[pyfunction]
pub fn is_connected() -> bool {
    CONNECTED.load(Ordering::Acquire)
}

/// Whether this process is a worker.
#[pyfunction]
pub fn is_worker() -> bool {
    CONNECTION.read().as_ref().is_some_and(|connection| connection.is_worker)
}

/// Who this process is, and where its cluster is.
#[pyfunction]
pub fn context(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let core = core()?;
    let process = core.process();
    let context = PyDict::new(py);
    context.set_item("address", &process.head_address)?;
    context.set_item("gcs_address", process.head_address)?;
    context.set_item("node_id", process.node_id)?;
    context.set_item("node_name", process.node_name)?;
    context.set_item("worker_id", process.process_id.to_string())?;
    context.set_item("session_dir", process.session_dir)?;
    context.set_item("object_store_address", core.object_dir())?;
    context.set_item("object_spilling_directory", core.spill_dir())?;
    context.set_item("job_id", core.job_id().map(|id| id.to_string()))?;
    context.set_item("namespace", core.job().map(|job| job.namespace))?;
    Ok(context)
}

/// The job of this process, or `None` before a worker has one.
#[pyfunction]
pub fn job(py: Python<'_>) -> PyResult<Option<Bound<'_, PyDict>>> {
    let Some(job) = core()?.job() else { return Ok(None) };
    let described = PyDict::new(py);
    described.set_item("id", job.id.to_string())?;
    described.set_item("name", job.name)?;
    described.set_item("sys_path", job.sys_path)?;
    let programs = job.programs.into_iter().map(|program| (program.language.as_str(), program.executable));
    described.set_item("programs", programs.collect::<Vec<_>>())?;
    described.set_item("working_dir", job.working_dir)?;
    described.set_item("namespace", job.namespace)?;
    described.set_item("runtime_env", job.runtime_env)?;
    Ok(Some(described))
}

/// The namespace of this process's job.
#[pyfunction]
pub fn namespace() -> PyResult<String> {
    Ok(core()?.namespace())
}

/// The cluster's nodes as last heard.
#[pyfunction]
pub fn nodes(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let nodes = core()?.nodes();
    let describe = |node: manta_worker::NodeDescription| {
        let described = PyDict::new(py);
        described.set_item("id", node.id)?;
        described.set_item("name", node.name)?;
        described.set_item("address", node.address)?;
        described.set_item("total", node.total)?;
        described.set_item("available", node.available)?;
        described.set_item("labels", node.labels)?;
        Ok(described)
    };
    nodes.into_iter().map(describe).collect()
}

/// The task that this worker runs, as (id, attempt, name, job id).
#[pyfunction]
pub fn current_task() -> Option<(String, u32, String, String)> {
    running_task()
        .map(|task| (task.id.to_string(), task.attempt, task.name.to_string(), task.job_id.to_string()))
}
