//! One client's debugging of one cluster: the state, and what each event does to it.
//!
//! A pure reactor: events in, effects out, no clock and no I/O. It knows targets, not our runtime.

use std::collections::{HashMap, HashSet};

use dap::{
    EventMessage, Message, OutputEventBody, OutputEventCategory, RequestMessage, ResponseMessage, events,
};

use crate::{
    arena::{ArenaId, Arenas},
    breakpoints::Breakpoints,
    effect::Effect,
    event::{Event, Node, Target, TimerId},
    gathering::Gatherings,
    ids::{JobId, TargetId},
    jumps::Jumps,
    launch::Launch,
    limits,
    looks::Looks,
    memory::Memories,
    options::CommonOptions,
    paths::PathMap,
    pending::{Purpose, Requests},
    publisher::Publisher,
    requests::{self, Refusal},
    returning::Returning,
    setting::Waiter,
    sources::{ClientFiles, Sources},
    stops::{Announcer, continue_answer},
    threads::{Origin, Resumption, State, Threads},
};

/// How far the session has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing was said.
    New,
    /// `initialize` was answered.
    Initialized,
    /// `attach` or `launch` waits for its cluster.
    Connecting(Origin),
    /// The cluster is at hand.
    Attached,
    /// `terminated` was sent, or the client has left.
    Ended,
}

/// What the client said about itself.
#[derive(Debug)]
pub(crate) struct ClientTraits {
    pub name: String,
    pub lines_start_at: i64,
    pub columns_start_at: i64,
    pub shows_types: bool,
    /// It understands that what it was shown is no longer true.
    pub takes_invalidated: bool,
}

/// One client's debugging of one cluster.
pub struct Session {
    pub(crate) id: String,
    pub(crate) files: Box<dyn ClientFiles>,
    pub(crate) phase: Phase,
    pub(crate) client: ClientTraits,
    pub(crate) options: CommonOptions,
    pub(crate) paths: PathMap,
    pub(crate) launch: Option<Launch>,
    pub(crate) is_configured: bool,
    pub(crate) targets: HashMap<TargetId, Target>,
    pub(crate) jobs: HashMap<JobId, String>,
    pub(crate) breakpoints: Breakpoints,
    pub(crate) publisher: Publisher,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) threads: Threads,
    pub(crate) arenas: Arenas,
    pub(crate) looks: Looks,
    pub(crate) sources: Sources,
    pub(crate) jumps: Jumps,
    pub(crate) gatherings: Gatherings,
    pub(crate) memories: Memories,
    pub(crate) requests: Requests,
    pub(crate) returning: Returning,
    pub(crate) announcer: Announcer,
    /// What targets have said of how well they can be debugged: each sentence once.
    pub(crate) levels_told: HashSet<String>,
    pub(crate) steps: u64,
    pub(crate) effects: Vec<Effect>,
}

impl Session {
    /// A session that nobody has spoken to yet. `id` is the session's id in the cluster; `files` answers for the client's machine.
    #[must_use]
    pub fn new(id: &str, files: Box<dyn ClientFiles>) -> Self {
        Self {
            id: id.to_owned(),
            files,
            phase: Phase::New,
            client: ClientTraits {
                name: "a debug client".to_owned(),
                lines_start_at: 1,
                columns_start_at: 1,
                shows_types: false,
                takes_invalidated: false,
            },
            options: CommonOptions { max_paused: limits::PAUSED_TASKS, ..CommonOptions::default() },
            paths: PathMap::default(),
            launch: None,
            is_configured: false,
            targets: HashMap::new(),
            jobs: HashMap::new(),
            breakpoints: Breakpoints::default(),
            publisher: Publisher::default(),
            waiters: Vec::new(),
            threads: Threads::default(),
            arenas: Arenas::default(),
            looks: Looks::default(),
            sources: Sources::default(),
            jumps: Jumps::default(),
            gatherings: Gatherings::default(),
            memories: Memories::default(),
            requests: Requests::default(),
            returning: Returning::default(),
            announcer: Announcer::default(),
            levels_told: HashSet::new(),
            steps: 0,
            effects: Vec::new(),
        }
    }

