//! What bindings hand to the core and get from it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use manta_proto::{
    connect::ConnectError,
    ids::{JobId, ProcessId, TaskId},
    token::TokenError,
};

use crate::{FetchedValue, NewValue, ObjectRef, Placement};

/// The language of a process and of the tasks that it submits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// Python workers.
    Python,
    /// Native workers: the user's own binary.
    Rust,
}

impl Language {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Rust => "rust",
        }
    }
}

/// What workers of one language run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    /// The language.
    pub language: Language,
    /// The interpreter, or a binary that joins its cluster first thing.
    pub executable: String,
    /// Python: the module search path.
    pub sys_path: Vec<String>,
}

/// Takes what tasks of the driver's job print; called on the I/O thread, so it must not block for long.
pub type OutputHandler = Box<dyn Fn(TaskOutputLine) + Send + Sync>;

/// How a driver finds its cluster, and what it tells it.
pub struct DriverOptions {
    /// `HOST:PORT` of a head, or `None` for `MANTA_ADDRESS`, or else a private cluster that ends with this process.
    pub address: Option<String>,
    /// CPUs of a private cluster; all of the machine's when `None`.
    pub num_cpus: Option<f64>,
    /// Bytes of shared memory for the objects of a private cluster's node.
    pub object_store_memory: Option<u64>,
    /// Further resources of a private cluster's node.
    pub resources: Vec<(String, f64)>,
    /// Labels of a private cluster's node.
    pub labels: Vec<(String, String)>,
    /// The driver's language, and its workers'.
    pub language: Language,
    /// For instance "3.12.1".
    pub language_version: String,
    /// What nodes start as a worker: the interpreter, or this binary.
    pub executable: PathBuf,
    /// Python: the driver's module search path.
    pub sys_path: Vec<String>,
    /// For people.
    pub job_name: String,
    /// The names of actors are unique within one.
    pub namespace: String,
    /// Environment variables for the job's workers.
    pub env: Vec<(String, String)>,
    /// What workers of other languages run.
    pub programs: Vec<Program>,
    /// Where to look for the `manta` binary before the usual places.
    pub manta_bin_hint: Option<PathBuf>,
    /// Receives what tasks print.
    pub on_output: Option<OutputHandler>,
    /// How long what no node of the cluster can run waits for a node that can; `MANTA_INFEASIBLE_TIMEOUT` (seconds) or the default
    /// when `None`.
    pub infeasible_timeout: Option<Duration>,
    /// The environment of the job's tasks, as `manta_packages::RuntimeEnv` writes it; empty for none.
    pub runtime_env: String,
    /// The packages that it names; the cluster gets those that it lacks.
    pub packages: Vec<Arc<manta_packages::Package>>,
}

/// A piece of what a task printed, cut at line ends.
#[derive(Debug, Clone)]
pub struct TaskOutputLine {
    /// The task's name; empty when nobody knows which task printed it.
    pub task_name: String,
    /// The worker's process id.
    pub pid: u32,
    /// The worker's node.
    pub node_name: String,
    /// Whether it went to stderr.
    pub stderr: bool,
    /// One or more lines, with their newlines.
    pub text: String,
}

/// A task to submit.
pub struct NewTask<'a> {
    /// What to run.
    pub function: Function,
    /// For people.
    pub name: &'a str,
    /// Arguments in their order; keyword arguments carry their name.
    pub args: &'a [(Option<&'a str>, Argument<'a>)],
    /// How many objects the task makes.
    pub num_returns: u32,
    /// Amounts by resource name, for instance `("CPU", 1.0)`.
    pub resources: &'a [(&'a str, f64)],
    /// Where it may run.
    pub placement: &'a Placement,
    /// How often the task runs again after its worker died.
    pub max_retries: u32,
    /// Whether a failure of the task itself is retried too.
    pub retry_exceptions: bool,
    /// What its worker runs, when that is not what this process's own tasks run in.
    pub program: Option<&'a Arc<Program>>,
    /// It runs in another language: its results are to be MessagePack or bytes.
    pub cross_language: bool,
    /// Its own environment, as `manta_packages::RuntimeEnv` writes it; `None` for that of this process.
    pub environment: Option<&'a Arc<str>>,
}

