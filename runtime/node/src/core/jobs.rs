//! Drivers on this machine, and the end of jobs wherever their driver was.

use std::collections::{HashSet, VecDeque};

use manta_proto::{
    ids::{JobId, ProcessId},
    v1::{self, JobConfig, ProcessHello, node_to_head, node_to_process},
};

use super::{Core, workers::PoolKey};

/// Ended jobs that a node remembers, so that a late request for one is refused.
const ENDED_JOBS_MAX: usize = 10_000;
/// Drivers on one node.
const DRIVERS_MAX: usize = 1000;
/// Python workers that start in the background when a driver attaches.
const PRESTARTED_MAX: u64 = 4;

/// An attached driver.
pub(super) struct Driver {
    pub config: JobConfig,
    pub pid: u32,
    pub peer_socket: String,
    pub started_unix_ms: u64,
}

impl Driver {
    pub fn started(&self) -> v1::JobStarted {
        v1::JobStarted {
            job_id: self.config.job_id.clone(),
            name: self.config.name.clone(),
            driver_pid: self.pid,
            started_unix_ms: self.started_unix_ms,
            submission_id: self.config.submission_id.clone(),
            packages: manta_packages::RuntimeEnv::parse(&self.config.runtime_env)
                .map(|env| env.packages().map(str::to_owned).collect())
                .unwrap_or_default(),
        }
    }
}

/// A process that is attached to this node.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Its id.
    pub id: ProcessId,
    /// The operating system's id of it.
    pub pid: u32,
    /// DRIVER or WORKER.
    pub kind: &'static str,
    /// The job that it belongs to.
    pub job: JobId,
}

#[derive(Default)]
pub(super) struct EndedJobs {
    known: HashSet<JobId>,
    order: VecDeque<JobId>,
}

impl EndedJobs {
    pub fn contains(&self, job: JobId) -> bool {
        self.known.contains(&job)
    }

