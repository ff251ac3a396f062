//! The node's part of the debug plane: every target gets the newest breakpoints before it runs a task, and the head learns when
//! all of them have. Messages between session and targets pass through; only the few fields that name a paused task, or the build-id
//! of missing debug information, are looked at.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use manta_proto::{
    ids::{LeaseId, ProcessId, SessionId, TaskId},
    v1::{self, ConfigAck, DebugConfig, TargetAck, node_to_head, node_to_process},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Core, Effect, Timer, debug_files::WANTED_EVENT, workers::State};

/// All targets of a node take a set of breakpoints within this time.
const CONFIG_TIMEOUT: Duration = Duration::from_secs(5);
/// A task that runs on for a shorter time than this between two stops counts as paused throughout: what its pauses mean to others,
/// its worker, its owner and the scheduler, would be undone before they have heard of it.
const RESUMED_AFTER: Duration = Duration::from_millis(2);
/// The node's own requests to a target count from here, so that a session's never have the same number.
const FIRST_SEQ: i64 = manta_proto::line::NODE_SEQ_MIN;

#[derive(Default)]
pub(super) struct DebugPlane {
    pub config: Option<DebugConfig>,
    /// A session whose connection is lost, until its grace is over.
    pub lost: Option<SessionId>,
    /// How often a session was lost.
    pub losses: u64,
    pub rounds: BTreeMap<u64, Round>,
    pub targets: HashMap<ProcessId, Target>,
    requests_sent: i64,
}

/// One generation on its way to the targets.
pub(super) struct Round {
    waiting: BTreeSet<ProcessId>,
    acks: Vec<TargetAck>,
}

#[derive(Default)]
pub(super) struct Target {
    /// Its engine has been sent something.
    pub loaded: bool,
    pub requests: HashMap<i64, Request>,
    pub paused: BTreeMap<TaskId, Option<LeaseId>>,
    /// Paused tasks that have run on a moment ago, each with a number that tells its resumptions apart.
    resumed: BTreeMap<TaskId, u64>,
    times_resumed: u64,
    /// What the engine said of the stops that last.
    stops: BTreeMap<TaskId, Bytes>,
    pub agent_runs: bool,
    pub agent_failures: u32,
    /// What its engine wants to have debug information of.
    pub debug_files: super::debug_files::Wishes,
}

#[derive(Clone, Copy)]
pub(super) enum Request {
    Configure {
        session: Option<SessionId>,
        generation: u64,
    },
    /// Takes the breakpoints of a session away that is gone; nobody waits for it.
    Disarm,
    Release,
    /// Tells of debug information; nobody waits for the answer.
    DebugFile,
}

/// What an engine says of itself when it takes breakpoints.
#[derive(Deserialize)]
struct ConfiguredBody {
    level: Option<String>,
}

/// Bytes of an engine's word for how well it can debug its process.
const LEVEL_BYTES_MAX: usize = 64;