/// An argument: a value, or a ref that is resolved before the task starts.
pub enum Argument<'a> {
    /// Travels with the task, or through the object store when it is large.
    Value(NewValue<'a>),
    /// The task receives the object's value.
    Ref(ObjectRef),
}

/// What a task runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Function {
    /// A Python function, registered with [`crate::Core::register_function`].
    Python(FunctionId),
    /// A Rust function, by its registered path.
    Rust(&'static str),
    /// A function or class by its name: `module:qualified.name` in Python, a registered path in Rust.
    Named(Language, Arc<str>),
    /// A method of an actor; for [`crate::Core::call`] alone.
    Method(Arc<str>),
}

impl Function {
    /// The language of its workers. What calls an actor needs none, since it has one.
    pub(crate) fn language(&self) -> Language {
        match self {
            Self::Python(_) | Self::Method(_) => Language::Python,
            Self::Rust(_) => Language::Rust,
            Self::Named(language, _) => *language,
        }
    }
}

/// The hash of a Python function's pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FunctionId(pub [u8; 16]);

/// What [`crate::Core::next_task`] came back with.
pub enum NextTask {
    /// Run this, then call [`crate::Core::finish`].
    Run(Box<RunnableTask>),
    /// The wait was over first.
    Nothing,
    /// The worker's time is over; the sentence says why.
    Exit(String),
}

/// What [`crate::Core::next_slot`] came back with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextSlot {
    /// A slot that had no thread yet got its first lease.
    Start(u32),
    /// The worker's time is over; the sentence says why.
    Exit(String),
}

/// A task whose arguments are all here.
pub struct RunnableTask {
    /// The task.
    pub id: TaskId,
    /// Counts from 0.
    pub attempt: u32,
    /// For people.
    pub name: Arc<str>,
    /// What to run.
    pub function: TaskFunction,
    /// Arguments in their order; keyword arguments carry their name.
    pub args: Vec<(Option<String>, FetchedValue)>,
    /// How many results [`crate::Core::finish`] expects.
    pub num_returns: u32,
    /// It makes its values one by one, with [`crate::Core::yield_value`].
    pub streaming: bool,
    /// So many values that nobody has taken hold it up; 0 for any number.
    pub backpressure: u32,
    /// The job it belongs to.
    pub job_id: JobId,
    /// The slot that runs it.
    pub slot: u32,
    /// Its owner is of another language: results are to be MessagePack or bytes.
    pub cross_language: bool,
    /// The task makes this actor, once [`crate::Core::finish`] says that it went well.
    pub creates: Option<CreatedActor>,
}

/// An actor that a task makes.
pub struct CreatedActor {
    /// What [`crate::Core::actor_from_wire`] reads.
    pub handle: Bytes,
    /// Calls that run at once in each of its concurrency groups.
    pub group_limits: Vec<u32>,
}

/// What a worker has to run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TaskFunction {
    /// Its code is in [`crate::Core::function`].
    Python(FunctionId),
    /// By its name: a registered path, or `module:qualified.name`.
    Named(Arc<str>),
    /// A method of the actor that this worker hosts.
    Method(String),
}

/// The job of this process.
#[derive(Debug, Clone, PartialEq)]
pub struct JobDescription {
    /// The job.
    pub id: JobId,
    /// For people.
    pub name: String,
    /// Python: the driver's module search path.
    pub sys_path: Vec<String>,
    /// What its workers run: the program of this process's language first.
    pub programs: Vec<Program>,
    /// The driver's working directory.
    pub working_dir: String,
    /// The names of actors are unique within one.
    pub namespace: String,
    /// The environment of its tasks, or of this worker; empty for none.
    pub runtime_env: String,
}

/// A node as the cluster's view shows it. Amounts are whole units, not ten-thousandths.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeDescription {
    /// Hex of the node's id.
    pub id: String,
    /// For people.
    pub name: String,
    /// `HOST:PORT` of its single port.
    pub address: String,
    /// What it has.
    pub total: Vec<(String, f64)>,
    /// What is free.
    pub available: Vec<(String, f64)>,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

/// The task that a thread runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentTask {
    /// The task.
    pub id: TaskId,
    /// Counts from 0.
    pub attempt: u32,
    /// For people.
    pub name: Arc<str>,
    /// Its job.
    pub job_id: JobId,
    /// The slot that runs it.
    pub slot: u32,
}

