//! The worker pool: which processes run tasks of which job, and which of them are free.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use manta_proto::{
    ids::{ActorId, Incarnation, JobId, LeaseId, ProcessId},
    line,
    v1::{self, JobConfig, ProcessHello, node_to_head, node_to_process},
};

use super::{Core, Effect, Identity, Timer};

/// A worker says hello within this time, or is ended.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Workers above the number of CPUs are kept this long without work.
const SPARE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an actor that nobody can call any more may wind up.
const WIND_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// Workers of a node.
pub(super) const WORKERS_MAX: usize = 1024;
/// Python workers of one pool that start at one time.
const STARTING_MAX: usize = 16;
/// After so many workers in a row that were killed while they started, nobody waits for another.
const KILLED_AT_START_MAX: u32 = 3;
/// A worker whose connection ended has this time to end by itself, so that its exit is its own.
const DETACHED_TIME: Duration = Duration::from_secs(1);
/// What CUDA reads to know which GPUs are there for a process.
pub(crate) const VISIBLE_GPUS: &str = "CUDA_VISIBLE_DEVICES";
/// Leases of one native worker.
const NATIVE_SLOTS_MAX: usize = 256;

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, unless a signal ended it.
    pub code: i32,
    /// The signal that ended it, or 0.
    pub signal: i32,
    /// The last lines that it wrote to stderr.
    pub last_stderr: Vec<String>,
    /// Why there never was a process, or empty.
    pub spawn_error: String,
}

/// Workers are shared by what has the same job, language and executable.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) struct PoolKey {
    pub job: JobId,
    pub language: String,
    pub executable: String,
    /// What its `runtime_env` says, when it has one.
    pub environment: Option<Arc<str>>,
    /// The GPUs that the worker sees; workers with GPUs serve one lease, so that the memory that it took on them is free after it.
    pub gpus: String,
    /// The actor whose worker is started for it alone: a native worker serves many leases, and an actor's serves none else.
    pub actor: Option<ActorId>,
}

impl PoolKey {
    pub fn of(job: JobId, config: &JobConfig) -> Self {
        Self {
            job,
            language: config.language.clone(),
            executable: config.executable.clone(),
            environment: (!config.runtime_env.is_empty()).then(|| config.runtime_env.as_str().into()),
            gpus: String::new(),
            actor: None,
        }
    }

    pub fn is_python(&self) -> bool {
        self.language == "python"
    }
}

#[derive(Default)]
pub(super) struct Pool {
    /// Ready Python workers without a lease; the last used is the first to be used again.
    pub idle: Vec<ProcessId>,
    /// Ready native workers.
    pub native: Vec<ProcessId>,
    pub starting: usize,
    /// So many are to be there once the first is ready, and what they run.
    pub wanted: Option<(usize, JobConfig)>,
    /// Workers that were killed while they started, since the last that was ready.
    pub killed_at_start: u32,
    /// Requests that have their resources and wait for a worker, oldest first.
    pub waiting: std::collections::VecDeque<u64>,
}

impl Pool {
    /// Whether it can be forgotten.
    pub fn is_unused(&self) -> bool {
        self.idle.is_empty() && self.native.is_empty() && self.starting == 0 && self.waiting.is_empty()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Starting,
    /// It said hello, and takes breakpoints before its first lease.
    Configuring,
    Ready,
    /// Its connection ended, and its process is about to.
    Detached,
    /// This node ends it.
    Ending,
}

pub(super) struct Worker {
    pub key: PoolKey,
    pub state: State,
    config: JobConfig,
    /// What is started: its environment may have another interpreter than its job.
    started_from: String,
    /// Its program is being fetched; it has no process yet.
    awaits_program: bool,
    /// Of the times that it has to start in, those that are not over.
    start_timers: u32,
    pid: Option<u32>,
    attached: bool,
    /// The session knows of it.
    announced: bool,
    /// Why this node kills it, when its machine is out of memory.
    pub killed_for_memory: Option<String>,
    /// Its actor has had its last call, and may end in its own way.
    pub may_wind_up: bool,
    language_version: String,
    /// Which of its engines debugs it, or will.
    pub incarnation: Incarnation,
    pub peer_socket: String,
    /// How well its engine can debug it, once it has said so.
    debug_level: String,
    pub slots: Vec<Option<LeaseId>>,
}

impl Worker {
    pub fn is_attached(&self) -> bool {
        self.attached
    }
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }
    pub fn job(&self) -> JobId {
        self.key.job
    }