/// The fields of a DAP message that concern the node.
#[derive(Deserialize)]
struct Peek<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    event: Option<std::borrow::Cow<'a, str>>,
    request_seq: Option<i64>,
    success: Option<bool>,
    message: Option<String>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StopBody {
    task: Option<StoppedTask>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoppedTask {
    task_id: String,
}

impl Core {
    /// A session's new set of breakpoints.
    pub(super) fn on_config(&mut self, config: DebugConfig) {
        let session = SessionId::try_from(&config.session_id).ok();
        match self.debug.lost.take() {
            Some(lost) if session == Some(lost) => self.tell_stops_again(&config.session_id),
            Some(lost) => self.release(lost),
            None => {}
        }
        let generation = config.generation;
        let empty = config.empty;
        self.debug.config = Some(config);
        let targets: BTreeSet<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.is_attached() && worker.state != State::Ending)
            .map(|(id, _)| *id)
            .filter(|id| !empty || self.wants_empty(*id))
            .collect();
        self.debug.rounds.insert(generation, Round { waiting: targets.clone(), acks: Vec::new() });
        for target in targets {
            self.send_config(target);
        }
        let unfinished = self.debug.rounds.get(&generation).is_some_and(|round| !round.waiting.is_empty());
        if unfinished {
            self.effects.push(Effect::Timer(Timer::Config(generation), CONFIG_TIMEOUT));
        }
        self.finish_rounds();
        // Workers that were waiting for an older generation and need none now.
        let configuring: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.state == State::Configuring)
            .map(|(id, _)| *id)
            .collect();
        for id in configuring.into_iter().filter(|_| empty) {
            if !self.wants_empty(id) {
                self.on_worker_ready(id);
            }
        }
    }

    /// A session that was lost is back: it may have missed some of the stops that last.
    fn tell_stops_again(&mut self, session_id: &[u8]) {
        let mut stops: Vec<_> = Vec::new();
        for (target, known) in &self.debug.targets {
            stops.extend(known.stops.iter().map(|(task, dap)| (*target, *task, dap.clone())));
        }
        stops.sort_unstable_by_key(|(target, task, _)| (*target, *task));
        for (target, _, dap) in stops {
            let message =
                v1::FromTarget { session_id: session_id.to_vec().into(), target_id: target.to_bytes(), dap };
            self.tell_head(node_to_head::Message::FromTarget(message));
        }
    }

    /// The session whose breakpoints are in force.
    fn session(&self) -> Option<SessionId> {
        SessionId::try_from(&self.debug.config.as_ref()?.session_id).ok()
    }

    /// Whether a target is told of a set with nothing to stop at: one that has stopped at something before, and a Python worker, whose
    /// code may call `breakpoint()`.
    fn wants_empty(&self, target: ProcessId) -> bool {
        let is_python = self.workers.get(&target).is_some_and(|worker| worker.key.is_python());
        is_python || self.is_loaded(target)
    }

    fn is_loaded(&self, target: ProcessId) -> bool {
        self.debug.targets.get(&target).is_some_and(|target| target.loaded)
    }

    /// Gives a new worker the breakpoints in force. False: there are none for it, it may run tasks at once.
    pub(super) fn configure_new_target(&mut self, id: ProcessId) -> bool {
        let Some(config) = self.debug.config.as_ref().filter(|config| !config.empty || self.wants_empty(id))
        else {
            return false;
        };
        let generation = config.generation;
        self.send_config(id);
        self.effects.push(Effect::Timer(Timer::TargetConfig(id, generation), CONFIG_TIMEOUT));
        true
    }

    pub(super) fn send_config(&mut self, target: ProcessId) {
        let Some(config) = self.debug.config.clone() else { return };
        let generation = config.generation;
        let session = SessionId::try_from(&config.session_id).ok();
        match serde_json::from_slice::<&RawValue>(&config.arguments) {
            Ok(arguments) => {
                self.request(target, "mantaConfigure", arguments, Request::Configure { session, generation });
            }
            Err(error) => {
                let error = format!("the session's breakpoints are not valid JSON: {error}");
                self.on_configured(target, generation, Bytes::new(), error);
            }
        }
    }

    pub(super) fn request(
        &mut self,
        target: ProcessId,
        command: &str,
        arguments: &RawValue,
        request: Request,
    ) {
        self.debug.requests_sent += 1;
        let seq = FIRST_SEQ + self.debug.requests_sent;
        let message = json!({"seq": seq, "type": "request", "command": command, "arguments": arguments});
        self.debug.targets.entry(target).or_default().requests.insert(seq, request);
        self.tell_target(target, Bytes::from(message.to_string()));
    }

    fn tell_target(&mut self, id: ProcessId, dap: Bytes) {
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.is_attached()) else { return };
        let (python, pid) = (worker.key.is_python(), worker.pid().unwrap_or(0));
        let line = worker.line(id, &self.me);
        let target = self.debug.targets.entry(id).or_default();
        target.loaded = true;
        if python {
            self.tell_process(id, node_to_process::Message::ToTarget(dap));
            return;
        }
        if !target.agent_runs {
            target.agent_runs = true;
            self.effects.push(Effect::StartAgent { worker: id, pid, line });
        }
        self.effects.push(Effect::ToAgent(id, dap));
    }

    /// A session's message for one of our targets.
    pub(super) fn on_message_for_target(&mut self, message: v1::ToTarget) {
        let Ok(id) = ProcessId::try_from(&message.target_id) else { return };
        let reachable = self
            .workers
            .get(&id)
            .filter(|worker| worker.is_attached() && worker.state != State::Ending)
            .map(|worker| worker.incarnation);
        match reachable {
            Some(incarnation) if incarnation.0 == message.incarnation => self.tell_target(id, message.dap),
            // The session hears of that one's end before anything of the next, which has other threads under the same numbers.
            Some(_) => {}
            None => {
                let cause = "this target is not there any more".to_owned();
                self.tell_head(node_to_head::Message::TargetDown(v1::TargetDown {
                    target_id: message.target_id,
                    cause,
                }));
            }
        }
    }

    /// A message of a target: of a Python worker itself, or of a native worker's agent.
    pub fn on_target_message(&mut self, from: ProcessId, dap: Bytes) {
        // The head has been told of its end, behind which nothing may come.
        if !self.workers.contains_key(&from) {
            return;
        }
        match serde_json::from_slice::<Peek<'_>>(&dap) {
            Ok(peek) if peek.r#type == "response" && self.on_own_response(from, &peek) => return,
            Ok(peek) if peek.r#type == "event" && peek.event.as_deref() == Some(WANTED_EVENT) => {
                return self.on_debug_file_wanted(from, peek.body);
            }
            Ok(peek) if peek.r#type == "event" => self.on_target_event(from, &peek, &dap),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(target = %from, %error, "a target sent something that is no DAP message; it is dropped");
                return;
            }
        }
        let session_id =
            self.debug.config.as_ref().map(|config| config.session_id.clone()).unwrap_or_default();
        let message = v1::FromTarget { session_id, target_id: from.to_bytes(), dap };
        self.tell_head(node_to_head::Message::FromTarget(message));
    }

    /// True when it answers a request of this node.
    fn on_own_response(&mut self, from: ProcessId, peek: &Peek<'_>) -> bool {
        let request =
            peek.request_seq.and_then(|seq| self.debug.targets.get_mut(&from)?.requests.remove(&seq));
        match request {
            // The answer to an earlier session is none to this one, whose generations may have the same numbers.
            Some(Request::Configure { session, .. }) if session != self.session() => {}
            Some(Request::Configure { generation, .. }) => {
                let said = peek.body.and_then(|body| serde_json::from_str::<ConfiguredBody>(body.get()).ok());
                let level = said.and_then(|body| body.level);
                if let Some(level) = level.filter(|level| level.len() <= LEVEL_BYTES_MAX) {
                    self.on_debug_level(from, level);
                }
                let body =
                    peek.body.map(|body| Bytes::copy_from_slice(body.get().as_bytes())).unwrap_or_default();
                let failed = peek.success != Some(true);
                let error = if failed {
                    peek.message.clone().unwrap_or_else(|| "it gave no reason".to_owned())
                } else {
                    String::new()
                };
                self.on_configured(from, generation, body, error);
            }
            Some(Request::Disarm | Request::DebugFile) => {}
            Some(Request::Release) => self.on_released(from),
            None => return false,
        }
        true
    }

    pub(super) fn on_configured(&mut self, target: ProcessId, generation: u64, body: Bytes, error: String) {
        if error.is_empty()
            && let Some(target) = self.debug.targets.get_mut(&target)
        {
            target.agent_failures = 0;
        }
        let ack = TargetAck { target_id: target.to_bytes(), body, error };
        if let Some(round) = self.debug.rounds.get_mut(&generation)
            && round.waiting.remove(&target)
        {
            round.acks.push(ack);
            self.finish_rounds();
        } else if let Some(round) = self.debug.rounds.get_mut(&generation) {
            // A target that came later: the node as a whole has not answered yet, so this travels with its answer.
            round.acks.push(ack);
        } else {
            self.ack(generation, vec![ack], String::new());
        }
        let newest = self.debug.config.as_ref().is_none_or(|config| config.generation == generation);
        if newest {
            self.on_worker_ready(target);
        }
    }

    fn ack(&mut self, generation: u64, targets: Vec<TargetAck>, error: String) {
        let Some(config) = &self.debug.config else { return };
        let ack = ConfigAck {
            session_id: config.session_id.clone(),
            generation,
            node_id: self.me.id.to_bytes(),
            targets,
            error,
        };
        self.tell_head(node_to_head::Message::ConfigAck(ack));
    }

    fn finish_rounds(&mut self) {
        let done: Vec<_> = self
            .debug
            .rounds
            .iter()
            .filter(|(_, round)| round.waiting.is_empty())
            .map(|(gen_, _)| *gen_)
            .collect();
        for generation in done {
            if let Some(round) = self.debug.rounds.remove(&generation) {
                self.ack(generation, round.acks, String::new());
            }
        }
    }

    pub(super) fn on_config_timeout(&mut self, generation: u64) {
        let Some(round) = self.debug.rounds.remove(&generation) else { return };
        let names: Vec<_> = round.waiting.iter().filter_map(|id| self.target_name(*id)).collect();
        let error = self.late(&names);
        self.ack(generation, round.acks, error);
    }

    pub(super) fn on_target_config_timeout(&mut self, id: ProcessId, generation: u64) {
        let late = self.workers.get(&id).is_some_and(|worker| worker.state == State::Configuring);
        if late && let Some(name) = self.target_name(id) {
            let error = self.late(&[name]);
            self.ack(generation, Vec::new(), error);
            self.on_worker_ready(id);
        }
    }

    fn late(&self, names: &[String]) -> String {
        let seconds = CONFIG_TIMEOUT.as_secs();
        format!(
            "{} did not take the breakpoints within {seconds} seconds: {}",
            self.me.name,
            names.join(", ")
        )
    }

    fn target_name(&self, id: ProcessId) -> Option<String> {
        self.workers.get(&id).and_then(|worker| worker.target_up(id, &self.me)).map(|up| up.description)
    }

    fn on_target_event(&mut self, from: ProcessId, peek: &Peek<'_>, dap: &Bytes) {
        let paused = match peek.event.as_deref() {
            Some("mantaStopped") => true,
            Some("mantaContinued") => false,
            _ => return,
        };
        let body = peek.body.and_then(|body| serde_json::from_str::<StopBody>(body.get()).ok());
        let task = body.and_then(|body| body.task).and_then(|task| TaskId::from_hex(&task.task_id));
        match task {
            Some(task) if paused => {
                self.on_task_paused(from, task, true);
                if let Some(target) = self.debug.targets.get_mut(&from) {
                    target.stops.insert(task, dap.clone());
                }
            }
            Some(task) => {
                if let Some(target) = self.debug.targets.get_mut(&from) {
                    target.stops.remove(&task);
                }
                self.on_task_resumed(from, task);
            }
            None => {}
        }
    }

    /// A paused task runs on, perhaps to its next stop.
    fn on_task_resumed(&mut self, worker: ProcessId, task: TaskId) {
        let Some(target) = self.debug.targets.get_mut(&worker) else { return };
        if target.paused.contains_key(&task) {
            target.times_resumed += 1;
            let times = target.times_resumed;
            target.resumed.insert(task, times);
            self.effects.push(Effect::Timer(Timer::Resumed { worker, task, times }, RESUMED_AFTER));
        }
    }

    pub(super) fn on_resumed_timer(&mut self, worker: ProcessId, task: TaskId, times: u64) {
        let target = self.debug.targets.get(&worker);
        if target.is_some_and(|target| target.resumed.get(&task) == Some(&times)) {
            self.on_task_paused(worker, task, false);
        }
    }

    pub(super) fn on_task_paused(&mut self, worker: ProcessId, task: TaskId, paused: bool) {
        let known = self.debug.targets.get_mut(&worker);
        let was_resumed = known.is_some_and(|target| target.resumed.remove(&task).is_some());
        if was_resumed && paused {
            return;
        }
        let lease = if paused { self.lease_to_pause(worker) } else { None };
        let target = self.debug.targets.entry(worker).or_default();
        let lease = if paused {
            *target.paused.entry(task).or_insert(lease)
        } else {
            target.stops.remove(&task);
            let Some(lease) = target.paused.remove(&task) else { return };
            lease
        };
        if let Some(lease) = lease {
            self.on_lease_paused(lease, paused);
        }
        let message = v1::TaskPaused { task_id: task.to_bytes(), paused };
        self.tell_process(worker, node_to_process::Message::TaskPaused(message));
    }

    /// A task of this worker that was paused has ended, whatever its engine has said of it so far.
    pub(super) fn on_paused_task_ended(&mut self, worker: ProcessId, mut ended: v1::TaskEnded) {
        if let Ok(task) = TaskId::try_from(&ended.task_id) {
            self.on_task_paused(worker, task, false);
            ended.target_id = worker.to_bytes();
            self.tell_head(node_to_head::Message::TaskEnded(ended));
        }
    }

    /// The lease under which a paused task runs. Which of a native worker's it is, only the worker knows; they are alike but for
    /// their resources, and any that runs stands for it.
    fn lease_to_pause(&self, worker: ProcessId) -> Option<LeaseId> {
        let slots = self.workers.get(&worker)?.slots.iter().flatten();
        slots.copied().find(|lease| self.leases.granted.get(lease).is_some_and(|lease| !lease.paused))
    }

    pub(super) fn forget_paused_of_lease(&mut self, lease: LeaseId) {
        for target in self.debug.targets.values_mut() {
            target.paused.retain(|_, of| *of != Some(lease));
            let paused = &target.paused;
            target.resumed.retain(|task, _| paused.contains_key(task));
        }
    }

    /// A worker ended.
    pub(super) fn on_target_gone(&mut self, id: ProcessId, announced: bool, cause: &str) {
        if let Some(target) = self.debug.targets.remove(&id)
            && target.agent_runs
        {
            self.effects.push(Effect::StopAgent(id));
        }
        for round in self.debug.rounds.values_mut() {
            round.waiting.remove(&id);
        }
        self.finish_rounds();
        if announced {
            let down = v1::TargetDown { target_id: id.to_bytes(), cause: cause.to_owned() };
            self.tell_head(node_to_head::Message::TargetDown(down));
        }
    }
}