    /// Takes what happened and gives what is to be done, in order.
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Client(message) => self.on_client(message),
            Event::ClientMalformed(malformed) => self.on_client_malformed(&malformed),
            Event::ClientGone => self.on_client_gone(),
            Event::Connected { nodes, targets } => self.on_connected(nodes, targets),
            Event::ConnectFailed(cause) => self.on_connect_failed(&cause),
            Event::ClusterView(nodes) => self.on_view(nodes),
            Event::ClusterLost(cause) => self.on_cluster_lost(&cause),
            Event::ClusterAway(cause) => self.on_cluster_away(&cause),
            Event::TargetUp(target) => self.on_target_up(target),
            Event::TargetDown { target, cause } => self.on_target_down(&target, &cause),
            Event::FromTarget { target, message } => self.on_target(&target, message),
            Event::TaskEnded { target, task } => self.on_task_ended(&target, &task),
            Event::ConfigAck(ack) => self.on_config_ack(&ack),
            Event::Output(output) => self.on_output(&output),
            Event::JobStarted { job, name } => {
                self.jobs.insert(job, name);
            }
            Event::JobEnded { job, cause } => self.on_job_ended(&job, &cause),
            Event::DriverStarted { pid } => self.on_driver_started(pid),
            Event::DriverFailed(cause) => self.on_driver_failed(&cause),
            Event::DriverOutput { stderr, text } => self.on_driver_output(stderr, &text),
            Event::DriverExited { code, cause } => self.on_driver_exited(code, cause.as_deref()),
            Event::Timer(timer) => self.on_timer(timer),
        }
        std::mem::take(&mut self.effects)
    }

    /// Whether the session is over: nothing that happens leads to anything any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Ended
    }

    fn on_client(&mut self, message: Message) {
        match message {
            Message::Request(request) => requests::dispatch(self, &request),
            // The session sends no reverse requests, so there is nothing that this could answer.
            Message::Response(response) => {
                self.log(format!("the client answered {} without being asked", response.command));
            }
            Message::Event(event) => self.log(format!("the client sent the event {}", event.event)),
        }
    }

    fn on_client_malformed(&mut self, malformed: &dap::Malformed) {
        match malformed.refusal() {
            Some(refusal) => self.reply(refusal),
            None => self.console(&malformed.reason),
        }
    }

    /// The client vanished: its paused tasks wait out the grace, a driver that it launched ends with it.
    fn on_client_gone(&mut self) {
        if self.launch.is_some() && self.phase != Phase::Ended {
            self.effects.push(Effect::KillDriver);
        }
        self.phase = Phase::Ended;
        self.effects.push(Effect::Close);
    }

    fn on_connected(&mut self, nodes: Vec<Node>, targets: Vec<Target>) {
        if self.phase == Phase::Attached && self.returning.is_away {
            return self.on_cluster_back(nodes, targets);
        }
        let origin = match std::mem::replace(&mut self.phase, Phase::Attached) {
            Phase::Connecting(origin) => origin,
            // The client left while the cluster was being reached.
            before => {
                self.phase = before;
                self.effects.push(Effect::Release);
                return;
            }
        };
        self.publisher.set_nodes(nodes);
        self.targets.extend(targets.into_iter().map(|target| (target.id.clone(), target)));
        self.reply(ResponseMessage {
            seq: 0,
            request_seq: origin.seq,
            success: true,
            command: origin.command,
            message: None,
            body: None,
        });
        self.emit::<events::Initialized>(&dap::Empty);
        if !self.breakpoints.is_empty() {
            self.publisher.change();
        }
        self.publish_if_due();
    }

    fn on_connect_failed(&mut self, cause: &str) {
        match std::mem::replace(&mut self.phase, Phase::Initialized) {
            Phase::Connecting(origin) => {
                self.launch = None;
                self.refuse(&origin, cause);
            }
            before => self.phase = before,
        }
    }

    fn on_view(&mut self, nodes: Vec<Node>) {
        self.publisher.set_nodes(nodes);
        self.settle_waiters();
    }

    fn on_cluster_lost(&mut self, cause: &str) {
        if self.phase == Phase::Ended {
            return;
        }
        self.important(&format!(
            "The connection to the cluster is lost: {}. Its paused tasks run on by themselves; attach again when the cluster can be \
             reached.",
            cause.trim_end_matches('.')
        ));
        self.end(&format!("the connection to the cluster is lost: {cause}"));
        self.emit::<events::Terminated>(&dap::TerminatedEventBody::default());
    }

    pub(crate) fn on_target_down(&mut self, target: &TargetId, cause: &str) {
        let description = self.target_name(target);
        self.targets.remove(target);
        self.forget_returning(target);
        self.breakpoints.on_target_down(target);
        self.sources.on_target_down(target);
        let cause = cause.trim_end_matches('.');
        // A cause that names the process itself needs no second name.
        let sentence = if cause.starts_with("worker ") {
            cause.to_owned()
        } else {
            format!("{description} is gone: {cause}")
        };
        for (_, pending) in self.requests.take_of_target(target) {
            match (pending.purpose, pending.origin) {
                (Purpose::Gather(id), _) => self.on_gathered(id, target, Err(sentence.as_str().into())),
                (_, Some(origin)) => self.refuse(&origin, &sentence),
                (_, None) => {}
            }
        }
        for id in self.threads.of_target(target) {
            let thread = self.threads.get(id);
            let lost = thread.filter(|thread| thread.is_held() && thread.is_known);
            if let Some(name) = lost.map(|thread| thread.name.clone()) {
                self.important(&format!("{name} was paused when its process ended. {sentence}."));
            }
            self.end_thread(id, Some(&sentence));
        }
        self.tell_breakpoint_changes();
    }

    fn on_job_ended(&mut self, job: &JobId, cause: &str) {
        let name = self.jobs.remove(job).unwrap_or_else(|| job.short().to_owned());
        if !cause.is_empty() {
            self.console(&format!("job {name} ended: {cause}"));
        }
        let of_job = |task: &crate::profile::Task| task.job_id == job.as_str();
        let ended: Vec<i32> = self
            .threads
            .iter()
            .filter(|thread| thread.task.as_ref().is_some_and(of_job))
            .map(|thread| thread.id)
            .collect();
        for id in ended {
            self.end_thread(id, Some(&format!("its job {name} has ended")));
        }
    }

    fn on_timer(&mut self, timer: TimerId) {
        if self.phase == Phase::Ended {
            return;
        }
        match timer {
            TimerId::Announce => self.on_announce_timer(),
            TimerId::Step(step) => self.on_step_timer(step),
            TimerId::PublishGate(generation) => {
                self.publisher.open_gate(generation);
                self.publish_if_due();
            }
            TimerId::Acknowledge(generation) => {
                self.publisher.give_up(generation);
                self.settle_waiters();
            }
            TimerId::PassedReport => self.on_passed_report(),
            TimerId::Sweep => self.on_sweep(),
            TimerId::Returned(times) => self.on_return_over(times),
        }
    }

    /// Ends all that the session waits for. What is still owed to the client is refused with `cause`.
    pub(crate) fn end(&mut self, cause: &str) {
        if let Phase::Connecting(origin) = std::mem::replace(&mut self.phase, Phase::Ended) {
            self.refuse(&origin, cause);
        }
        for (_, pending) in self.requests.take_all() {
            if let Some(origin) = pending.origin {
                self.refuse(&origin, cause);
            }
        }
        for origin in self.gatherings.take_all() {
            self.refuse(&origin, cause);
        }
        for waiter in std::mem::take(&mut self.waiters) {
            self.refuse(&waiter.origin, cause);
        }
        let threads = std::mem::take(&mut self.threads);
        for thread in threads.iter() {
            match &thread.state {
                // No task stands after the session's end, which is what `continue` asked for.
                State::Resuming(_, Resumption::Continue(Some(origin))) => {
                    self.reply(continue_answer(origin, false));
                }
                State::Resuming(_, Resumption::Step { held: Some(origin), .. })
                | State::Stepping { held: Some(origin), .. } => self.refuse(origin, cause),
                State::Resuming(..) | State::Stepping { .. } | State::Paused(_) | State::Running => {}
            }
        }
        self.arenas = Arenas::default();
    }

    pub(crate) fn reply(&mut self, response: ResponseMessage) {
        self.effects.push(Effect::ToClient(response.into()));
    }

    pub(crate) fn refuse(&mut self, origin: &Origin, cause: &str) {
        self.reply(ResponseMessage::err(origin.seq, origin.command.clone(), cause));
    }

    pub(crate) fn emit<E: dap::Event>(&mut self, body: &E::Body) {
        self.effects.push(Effect::ToClient(EventMessage::new::<E>(body).into()));
    }

    /// Says something about the session itself.
    pub(crate) fn console(&mut self, sentence: &str) {
        self.say(OutputEventCategory::Console, sentence);
    }

    /// Says something that the client should show at once.
    pub(crate) fn important(&mut self, sentence: &str) {
        self.say(OutputEventCategory::Important, sentence);
    }

    fn say(&mut self, category: OutputEventCategory, sentence: &str) {
        let output = format!("{sentence}\n");
        self.emit::<events::Output>(&OutputEventBody {
            category: Some(category),
            output,
            ..Default::default()
        });
    }

    pub(crate) fn log(&mut self, sentence: impl Into<String>) {
        self.effects.push(Effect::Log(sentence.into()));
    }

    pub(crate) fn target_name(&self, target: &TargetId) -> String {
        self.targets
            .get(target)
            .map_or_else(|| format!("target {}", target.short()), |known| known.description.clone())
    }

    /// Whether `arena` still lasts, for an answer that took its time.
    pub(crate) fn check_arena(&self, arena: Option<ArenaId>) -> Result<ArenaId, Refusal> {
        arena
            .filter(|arena| self.arenas.is_open(*arena))
            .ok_or_else(|| Refusal::from("the task has run on in the meantime"))
    }
}

/// The part of a request that is needed to answer it later.
pub(crate) fn origin(request: &RequestMessage) -> Origin {
    Origin { seq: request.seq, command: request.command.clone() }
}
