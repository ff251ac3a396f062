//! Submitted jobs: the head chooses a node for each driver and keeps what became of it. The node runs it.

use std::collections::BTreeMap;

use manta_packages::RuntimeEnv;
use manta_proto::{
    ids::NodeId,
    v1::{DriverUpdate, StartDriver, StopDriver, SubmittedJob, head_to_node, submitted_job::State},
};

use prost::Message;

use crate::{
    core::{Core, Effect, down},
    durable::{Key, Returned},
};

/// Jobs that have not ended.
const LIVE_MAX: usize = 1_000;
/// Jobs that ended and are still known.
const ENDED_MAX: usize = 10_000;
/// Bytes of an entrypoint.
const ENTRYPOINT_BYTES_MAX: usize = 64 * 1024;
/// Characters of a submission id.
const ID_CHARS_MAX: usize = 200;

/// All submitted jobs.
#[derive(Default)]
pub(crate) struct SubmittedJobs {
    by_id: BTreeMap<String, Submitted>,
    count: u64,
}

struct Submitted {
    /// Its place in the order of submission.
    number: u64,
    wire: SubmittedJob,
}

fn is_over(state: State) -> bool {
    matches!(state, State::Stopped | State::Succeeded | State::Failed)
}

impl Core {
    /// Somebody submits a job.
    ///
    /// # Errors
    /// With the sentence to refuse it with.
    pub fn on_submit_job(&mut self, mut job: SubmittedJob, made_up_id: String) -> Result<String, String> {
        if job.submission_id.is_empty() {
            job.submission_id = made_up_id;
        }
        check(&job)?;
        let id = job.submission_id.clone();
        if self.submitted.by_id.contains_key(&id) {
            return Err(format!(
                "a job with the submission id '{id}' exists already; choose another, or leave it out"
            ));
        }
        let live = self.submitted.by_id.values().filter(|job| !is_over(job.wire.state())).count();
        if live >= LIVE_MAX {
            return Err(format!(
                "{LIVE_MAX} submitted jobs have not ended, which is the most that a cluster takes"
            ));
        }
        job.set_state(State::Pending);
        job.submitted_unix_ms = self.now_unix_ms;
        job.node_id.clear();
        self.submitted.count += 1;
        self.submitted.by_id.insert(id.clone(), Submitted { number: self.submitted.count, wire: job });
        self.mark(Key::Submitted(id.clone()));
        self.forget_old_submitted();
        self.place_drivers();
        Ok(id)
    }

    fn forget_old_submitted(&mut self) {
        let mut ended: Vec<_> =
            self.submitted.by_id.values().filter(|job| is_over(job.wire.state())).collect();
        if ended.len() > ENDED_MAX {
            ended.sort_by_key(|job| job.number);
            let gone: Vec<_> =
                ended[..ended.len() - ENDED_MAX].iter().map(|job| job.wire.submission_id.clone()).collect();
            for id in gone {
                self.submitted.by_id.remove(&id);
                self.mark(Key::Submitted(id));
            }
        }
    }