    fn description(&self, node_name: &str) -> String {
        let kind = if self.key.is_python() { "python" } else { "native" };
        let pid = self.pid.unwrap_or(0);
        let version: Vec<_> = self.language_version.splitn(3, '.').take(2).collect();
        let separator = if version.concat().is_empty() { "" } else { " " };
        format!("{kind}{separator}{} worker {pid} on {node_name}", version.join("."))
    }

    /// Where its engine listens for adapters of this machine.
    pub fn line(&self, id: ProcessId, node: &Identity) -> PathBuf {
        line::socket(Path::new(&node.session_dir), id, self.incarnation)
    }

    pub fn target_up(&self, id: ProcessId, node: &Identity) -> Option<v1::TargetUp> {
        self.attached.then(|| v1::TargetUp {
            target_id: id.to_bytes(),
            node_id: node.id.to_bytes(),
            node_name: node.name.clone(),
            kind: if self.key.is_python() { "python" } else { "native" }.to_owned(),
            pid: self.pid.unwrap_or(0),
            job_id: self.key.job.to_bytes(),
            description: self.description(&node.name),
            line: self.line(id, node).display().to_string(),
            debug_level: self.debug_level.clone(),
            incarnation: self.incarnation.0,
        })
    }
}

impl Core {
    pub(super) fn start_worker(&mut self, key: &PoolKey, config: &JobConfig) {
        let id = ProcessId(self.next_id());
        let launch = self.launch(key, config);
        let worker = Worker {
            key: key.clone(),
            state: State::Starting,
            // What it asks for itself has the job's own wishes; only its place is this environment's.
            config: JobConfig { here: launch.here.clone(), ..config.clone() },
            started_from: launch.executable.clone(),
            awaits_program: false,
            start_timers: 1,
            pid: None,
            attached: false,
            announced: false,
            killed_for_memory: None,
            may_wind_up: false,
            language_version: String::new(),
            incarnation: Incarnation::default(),
            peer_socket: String::new(),
            debug_level: String::new(),
            slots: Vec::new(),
        };
        self.workers.insert(id, worker);
        self.pools.entry(key.clone()).or_default().starting += 1;
        self.effects.push(Effect::StartWorker { worker: id, job: Box::new(launch) });
        self.effects.push(Effect::Timer(Timer::WorkerStart(id), START_TIMEOUT));
    }

    /// A process that has no GPUs sees none on a node that has some, unless its job says otherwise.
    pub(super) fn with_visible_gpus(&self, key: &PoolKey, config: &JobConfig) -> JobConfig {
        let mut config = config.clone();
        if !key.gpus.is_empty() {
            config.env.insert(VISIBLE_GPUS.to_owned(), key.gpus.clone());
        } else if !self.gpus.is_empty() {
            config.env.entry(VISIBLE_GPUS.to_owned()).or_default();
        }
        config
    }

    /// What the pool of a worker runs, as its job says it.
    #[must_use]
    pub fn executable_of(&self, worker: ProcessId) -> String {
        self.workers.get(&worker).map(|worker| worker.key.executable.clone()).unwrap_or_default()
    }

    /// What a worker is, for people; whether it is a Python worker; and what it runs.
    #[must_use]
    pub fn describe_worker(&self, id: ProcessId) -> (String, bool, Vec<String>) {
        let Some(worker) = self.workers.get(&id) else { return Default::default() };
        let leases = self.leases.granted.values().filter(|lease| lease.worker == id);
        let mut tasks: Vec<String> = leases.map(|lease| lease.task_name.clone()).collect();
        tasks.sort_unstable();
        (worker.description(&self.me.name), worker.key.is_python(), tasks)
    }