/// Why a process could not join a cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The other side said no: wrong token, wrong version.
    #[error("the cluster at {address} refused this process: {cause}")]
    Refused {
        /// Who refused.
        address: String,
        /// Its sentence.
        cause: String,
    },
    /// The cluster has no node on this machine.
    #[error(
        "the cluster at {address} has no node on this machine; start one here with 'manta start --address {address}'"
    )]
    NoLocalNode {
        /// The head's address.
        address: String,
    },
    /// A variable that is to be a number of seconds is none.
    #[error(
        "MANTA_INFEASIBLE_TIMEOUT is '{0}'; it must be a number of seconds, 0 or more, or 'inf' for a wait without end"
    )]
    InfeasibleTimeout(String),
    /// The packages of its environment could not be given to the cluster.
    #[error("the files of the runtime_env could not be sent to the cluster: {0}")]
    Packages(String),
    /// There is no `manta` binary for a private cluster.
    #[error(
        "the 'manta' program was not found, which a private cluster needs: put it on PATH, or set MANTA_BIN to it, or give an address"
    )]
    NoBinary,
    /// A private cluster did not start.
    #[error("a private cluster could not be started with {binary}: {cause}")]
    PrivateCluster {
        /// The program.
        binary: PathBuf,
        /// What went wrong.
        cause: String,
    },
    /// The worker's environment is not as its node makes it.
    #[error("{0} is missing or malformed; a worker is only started by its node")]
    Environment(&'static str),
    /// The process's own socket or thread could not be made.
    #[error("this process could not set up its own end of the cluster ({what}): {source}")]
    Local {
        /// What was being done.
        what: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Why a task was not submitted, or a value not stored.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The object store has no room or cannot be written.
    #[error(transparent)]
    Store(#[from] manta_object_store::StoreError),
    /// The process has left its cluster.
    #[error("{0}")]
    Disconnected(String),
    /// A resource amount is negative, not finite, or finer than a ten-thousandth.
    #[error("the amount {amount} of resource '{name}' is not a number from 0 upwards in steps of 0.0001")]
    Resource {
        /// The resource.
        name: String,
        /// What was asked for.
        amount: f64,
    },
    /// Too many calls of an actor wait for their end.
    #[error(
        "{pending} calls of the actor are pending, which is as many as max_pending_calls allows; wait for some of them first"
    )]
    PendingCalls {
        /// So many wait.
        pending: usize,
    },
    /// A call of an actor was to be cancelled with force, which would end the actor and all its other calls.
    #[error(
        "a call of an actor cannot be cancelled with force=True, as that would end the actor; leave 'force' out, or end the actor with kill()"
    )]
    ForcedCall,
    /// Another actor of the namespace has the name.
    #[error(
        "the name '{name}' is taken by another actor of the namespace '{namespace}'; choose another, or give get_if_exists=True"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// The head did not register the actor, or did not answer.
    #[error("the cluster's register of actors is of no help: {0}")]
    Registry(String),
    /// A ref that belongs to another cluster connection.
    #[error(
        "an object ref or actor handle of an earlier cluster connection was used; refs end with the connection that made them"
    )]
    StaleRef,
}

/// Why a wait ended without its result. Failures of tasks are values with an error [`crate::Format`], not this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// The timeout passed. Time in which an awaited task was paused by a debugger did not count.
    #[error("the values did not come within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The caller's `interrupted` said so.
    #[error("the wait was interrupted")]
    Interrupted,
    /// The process has left its cluster, or lost it.
    #[error("{0}")]
    Disconnected(String),
    /// A ref that belongs to another cluster connection.
    #[error(
        "an object ref of an earlier cluster connection was used; refs end with the connection that made them"
    )]
    StaleRef,
}

/// Identifies this process in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessDescription {
    /// Driver or worker.
    pub process_id: ProcessId,
    /// Hex of its node's id.
    pub node_id: String,
    /// Its node's name.
    pub node_name: String,
    /// The session's folder on this machine.
    pub session_dir: PathBuf,
    /// The head's `HOST:PORT`.
    pub head_address: String,
}