    /// Gives each driver that has no node one, where there is one.
    pub(crate) fn place_drivers(&mut self) {
        let mut waiting: Vec<_> = self
            .submitted
            .by_id
            .values()
            .filter(|job| job.wire.state() == State::Pending && job.wire.node_id.is_empty())
            .map(|job| (job.number, job.wire.submission_id.clone()))
            .collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            self.place_driver(&id);
        }
    }

    fn place_driver(&mut self, id: &str) {
        let Some(needed) =
            self.submitted.by_id.get(id).map(|job| job.wire.resources.clone().unwrap_or_default())
        else {
            return;
        };
        let drivers_on = |node: NodeId| {
            let jobs = self.submitted.by_id.values();
            jobs.filter(|job| !is_over(job.wire.state()) && job.wire.node_id == node.to_bytes()).count()
        };
        let has_all = |node: &crate::core::Node| {
            let total = node.info.total.as_ref();
            needed.amounts.iter().all(|(name, amount)| {
                total.and_then(|total| total.amounts.get(name)).copied().unwrap_or(0) >= *amount
            })
        };
        let fit = self.nodes.iter().filter(|(_, node)| !node.load.draining && has_all(node));
        let chosen =
            fit.min_by_key(|(id, node)| (drivers_on(**id), node.info.name.len(), node.info.name.clone()));
        let chosen = chosen.map(|(id, node)| (*id, node.link));
        let Some(job) = self.submitted.by_id.get_mut(id) else { return };
        match chosen {
            Some((node, link)) => {
                job.wire.node_id = node.to_bytes();
                job.wire.message = "The job's environment is being made, and its driver started.".to_owned();
                let start = StartDriver { job: Some(job.wire.clone()) };
                self.effects.push(Effect::ToNode(link, down(head_to_node::Message::StartDriver(start))));
                self.mark(Key::Submitted(id.to_owned()));
            }
            None => {
                job.wire.message =
                    "The job waits for a node that can run its driver; see 'manta status'.".to_owned();
            }
        }
    }

    /// A node says how a driver is.
    pub(crate) fn on_driver_update(&mut self, from: NodeId, update: DriverUpdate) {
        let now_unix_ms = self.now_unix_ms;
        let Some(job) = self.submitted.by_id.get_mut(&update.submission_id) else { return };
        if job.wire.node_id != from.to_bytes() || is_over(job.wire.state()) {
            return;
        }
        let state = update.state();
        job.wire.set_state(state);
        job.wire.message = update.message;
        job.wire.environment_failed = update.environment_failed;
        if update.driver_pid != 0 {
            job.wire.driver_pid = update.driver_pid;
        }
        if state == State::Running && job.wire.started_unix_ms == 0 {
            job.wire.started_unix_ms = now_unix_ms;
        }
        if is_over(state) {
            job.wire.exit_code = update.exit_code;
            job.wire.ended_unix_ms = now_unix_ms;
        }
        self.mark(Key::Submitted(update.submission_id));
    }

    /// A driver that the cluster runs has joined.
    pub(crate) fn on_submitted_driver_joined(&mut self, submission_id: &str, job_id: &bytes::Bytes) {
        if let Some(job) = self.submitted.by_id.get_mut(submission_id) {
            job.wire.job_id.clone_from(job_id);
            self.mark(Key::Submitted(submission_id.to_owned()));
        }
    }

    /// Somebody wants a job to end; false when it had.
    ///
    /// # Errors
    /// When there is no such job.
    pub fn on_stop_job(&mut self, id: &str) -> Result<bool, String> {
        let job = self.submitted.by_id.get_mut(id).ok_or_else(|| unknown(id))?;
        if is_over(job.wire.state()) {
            return Ok(false);
        }
        let id_of_node = NodeId::try_from(&job.wire.node_id).ok();
        if id_of_node.is_some_and(|node| self.memory.awaited.contains_key(&node)) {
            return Err(format!(
                "the head has started anew, and the node of the job '{id}' is not back yet; try again in a moment"
            ));
        }
        let node = id_of_node.and_then(|node| self.nodes.get(&node));
        match node {
            Some(node) => {
                let stop = StopDriver { submission_id: id.to_owned() };
                self.effects.push(Effect::ToNode(node.link, down(head_to_node::Message::StopDriver(stop))));
            }
            None => {
                job.wire.set_state(State::Stopped);
                job.wire.message = "The job was stopped before its driver had started.".to_owned();
                job.wire.ended_unix_ms = self.now_unix_ms;
                self.mark(Key::Submitted(id.to_owned()));
            }
        }
        Ok(true)
    }

    /// Somebody wants a job that ended to be forgotten.
    ///
    /// # Errors
    /// When there is no such job, or it has not ended.
    pub fn on_delete_job(&mut self, id: &str) -> Result<(), String> {
        let job = self.submitted.by_id.get(id).ok_or_else(|| unknown(id))?;
        if !is_over(job.wire.state()) {
            return Err(format!(
                "the job '{id}' is {}; only a job that has ended can be deleted ('manta job stop {id}')",
                job.wire.state().as_str_name()
            ));
        }
        self.submitted.by_id.remove(id);
        self.mark(Key::Submitted(id.to_owned()));
        Ok(())
    }

    /// A node is gone, and the drivers that it ran.
    pub(crate) fn on_node_of_drivers_lost(&mut self, node: NodeId, name: &str) {
        for id in self.live_on(node) {
            self.fail_submitted(&id, format!("The node of the job's driver, {name}, was lost."));
        }
    }

    /// The jobs on a node that have not ended.
    fn live_on(&self, node: NodeId) -> Vec<String> {
        let live = |job: &&Submitted| job.wire.node_id == node.to_bytes() && !is_over(job.wire.state());
        let live = self.submitted.by_id.values().filter(live);
        live.map(|job| job.wire.submission_id.clone()).collect()
    }

    fn fail_submitted(&mut self, id: &str, message: String) {
        let now_unix_ms = self.now_unix_ms;
        if let Some(job) = self.submitted.by_id.get_mut(id) {
            job.wire.set_state(State::Failed);
            job.wire.message = message;
            job.wire.ended_unix_ms = now_unix_ms;
            self.mark(Key::Submitted(id.to_owned()));
        }
    }

    /// A node is back, and says of which drivers it knows something; it tells how they are after this.
    pub(crate) fn on_node_of_drivers_returned(&mut self, node: NodeId, returned: &Returned) {
        for id in self.live_on(node).into_iter().filter(|id| !returned.submitted.contains(id)) {
            let Some(job) = self.submitted.by_id.get_mut(&id) else { continue };
            if job.wire.state() == State::Pending {
                // The node never heard of it. It goes the way of a new one.
                job.wire.node_id.clear();
            } else {
                let sentence =
                    "The job's driver ended while the head was away, and its node does not know how.";
                self.fail_submitted(&id, sentence.to_owned());
            }
        }
    }

    /// What is written down of a job: its number, and the job.
    pub(crate) fn submitted_entry(&self, id: &str) -> Option<Vec<u8>> {
        let job = self.submitted.by_id.get(id)?;
        let mut entry = job.number.to_le_bytes().to_vec();
        job.wire.encode(&mut entry).ok()?;
        Some(entry)
    }

    /// Takes in what a head before has written down.
    pub(crate) fn restore_submitted(&mut self, entry: &[u8]) -> Result<(), String> {
        let (number, wire) = entry.split_first_chunk().ok_or("it has no number")?;
        let wire = SubmittedJob::decode(wire).map_err(|error| error.to_string())?;
        let number = u64::from_le_bytes(*number);
        self.submitted.count = self.submitted.count.max(number);
        self.submitted.by_id.insert(wire.submission_id.clone(), Submitted { number, wire });
        Ok(())
    }

    /// All submitted jobs, the newest first.
    pub(crate) fn submitted_jobs(&self) -> Vec<&SubmittedJob> {
        let mut jobs: Vec<_> = self.submitted.by_id.values().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.number));
        jobs.into_iter().map(|job| &job.wire).collect()
    }

    /// The packages that jobs which run have named.
    pub(crate) fn packages_in_use(&self) -> std::collections::HashSet<String> {
        let live = self.submitted.by_id.values().filter(|job| !is_over(job.wire.state()));
        let submitted = live.filter_map(|job| RuntimeEnv::parse(&job.wire.runtime_env).ok());
        let submitted: Vec<String> =
            submitted.flat_map(|env| env.packages().map(str::to_owned).collect::<Vec<_>>()).collect();
        self.job_packages().chain(submitted).collect()
    }
}

fn unknown(id: &str) -> String {
    format!("there is no submitted job '{id}'; see 'manta job list'")
}

fn check(job: &SubmittedJob) -> Result<(), String> {
    let id = &job.submission_id;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.chars().count() > ID_CHARS_MAX || !id.chars().all(plain) || id.starts_with('.') {
        return Err(format!(
            "'{id}' cannot be a submission id: it has up to {ID_CHARS_MAX} letters, digits, '-', '_' and '.', which names its log file"
        ));
    }
    if job.entrypoint.trim().is_empty() {
        return Err(
            "a job has an entrypoint, the command that is its driver: manta job submit -- python script.py"
                .to_owned(),
        );
    }
    if job.entrypoint.len() > ENTRYPOINT_BYTES_MAX {
        return Err(format!(
            "an entrypoint has at most {ENTRYPOINT_BYTES_MAX} bytes, and this one {}",
            job.entrypoint.len()
        ));
    }
    RuntimeEnv::parse(&job.runtime_env).map(|_| ())
}