    /// Its program is not on this machine, and is being fetched.
    pub fn on_program_awaited(&mut self, worker: ProcessId) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.awaits_program = true;
        }
    }

    /// Whether a pool's workers wait for their program.
    pub(super) fn awaits_program(&self, key: &PoolKey) -> bool {
        self.workers.values().any(|worker| worker.awaits_program && worker.key == *key)
    }

    /// The process exists.
    pub fn on_worker_spawned(&mut self, id: ProcessId, pid: u32) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.pid = Some(pid);
        if std::mem::take(&mut worker.awaits_program) {
            worker.start_timers += 1;
            self.effects.push(Effect::Timer(Timer::WorkerStart(id), START_TIMEOUT));
        }
    }

    /// A worker's engine has said how well it can debug it.
    pub(super) fn on_debug_level(&mut self, id: ProcessId, level: String) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.debug_level != level) else {
            return;
        };
        worker.debug_level = level;
        if let Some(up) = worker.target_up(id, &self.me) {
            self.tell_head(node_to_head::Message::TargetUp(up));
        }
    }

    pub(super) fn on_worker_attached(&mut self, id: ProcessId, hello: &ProcessHello) -> Result<(), String> {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.state == State::Starting) else {
            return Err("this node expects no such worker; workers are started by their node".to_owned());
        };
        worker.attached = true;
        worker.announced = true;
        worker.state = State::Configuring;
        worker.pid = Some(hello.pid);
        worker.language_version.clone_from(&hello.language_version);
        worker.peer_socket.clone_from(&hello.peer_socket);
        let up = worker.target_up(id, &self.me);
        let config = worker.config.clone();
        self.welcome(id);
        self.tell_process(id, node_to_process::Message::Job(config));
        if let Some(up) = up {
            self.tell_head(node_to_head::Message::TargetUp(up));
        }
        if !self.configure_new_target(id) {
            self.on_worker_ready(id);
        }
        Ok(())
    }

    /// The worker may take leases.
    pub(super) fn on_worker_ready(&mut self, id: ProcessId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.state == State::Configuring)
        else {
            return;
        };
        worker.state = State::Ready;
        let pool = self.pools.entry(worker.key.clone()).or_default();
        pool.starting = pool.starting.saturating_sub(1);
        pool.killed_at_start = 0;
        if worker.key.is_python() {
            pool.idle.push(id);
        } else {
            pool.native.push(id);
        }
        let key = worker.key.clone();
        self.serve_pool(&key);
        self.prestart_others(&key);
    }

    /// Gives ready workers of a pool to those who wait for one, and starts as many as are missing.
    pub(super) fn serve_pool(&mut self, key: &PoolKey) {
        loop {
            let Some(pool) = self.pools.get_mut(key) else { return };
            let Some(&pending) = pool.waiting.front() else { break };
            let worker = if key.is_python() {
                pool.idle.pop()
            } else if key.actor.is_some() {
                // One that served the actor before may be about to end.
                pool.native.pop()
            } else {
                let slots = |id: &ProcessId| {
                    self.workers.get(id).map_or(0, |worker| worker.slots.iter().flatten().count())
                };
                pool.native.iter().copied().find(|id| slots(id) < NATIVE_SLOTS_MAX)
            };
            let Some(worker) = worker else { break };
            pool.waiting.pop_front();
            self.grant(pending, worker);
        }
        let Some(pool) = self.pools.get(key) else { return };
        let wanted =
            if key.is_python() { pool.waiting.len().min(STARTING_MAX) } else { pool.waiting.len().min(1) };
        let missing = wanted.saturating_sub(pool.starting);
        let config = pool.waiting.front().and_then(|pending| self.leases.job_config(*pending)).cloned();
        let Some(config) = config else { return };
        if !self.has_environment(key, &config) {
            return;
        }
        for _ in 0..missing {
            if self.workers.len() < WORKERS_MAX {
                self.start_worker(key, &config);
            }
        }
    }

    /// A slot of a worker is free again.
    pub(super) fn on_slot_free(&mut self, id: ProcessId, lease: LeaseId, unusable: bool) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        for slot in worker.slots.iter_mut().filter(|slot| **slot == Some(lease)) {
            *slot = None;
        }
        if worker.state != State::Ready {
            return;
        }
        let python = worker.key.is_python();
        let spent = !worker.key.gpus.is_empty() && worker.slots.iter().all(Option::is_none);
        self.tell_process(
            id,
            node_to_process::Message::SlotReleased(v1::SlotReleased { lease_id: lease.to_bytes() }),
        );
        if unusable || spent {
            self.end_worker(id);
        } else if python {
            let idle_max = self.idle_max();
            let Some(key) = self.workers.get(&id).map(|worker| worker.key.clone()) else { return };
            let pool = self.pools.entry(key).or_default();
            pool.idle.push(id);
            if pool.idle.len() > idle_max {
                // Nested tasks need more workers than CPUs, again and again; a new one costs much more than to wait a little.
                self.effects.push(Effect::Timer(Timer::Idle(id), SPARE_TIMEOUT));
            }
        }
    }

    /// Ready Python workers of a job that are kept however long they have no work.
    fn idle_max(&self) -> usize {
        usize::try_from(self.cpus().max(1)).unwrap_or(usize::MAX)
    }

    pub(super) fn on_idle_timeout(&mut self, id: ProcessId) {
        let idle_max = self.idle_max();
        let pool = self.workers.get(&id).and_then(|worker| self.pools.get(&worker.key));
        if pool.is_some_and(|pool| pool.idle.len() > idle_max && pool.idle.contains(&id)) {
            self.end_worker(id);
        }
    }

    /// Ends a worker of ours; its exit comes as an event.
    pub(super) fn end_worker(&mut self, id: ProcessId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.state != State::Ending) else {
            return;
        };
        let was_starting = matches!(worker.state, State::Starting | State::Configuring);
        worker.state = State::Ending;
        let (key, may_wind_up) = (worker.key.clone(), worker.may_wind_up);
        self.leave_pool(id, &key, was_starting);
        if may_wind_up {
            let exit = v1::Exit { cause: "nobody can call its actor any more".to_owned() };
            self.tell_process(id, node_to_process::Message::Exit(exit));
            self.effects.push(Effect::Timer(Timer::WindUp(id), WIND_UP_TIMEOUT));
        } else {
            self.effects.push(Effect::EndWorker(id));
        }
    }

    /// A worker that was told to end has had its time.
    pub(super) fn on_wind_up_timer(&mut self, id: ProcessId) {
        if self.workers.contains_key(&id) {
            self.effects.push(Effect::EndWorker(id));
        }
    }

    /// A worker's connection ended. It ends itself then; if it does not, it is of no use to anybody and is ended.
    pub(super) fn on_worker_detached(&mut self, id: ProcessId) {
        self.objects.departed.remove(&id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.attached = false;
        if worker.state == State::Ending {
            return;
        }
        let was_starting = worker.state == State::Configuring;
        worker.state = State::Detached;
        let key = worker.key.clone();
        self.leave_pool(id, &key, was_starting);
        self.effects.push(Effect::Timer(Timer::Detached(id), DETACHED_TIME));
        self.serve_pool(&key);
    }

    pub(super) fn on_detached_timeout(&mut self, id: ProcessId) {
        self.end_worker(id);
    }

    fn leave_pool(&mut self, id: ProcessId, key: &PoolKey, was_starting: bool) {
        let Some(pool) = self.pools.get_mut(key) else { return };
        pool.idle.retain(|worker| *worker != id);
        pool.native.retain(|worker| *worker != id);
        if was_starting {
            pool.starting = pool.starting.saturating_sub(1);
        }
        if pool.is_unused() {
            self.pools.remove(key);
        }
    }

    pub(super) fn on_worker_start_timeout(&mut self, id: ProcessId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.start_timers = worker.start_timers.saturating_sub(1);
        if worker.state == State::Starting && worker.start_timers == 0 && !worker.awaits_program {
            let reason = format!("it did not say hello within {} seconds", START_TIMEOUT.as_secs());
            self.refuse_waiting(id, &reason, &[]);
            self.end_worker(id);
        }
    }

    /// The process ended, or never was.
    pub fn on_worker_exited(&mut self, id: ProcessId, exit: &Exit) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (state, key) = (worker.state, worker.key.clone());
        let announced = worker.announced;
        let program = worker.started_from.clone();
        let fate = self.fate_of(worker, exit);
        if matches!(state, State::Starting | State::Configuring) {
            let reason = if exit.spawn_error.is_empty() {
                fate.sentence.clone()
            } else {
                format!("{program} cannot be started: {}", exit.spawn_error)
            };
            // What exits by itself does so again; what was killed may do better the next time.
            let pool = self.pools.entry(key.clone()).or_default();
            pool.killed_at_start += 1;
            if exit.signal == 0 || pool.killed_at_start >= KILLED_AT_START_MAX {
                self.refuse_waiting(id, &reason, &exit.last_stderr);
            }
        }
        self.leave_pool(id, &key, matches!(state, State::Starting | State::Configuring));
        self.on_target_gone(id, announced, &fate.sentence);
        if let Some(worker) = self.workers.remove(&id).filter(|worker| worker.attached) {
            self.objects.departed.insert(id, worker.job());
        }
        self.drop_leases_of_worker(id);
        self.on_owner_gone(id);
        self.on_process_of_actors_gone(id, &fate.sentence);
        self.record_fate(id, fate);
        self.effects.push(Effect::Close(id));
        self.forget_unused_environments();
        self.serve_pool(&key);
        self.dispatch();
    }

    /// A worker could not start: who waits for one of its kind is told why, rather than waiting for the next failure.
    fn refuse_waiting(&mut self, id: ProcessId, reason: &str, last_stderr: &[String]) {
        let Some(key) = self.workers.get(&id).map(|worker| worker.key.clone()) else { return };
        let waiting =
            self.pools.get_mut(&key).map(|pool| std::mem::take(&mut pool.waiting)).unwrap_or_default();
        let mut sentence = format!("a {} worker could not start on {}: {reason}", key.language, self.me.name);
        if !last_stderr.is_empty() {
            sentence.push_str("; its last lines on stderr:\n");
            sentence.push_str(&last_stderr.join("\n"));
        }
        for pending in waiting {
            self.refuse_reserved(pending, &sentence);
        }
    }
}
