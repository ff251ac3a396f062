//! The core that every driver and worker embeds: ownership of tasks and objects, leases, peers, and the channel to the node.
//!
//! One I/O thread per process runs the reactor; language bindings (`manta`, `manta-python`) call in from any thread.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use manta_proto::ids::{JobId, NodeId, ObjectId, ProcessId, TaskId};

/// How a driver finds its cluster.
pub struct DriverOptions {
    /// `HOST:PORT` of a head, or `None` for `MANTA_ADDRESS`, or else a private cluster that ends with this process.
    pub address: Option<String>,
    /// CPUs of a private cluster; all of the machine's when `None`.
    pub num_cpus: Option<f64>,
    pub language: Language,
    pub language_version: String,
    /// What nodes start as a worker: the interpreter, or this binary.
    pub executable: PathBuf,
    pub sys_path: Vec<String>,
    pub job_name: String,
    pub namespace: String,
    /// Called on the I/O thread with what tasks of this job print (the binding writes it to its own stdout/stderr).
    pub on_output: Option<Box<dyn Fn(TaskOutputLine) + Send + Sync>>,
}

pub enum Language { Python, Rust }
pub struct TaskOutputLine { pub task_name: String, pub pid: u32, pub node_name: String, pub stderr: bool, pub text: String }

/// A serialized value: one metadata-and-data part in band, and large buffers out of band (pickle protocol 5), each aligned to 64
/// bytes where it is stored.
pub struct NewValue<'a> { pub format: Format, pub inband: Bytes, pub buffers: Vec<&'a [u8]>, pub contained: Vec<ObjectRef> }
pub enum Format { Pickle5, MsgPack, Raw, PythonError, RustError, SystemError }

/// A value that was fetched: in memory, or mapped from the object store (no copy; pages stay valid while any clone lives).
#[derive(Clone)]
pub struct FetchedValue { /* format(), inband() -> Bytes-like, buffers() -> Vec<SharedBuffer>, contained() -> &[ObjectRef] */ }

/// A counted reference to an object. Clone and drop adjust the local count; the last drop lets the owner free it.
#[derive(Clone)]
pub struct ObjectRef { /* id(), owner() , owner_node(), to_wire()/from_wire() for pickling */ }

pub enum Argument<'a> { Value(NewValue<'a>), Ref(ObjectRef) }
pub struct NewTask<'a> {
    pub function: Function, pub name: String, pub args: Vec<(Option<String>, Argument<'a>)>, pub num_returns: u32,
    pub resources: Vec<(String, f64)>, pub max_retries: u32, pub retry_exceptions: bool,
}
/// Python functions are known by the hash of their pickle (registered once in this process); Rust ones by their path.
pub enum Function { Python(FunctionId), Rust(&'static str) }
pub struct FunctionId(pub [u8; 16]);

pub enum GetError { Timeout, Interrupted, Lost(String) /* sentence */, Disconnected(String) }

pub struct Core;
impl Core {
    // pub fn driver(options: DriverOptions) -> Result<Core, ConnectError>
    // pub fn worker_from_env() -> Result<Core, ConnectError>                  // MANTA_NODE_SOCKET, MANTA_PROCESS_ID, MANTA_TOKEN
    // pub fn register_function(&self, name: &str, code: Bytes) -> FunctionId
    // pub fn function(&self, id: &FunctionId) -> Option<Bytes>                // worker side: code of a function that an owner registered
    // pub fn submit(&self, task: NewTask<'_>) -> Result<Vec<ObjectRef>, SubmitError>
    // pub fn put(&self, value: NewValue<'_>) -> Result<ObjectRef, PutError>
    // pub fn get(&self, refs: &[ObjectRef], timeout: Option<Duration>, interrupted: &mut dyn FnMut() -> bool) -> Result<Vec<FetchedValue>, GetError>
    //        // `interrupted` is polled about every 100 ms on the calling thread (Python signal handling). Errors of tasks are
    //        // values with an error Format. While it waits inside a task, the task's lease is reported as blocked.
    // pub fn wait(&self, refs: &[ObjectRef], num_returns: usize, timeout: Option<Duration>, fetch_local: bool, interrupted: ..) -> Result<Vec<bool>, GetError>
    // worker side:
    // pub fn next_task(&self, slot: u32, wait: Option<Duration>) -> NextTask          // Run(RunnableTask) | Nothing | Exit(cause)
    // pub fn next_slot(&self) -> ...                                              // native: a slot was assigned; start its thread
    // RunnableTask { id, attempt, name, function, args: Vec<(Option<String>, Result<FetchedValue>)> (refs already resolved), num_returns, job }
    // pub fn finish(&self, task: &RunnableTask, results: Vec<NewValue<'_>>, failed: bool)
    // debug side (python engine): the target's end of the tunnel.
    // pub fn set_debug_handler(&self, Box<dyn Fn(Bytes) + Send + Sync>)            // called on the I/O thread with each DAP message for this worker
    // pub fn send_debug(&self, dap: Bytes)
    // pub fn node_name(), node_id(), job_id(), process_id(), current_task() (thread-local), status of cluster view (nodes, resources)
    // pub fn shutdown(&self)
}
#[allow(unused)] fn _sketch(_: JobId, _: NodeId, _: ObjectId, _: ProcessId, _: TaskId, _: Duration) {}