    /// False when it had ended already.
    fn insert(&mut self, job: JobId) -> bool {
        if !self.known.insert(job) {
            return false;
        }
        self.order.push_back(job);
        if self.order.len() > ENDED_JOBS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl Core {
    /// A process said hello on the Unix socket.
    ///
    /// # Errors
    /// With the sentence to refuse it with.
    pub fn on_attached(&mut self, hello: ProcessHello, now_unix_ms: u64) -> Result<ProcessId, String> {
        let id = ProcessId::try_from(&hello.process_id).map_err(|error| error.to_string())?;
        match hello.kind() {
            v1::process_hello::Kind::Driver => self.on_driver_attached(id, hello, now_unix_ms)?,
            v1::process_hello::Kind::Worker => self.on_worker_attached(id, &hello)?,
            v1::process_hello::Kind::Unknown => {
                return Err("a process attaches as a driver or as a worker; this one said neither".to_owned());
            }
        }
        Ok(id)
    }

    pub(super) fn welcome(&mut self, process: ProcessId) {
        let welcome = v1::Welcome {
            node_id: self.me.id.to_bytes(),
            node_name: self.me.name.clone(),
            session_dir: self.me.session_dir.clone(),
            object_dir: self.me.object_dir.clone(),
            spill_dir: self.me.spill_dir.clone(),
            cluster_id: self.cluster_id.clone(),
            view: Some(self.view.clone()),
            head_address: self.me.head_address.clone(),
        };
        self.tell_process(process, node_to_process::Message::Welcome(welcome));
    }

    fn on_driver_attached(
        &mut self,
        id: ProcessId,
        hello: ProcessHello,
        now_unix_ms: u64,
    ) -> Result<(), String> {
        let config = hello.job.ok_or("a driver says what its job is when it attaches; this one did not")?;
        let job = JobId::try_from(&config.job_id).map_err(|error| error.to_string())?;
        if self.drivers.len() >= DRIVERS_MAX {
            return Err(format!(
                "{DRIVERS_MAX} drivers are attached to {} already, which is the most it takes",
                self.me.name
            ));
        }
        if self.drivers.contains_key(&id) || self.job_ended(job) {
            return Err(
                "this job has a driver already, or has ended; a driver attaches with a new job".to_owned()
            );
        }
        let driver = Driver {
            config: config.clone(),
            pid: hello.pid,
            peer_socket: hello.peer_socket,
            started_unix_ms: now_unix_ms,
        };
        let started = driver.started();
        self.drivers.insert(id, driver);
        self.welcome(id);
        self.tell_head(node_to_head::Message::JobStarted(started));
        self.prestart_config(&config);
        Ok(())
    }

    pub(super) fn prestart_config(&mut self, config: &JobConfig) {
        if let Ok(job) = JobId::try_from(&config.job_id) {
            self.prestart(job, config);
        }
    }

    /// Starts workers before they are asked for, so that a job's first task need not wait for an interpreter: one, and when it is
    /// ready the others, which would else take the processors that it needs to become so.
    fn prestart(&mut self, job: JobId, config: &JobConfig) {
        let key = PoolKey::of(job, config);
        // A worker that is not asked for starts later, when its environment is there.
        if config.executable.is_empty() || self.draining.is_some() || !self.has_environment(&key, config) {
            return;
        }
        let cpus = self.cpus();
        let count = if key.is_python() { cpus.min(PRESTARTED_MAX) } else { cpus.min(1) };
        if count > 0 {
            self.start_worker(&key, config);
            let wanted = usize::try_from(count).unwrap_or(usize::MAX);
            self.pools.entry(key).or_default().wanted = Some((wanted, config.clone()));
        }
    }

    /// The first of the workers that nobody has asked for is ready.
    pub(super) fn prestart_others(&mut self, key: &PoolKey) {
        let wanted = self.pools.get_mut(key).and_then(|pool| pool.wanted.take());
        let Some((wanted, config)) = wanted.filter(|_| self.draining.is_none()) else { return };
        let there = self.workers.values().filter(|worker| worker.key == *key).count();
        for _ in there..wanted {
            self.start_worker(key, &config);
        }
    }

    /// The connection of a process ended.
    pub fn on_detached(&mut self, process: ProcessId) {
        self.forget_rooms_of(process);
        if let Some(driver) = self.drivers.remove(&process) {
            let job_id = driver.config.job_id.clone();
            let cause = format!("its driver (pid {}) on {} ended", driver.pid, self.me.name);
            self.tell_head(node_to_head::Message::JobEnded(v1::JobEnded { job_id: job_id.clone(), cause }));
            if let Ok(job) = JobId::try_from(&job_id) {
                self.end_job(job);
            }
            self.on_owner_gone(process);
            self.on_process_of_actors_gone(process, "");
            self.forget_unused_environments();
            self.leave_when_drained();
        } else {
            self.on_worker_detached(process);
        }
    }

    /// Ends what a job has on this node.
    pub(super) fn end_job(&mut self, job: JobId) {
        if !self.ended_jobs.insert(job) {
            return;
        }
        self.forget_pending_of_job(job);
        let mut workers: Vec<_> =
            self.workers.iter().filter(|(_, worker)| worker.job() == job).map(|(id, _)| *id).collect();
        workers.retain(|worker| !self.is_detached_actor(*worker));
        workers.sort_unstable();
        for worker in workers {
            self.end_worker(worker);
        }
        self.delete_objects_of_job(job);
        self.dispatch();
    }

    /// The process ids of all that may have mapped objects.
    #[must_use]
    pub fn attached_pids(&self) -> Vec<u32> {
        let workers = self.workers.values().filter_map(super::workers::Worker::pid);
        workers.chain(self.drivers.values().map(|driver| driver.pid)).collect()
    }

    /// The process of a job's driver, if that is on this node.
    #[must_use]
    pub fn driver_pid(&self, job: JobId) -> Option<u32> {
        let id = job.to_bytes();
        self.drivers.values().find(|driver| driver.config.job_id == id).map(|driver| driver.pid)
    }

    /// All drivers and workers that are attached.
    #[must_use]
    pub fn attached(&self) -> Vec<Attached> {
        let workers = self.workers.iter().filter_map(|(id, worker)| {
            Some(Attached { id: *id, pid: worker.pid()?, kind: "WORKER", job: worker.job() })
        });
        let drivers = self.drivers.iter().filter_map(|(id, driver)| {
            let job = JobId::try_from(&driver.config.job_id).ok()?;
            Some(Attached { id: *id, pid: driver.pid, kind: "DRIVER", job })
        });
        let mut attached: Vec<_> = workers.chain(drivers).collect();
        attached.sort_by_key(|process| process.pid);
        attached
    }

    /// Where a driver or worker of this machine accepts peers.
    #[must_use]
    pub fn peer_socket(&self, process: ProcessId) -> Option<&str> {
        let worker = self.workers.get(&process).map(|worker| &*worker.peer_socket);
        worker.or_else(|| self.drivers.get(&process).map(|driver| &*driver.peer_socket))
    }

    /// Every worker's process is to end with this node.
    pub fn end_all_workers(&mut self) {
        let mut workers: Vec<_> = self.workers.keys().copied().collect();
        workers.sort_unstable();
        for worker in workers {
            self.end_worker(worker);
        }
    }

    /// Whether no worker's process is left.
    #[must_use]
    pub fn has_no_workers(&self) -> bool {
        self.workers.is_empty()
    }

    pub(super) fn cpus(&self) -> u64 {
        self.budget.total().amount(crate::resources::CPU).div_ceil(crate::resources::WHOLE)
    }
}
