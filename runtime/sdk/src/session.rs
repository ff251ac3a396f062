//! Joining a cluster.

use std::{io::Write, path::PathBuf, time::Duration};

use manta_worker::{Core, DriverOptions, Language, Program, TaskOutputLine};
use parking_lot::RwLock;

use crate::{Error, foreign, worker};

static CORE: RwLock<Option<Core>> = RwLock::new(None);

/// How a driver joins. `Options::default()` is what [`init`] uses.
#[derive(Debug, Clone, Default)]
pub struct Options {
    address: Option<String>,
    num_cpus: Option<f64>,
    object_store_memory: Option<u64>,
    resources: Vec<(String, f64)>,
    labels: Vec<(String, String)>,
    namespace: Option<String>,
    env: Vec<(String, String)>,
    programs: Vec<Program>,
    infeasible_timeout: Option<Duration>,
    quiet: bool,
}

impl Options {
    /// `HOST:PORT` of the cluster's head. Without it: `MANTA_ADDRESS`, or else a private cluster that ends with this process.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// CPUs of a private cluster; all of the machine's by default.
    #[must_use]
    pub fn num_cpus(mut self, num_cpus: f64) -> Self {
        self.num_cpus = Some(num_cpus);
        self
    }

    /// Bytes of shared memory for the objects of a private cluster's node; what is above goes to disk.
    #[must_use]
    pub fn object_store_memory(mut self, bytes: u64) -> Self {
        self.object_store_memory = Some(bytes);
        self
    }

    /// Another resource of a private cluster's node, such as "GPU" or one with a name of yours.
    #[must_use]
    pub fn resource(mut self, name: impl Into<String>, amount: f64) -> Self {
        self.resources.push((name.into(), amount));
        self
    }

    /// A label of a private cluster's node.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// The namespace of the job's named things.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// An environment variable for the job's workers.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The interpreter for Python tasks: a path, or a name on PATH. `python3` without this. Its modules are looked for in the working
    /// directory, in PYTHONPATH, and where that interpreter finds its own.
    #[must_use]
    pub fn python(mut self, interpreter: &str) -> Self {
        self.programs = vec![foreign::python_program(interpreter)];
        self
    }

    /// How long what no node of the cluster can run waits for a node that can, before it fails: 20 seconds by default, or what
    /// `MANTA_INFEASIBLE_TIMEOUT` says. [`Duration::MAX`] is without end.
    #[must_use]
    pub fn infeasible_timeout(mut self, time: Duration) -> Self {
        self.infeasible_timeout = Some(time);
        self
    }

    /// Keeps what tasks print from this process's stdout and stderr.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }
}

/// This process's part in a cluster; dropped, the job ends, and a private cluster with it.
#[must_use = "the job ends when the session is dropped"]
#[derive(Debug)]
pub struct Session(());

impl Drop for Session {
    fn drop(&mut self) {
        let core = CORE.write().take();
        if let Some(core) = core {
            core.shutdown();
        }
    }
}

/// Joins a cluster: the one at `MANTA_ADDRESS`, or else a private one.
///
/// In a worker this never returns: it runs the job's tasks, then ends the process.
///
/// # Errors
/// When there is no cluster, or it refuses.
pub fn init() -> Result<Session, Error> {
    init_with(Options::default())
}

/// Joins a cluster as the options say; see [`init`].
///
/// # Errors
/// When there is no cluster, or it refuses, or this process has joined one already.
pub fn init_with(options: Options) -> Result<Session, Error> {
    if worker::is_worker() {
        worker::run();
    }
    let mut core = CORE.write();
    if core.is_some() {
        return Err(Error::Disconnected(
            "this process is part of a cluster already: use its session, or drop it first".to_owned(),
        ));
    }
    let executable = std::env::current_exe().map_err(|error| {
        Error::Disconnected(format!("this program's own file is not known, which workers need: {error}"))
    })?;
    let executable = where_it_was(executable);
    let job_name = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let joined = Core::driver(DriverOptions {
        infeasible_timeout: options.infeasible_timeout,
        address: options.address,
        num_cpus: options.num_cpus,
        object_store_memory: options.object_store_memory,
        resources: options.resources,
        labels: options.labels,
        language: Language::Rust,
        language_version: worker::LANGUAGE_VERSION.to_owned(),
        executable,
        sys_path: Vec::new(),
        job_name,
        namespace: options.namespace.unwrap_or_default(),
        env: options.env,
        programs: options.programs,
        manta_bin_hint: None::<PathBuf>,
        runtime_env: String::new(),
        packages: Vec::new(),
        on_output: (!options.quiet).then(|| Box::new(show) as manta_worker::OutputHandler),
    })?;
    *core = Some(joined);
    Ok(Session(()))
}

/// The path that a program had when it was started. The kernel marks one whose file was replaced or removed since; nodes look at the
/// running process for what was there.
fn where_it_was(path: PathBuf) -> PathBuf {
    let marked = path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(PathBuf::from);
    marked.filter(|_| !path.exists()).unwrap_or(path)
}

/// Shows what tasks print, each line with the task's name.
fn show(output: TaskOutputLine) {
    let TaskOutputLine { task_name, pid, stderr, text, .. } = output;
    let name = if task_name.is_empty() { "worker" } else { &task_name };
    // What a node or the head says has no worker.
    let of = if pid == 0 { String::new() } else { format!(" pid={pid}") };
    let lines: String = text.lines().map(|line| format!("({name}{of}) {line}\n")).collect();
    // A closed terminal is no reason to fail.
    let _ = if stderr {
        std::io::stderr().write_all(lines.as_bytes())
    } else {
        std::io::stdout().write_all(lines.as_bytes())
    };
}

/// The core of this process.
pub(crate) fn core() -> Result<Core, Error> {
    CORE.read().clone().ok_or_else(Error::not_initialized)
}

/// Does something with the core of this process, which does not leave its cluster meanwhile.
pub(crate) fn with_core<R>(action: impl FnOnce(&Core) -> Result<R, Error>) -> Result<R, Error> {
    // Somebody who waits for the write lock would hold a thread up for ever that has the read lock and takes it again.
    action(CORE.read_recursive().as_ref().ok_or_else(Error::not_initialized)?)
}

pub(crate) fn set_core(core: Core) {
    *CORE.write() = Some(core);
}
