//! What the head knows and decides, without clock and without I/O: events come in through the `on_*` functions, and what has to
//! happen is read from `Core::effects` afterwards.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
};

use manta_proto::{
    ids::{JobId, NodeId, ProcessId},
    v1::{
        self, ClusterView, DebugConfig, HeadToNode, HeadToSession, JobStatus, NodeInfo, NodeLoad, NodeStatus,
        NodeToHead, NodeView, Resources, head_to_node, head_to_session, node_to_head,
    },
    version_conflict,
};

use crate::{
    durable::{Key, Memory, Returned},
    placement_groups::PlacementGroups,
    sessions::Session,
    tasks::{TASKS_KEPT_MAX, TaskTable},
};

/// One accepted connection, so that the late end of an old connection is not taken for the end of its successor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// Nodes of a cluster.
const NODES_MAX: usize = 10_000;
/// Jobs that ended and are still shown by `manta status`.
const ENDED_JOBS_MAX: usize = 100;
/// Nodes that were lost and are still listed.
const LOST_NODES_MAX: usize = 100;

/// What the edge has to do.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// To the node behind this link.
    ToNode(LinkId, HeadToNode),
    /// To the session behind this link.
    ToSession(LinkId, HeadToSession),
    /// Call `on_view_timer` in a moment (views are sent at most that often).
    ViewTimer,
    /// Call `on_grace_over` after `grace_ms`.
    GraceTimer { loss: u64, grace_ms: u32 },
    /// Call `on_group_timer` after `ms`.
    GroupTimer { group: Vec<u8>, since: u64, ms: u64 },
    /// End the process once the nodes are gone.
    Exit,
}

pub(crate) struct Node {
    pub link: LinkId,
    pub info: NodeInfo,
    pub load: NodeLoad,
}

pub(crate) struct Job {
    pub node: NodeId,
    pub status: JobStatus,
    pub packages: Vec<String>,
}

/// The head's state.
pub struct Core {
    /// The caller's clock, set before each event.
    pub(crate) now_unix_ms: u64,
    pub(crate) cluster_id: String,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) names_given: u32,
    pub(crate) jobs: HashMap<JobId, Job>,
    pub(crate) ended_jobs: Vec<JobStatus>,
    pub(crate) targets: HashMap<ProcessId, (NodeId, v1::TargetUp)>,
    pub(crate) session: Option<Session>,
    pub(crate) config: Option<DebugConfig>,
    pub(crate) tasks: TaskTable,
    pub(crate) lost_nodes: VecDeque<NodeInfo>,
    pub(crate) groups: PlacementGroups,
    view_timer_runs: bool,
    /// What is to be written down.
    pub(crate) memory: Memory,
    /// How often a session was lost.
    pub(crate) losses: u64,
    pub(crate) actors: crate::actors::Actors,
    pub(crate) submitted: crate::submitted::SubmittedJobs,
    pub(crate) user_metrics: crate::user_metrics::UserMetrics,
    pub(crate) effects: Vec<Effect>,
}

impl Core {
    pub fn new(cluster_id: String) -> Self {
        Self {
            now_unix_ms: 0,
            cluster_id,
            nodes: BTreeMap::new(),
            names_given: 0,
            jobs: HashMap::new(),
            ended_jobs: Vec::new(),
            targets: HashMap::new(),
            session: None,
            config: None,
            tasks: TaskTable::new(TASKS_KEPT_MAX),
            lost_nodes: VecDeque::new(),
            groups: PlacementGroups::default(),
            view_timer_runs: false,
            memory: Memory::default(),
            losses: 0,
            actors: crate::actors::Actors::default(),
            submitted: crate::submitted::SubmittedJobs::default(),
            user_metrics: crate::user_metrics::UserMetrics::default(),
            effects: Vec::new(),
        }
    }

    /// Takes what has to happen.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        mem::take(&mut self.effects)
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// A node's first message. The answer goes down as the link's first message.
    pub fn on_node_register(&mut self, link: LinkId, register: v1::NodeRegister) -> Result<NodeId, String> {
        if let Some(conflict) = version_conflict("the node that wants to join", register.protocol_version) {
            return Err(conflict);
        }
        let returned = Returned::of(&register);
        let mut info = register.info.ok_or("the node that wants to join sent nothing about itself")?;
        let id = NodeId::try_from(&info.node_id).map_err(|error| error.to_string())?;
        if self.nodes.contains_key(&id) {
            // Its old connection is half open: the node itself knows best.
            self.forget_node(id, "its node connected again");
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(format!("the cluster has {NODES_MAX} nodes already, which is the most it takes"));
        }
        let awaited = self.memory.awaited.remove(&id);
        if let Some(known) = &awaited {
            info.name.clone_from(&known.name);
        }
        if info.name.is_empty() || self.nodes.values().any(|node| node.info.name == info.name) {
            self.names_given += 1;
            info.name = format!("node-{}", self.names_given);
            self.mark(Key::Cluster);
        }
        let load = NodeLoad { available: info.total.clone(), ..NodeLoad::default() };
        let name = info.name.clone();
        self.nodes.insert(id, Node { link, info, load });
        self.mark(Key::Node(id));
        let registered = v1::NodeRegistered {
            cluster_id: self.cluster_id.clone(),
            name,
            view: Some(self.view()),
            config: self.config.clone(),
        };
        self.effects.push(Effect::ToNode(link, down(head_to_node::Message::Registered(registered))));
        if awaited.is_some() {
            self.on_node_returned(id, &returned);
        }
        self.send_views(Some(link));
        self.review_hopeless_groups();
        self.tell_hopeless_groups(id);
        self.place_groups();
        self.place_drivers();
        Ok(id)
    }

    /// Everything that a node says after its registration.
    pub fn on_node_message(&mut self, from: NodeId, message: NodeToHead) {
        use node_to_head::Message;
        match message.message {
            Some(Message::Load(load)) => self.on_load(from, load),
            Some(Message::JobStarted(job)) => self.on_job_started(from, job),
            Some(Message::JobEnded(job)) => self.on_job_ended(job),
            Some(Message::TargetUp(target)) => {
                if let Ok(id) = ProcessId::try_from(&target.target_id) {
                    self.targets.insert(id, (from, target.clone()));
                    self.tell_session(head_to_session::Message::TargetUp(target));
                }
            }
            Some(Message::TargetDown(target)) => {
                if let Ok(id) = ProcessId::try_from(&target.target_id) {
                    self.targets.remove(&id);
                    self.tasks.on_process_ended(id);
                    self.user_metrics.on_process_ended(&target.target_id);
                    self.tell_session(head_to_session::Message::TargetDown(target));
                }
            }
            Some(Message::FromTarget(message)) => {
                self.tell_session(head_to_session::Message::FromTarget(message));
            }
            Some(Message::ConfigAck(ack)) => self.on_config_ack(ack),
            Some(Message::TaskEnded(ended)) => self.tell_session(head_to_session::Message::TaskEnded(ended)),
            Some(Message::Output(output)) => self.on_output(from, output),
            Some(Message::BundlesReserved(answer)) => self.on_bundles_reserved(from, &answer),
            Some(Message::TaskEvents(batch)) => self.on_task_events(batch),
            Some(Message::RegisterActor(request)) => self.on_register_actor(from, request),
            Some(Message::GetActor(request)) => self.on_get_actor(from, request),
            Some(Message::ActorUpdate(state)) => self.on_actor_update(state),
            Some(Message::ActorListed(entry)) => self.on_actor_listed(from, entry),
            Some(Message::ActorWorkerEnded(ended)) => self.on_actor_worker_ended(ended),
            Some(Message::DriverUpdate(update)) => self.on_driver_update(from, update),
            Some(Message::UserMetrics(report)) => self.user_metrics.on_report(from, report),
            // The edge has passed it on.
            Some(Message::NodeAnswer(_)) => {}
            Some(Message::OwnerEnded(ended)) => self.on_owner_ended(&ended.process_id),
            // A second registration, or a message of a newer node: neither changes anything here.
            Some(Message::Register(_)) | None => {}
        }
    }

    /// The node's connection ended.
    pub fn on_node_lost(&mut self, link: LinkId) {
        let Some(id) = self.nodes.iter().find(|(_, node)| node.link == link).map(|(id, _)| *id) else {
            return;
        };
        self.forget_node(id, "its node was lost");
        self.send_views(None);
    }

    fn forget_node(&mut self, id: NodeId, cause: &str) {
        let Some(node) = self.nodes.remove(&id) else { return };
        self.on_node_gone(id, node.info, cause);
    }

    /// All that a node had is gone.
    pub(crate) fn on_node_gone(&mut self, id: NodeId, info: NodeInfo, cause: &str) {
        self.mark(Key::Node(id));
        let mut gone: Vec<_> =
            self.targets.iter().filter(|(_, (on, _))| *on == id).map(|(target, _)| *target).collect();
        gone.sort_unstable();
        for target in gone {
            self.targets.remove(&target);
            self.tasks.on_process_ended(target);
            let cause = format!("{cause} ({})", info.name);
            let down = v1::TargetDown { target_id: target.to_bytes(), cause };
            self.tell_session(head_to_session::Message::TargetDown(down));
        }
        let cause_of_actors = format!("{}: {cause}", info.name);
        self.on_node_of_actors_lost(id, &cause_of_actors);
        let mut jobs: Vec<_> =
            self.jobs.iter().filter(|(_, job)| job.node == id).map(|(job, _)| *job).collect();
        jobs.sort_unstable();
        for job in jobs {
            let cause = format!("the node of its driver, {}, was lost", info.name);
            self.on_job_ended(v1::JobEnded { job_id: job.to_bytes(), cause });
        }
        self.on_node_of_groups_lost(id);
        self.on_node_of_drivers_lost(id, &info.name);
        self.user_metrics.on_node_lost(id);
        if self.lost_nodes.len() == LOST_NODES_MAX {
            self.lost_nodes.pop_front();
        }
        self.lost_nodes.push_back(info);
    }

    fn on_load(&mut self, from: NodeId, load: NodeLoad) {
        let Some(node) = self.nodes.get_mut(&from) else { return };
        let more = load.total.is_some() && node.info.total != load.total;
        if more {
            node.info.total.clone_from(&load.total);
        }
        let changed = more || node.load.available != load.available || node.load.draining != load.draining;
        node.load = load;
        if changed && !self.view_timer_runs {
            self.view_timer_runs = true;
            self.effects.push(Effect::ViewTimer);
        }
        if more {
            self.review_hopeless_groups();
        }
        self.place_groups();
    }

    /// The moment after a change of load is over.
    pub fn on_view_timer(&mut self) {
        self.view_timer_runs = false;
        let view = self.view();
        for node in self.nodes.values() {
            self.effects.push(Effect::ToNode(node.link, down(head_to_node::Message::View(view.clone()))));
        }
    }

    fn on_job_started(&mut self, from: NodeId, job: v1::JobStarted) {
        let Ok(id) = JobId::try_from(&job.job_id) else { return };
        let status = JobStatus {
            job_id: job.job_id.clone(),
            name: job.name.clone(),
            driver_pid: job.driver_pid,
            node_id: from.to_bytes(),
            running: true,
            started_unix_ms: job.started_unix_ms,
            submission_id: job.submission_id.clone(),
            ended_unix_ms: 0,
        };
        self.on_submitted_driver_joined(&job.submission_id, &job.job_id);
        self.jobs.insert(id, Job { node: from, status, packages: job.packages.clone() });
        self.mark(Key::Job(id));
        self.tell_session(head_to_session::Message::JobStarted(job));
        self.review_hopeless_groups();
    }

    pub(crate) fn on_job_ended(&mut self, ended: v1::JobEnded) {
        let Ok(id) = JobId::try_from(&ended.job_id) else { return };
        let Some(mut job) = self.jobs.remove(&id) else { return };
        job.status.running = false;
        job.status.ended_unix_ms = self.now_unix_ms;
        self.mark(Key::Job(id));
        self.tasks.on_job_ended(id);
        if self.ended_jobs.len() == ENDED_JOBS_MAX
            && let Ok(oldest) = JobId::try_from(&self.ended_jobs.remove(0).job_id)
        {
            self.mark(Key::Job(oldest));
        }
        self.ended_jobs.push(job.status);
        for node in self.nodes.values() {
            self.effects
                .push(Effect::ToNode(node.link, down(head_to_node::Message::JobEnded(ended.clone()))));
        }
        self.tell_session(head_to_session::Message::JobEnded(ended));
        self.on_job_of_groups_ended(id);
    }

    /// The packages that jobs with a driver have named.
    pub(crate) fn job_packages(&self) -> impl Iterator<Item = String> {
        self.jobs.values().flat_map(|job| job.packages.iter().cloned())
    }

    /// The nodes that are meant by ids, their beginnings, or names; all of them by nothing.
    ///
    /// # Errors
    /// When a name means no node.
    pub(crate) fn find_nodes(&self, names: &[String]) -> Result<Vec<(NodeId, LinkId, String)>, String> {
        let found = |(id, node): (&NodeId, &Node)| (*id, node.link, node.info.name.clone());
        if names.is_empty() {
            return Ok(self.nodes.iter().map(found).collect());
        }
        let mut nodes = Vec::new();
        for name in names {
            let meant = |(id, node): &(&NodeId, &Node)| {
                node.info.name == *name || (name.len() >= 4 && id.to_string().starts_with(&**name))
            };
            let matching: Vec<_> = self.nodes.iter().filter(meant).map(found).collect();
            match matching.len() {
                0 => return Err(format!("the cluster has no node '{name}'; see 'manta list nodes'")),
                1 => nodes.extend(matching),
                _ => return Err(format!("'{name}' is the beginning of several nodes' ids; give more of it")),
            }
        }
        Ok(nodes)
    }

    pub(crate) fn is_running(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    pub(crate) fn job_runs(&self, job_id: &[u8]) -> bool {
        JobId::try_from(job_id).is_ok_and(|id| self.jobs.contains_key(&id))
    }

    pub(crate) fn on_output(&mut self, from: NodeId, output: v1::TaskOutput) {
        // The node of the driver has already given it to the driver when it comes from there.
        let driver_node =
            JobId::try_from(&output.job_id).ok().and_then(|job| self.jobs.get(&job)).map(|job| job.node);
        if let Some(node) = driver_node.filter(|node| *node != from).and_then(|node| self.nodes.get(&node)) {
            self.effects.push(Effect::ToNode(node.link, down(head_to_node::Message::Output(output.clone()))));
        }
        self.tell_session(head_to_session::Message::Output(output));
    }

    /// Somebody wants a node to be emptied and to leave.
    ///
    /// # Errors
    /// When there is no such node.
    pub(crate) fn on_drain_node(&mut self, request: &v1::DrainNodeRequest) -> Result<String, String> {
        let nodes = self.find_nodes(std::slice::from_ref(&request.node))?;
        let Some((_, link, name)) = nodes.into_iter().next() else {
            return Err("a node is named by its id, the beginning of it, or its name".to_owned());
        };
        let drain = v1::Drain { reason: request.reason.clone(), deadline_ms: request.deadline_ms };
        self.effects.push(Effect::ToNode(link, down(head_to_node::Message::Drain(drain))));
        let end = match request.deadline_ms {
            0 => "when what it runs has ended".to_owned(),
            limit => format!("when what it runs has ended, or after {} s", limit.div_ceil(1000)),
        };
        Ok(format!("{name} takes nothing new, and leaves the cluster {end}"))
    }

    /// `manta stop`. Answers with the number of nodes that were told.
    pub fn on_shutdown(&mut self, cause: &str) -> u32 {
        for node in self.nodes.values() {
            let shutdown = v1::Shutdown { cause: cause.to_owned() };
            self.effects.push(Effect::ToNode(node.link, down(head_to_node::Message::Shutdown(shutdown))));
        }
        self.effects.push(Effect::Exit);
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    /// The cluster for `manta status`; the edge adds what only it knows.
    pub fn status(&self) -> v1::GetStatusResponse {
        let nodes = self.nodes.values().map(|node| NodeStatus {
            info: Some(node.info.clone()),
            available: node.load.available.clone(),
            workers: node.load.workers,
            running_tasks: node.load.running_tasks,
            pending_leases: node.load.pending_leases,
            alive: true,
        });
        let mut jobs: Vec<_> = self.jobs.values().map(|job| job.status.clone()).collect();
        jobs.extend(self.ended_jobs.iter().cloned());
        jobs.sort_by_key(|job| job.started_unix_ms);
        v1::GetStatusResponse {
            cluster_id: self.cluster_id.clone(),
            version: manta_proto::VERSION.to_owned(),
            uptime_seconds: 0,
            nodes: nodes.collect(),
            jobs,
            sessions: self.session_status(),
        }
    }

    pub(crate) fn running_jobs(&self) -> Vec<v1::JobStarted> {
        let started = |job: &Job| v1::JobStarted {
            job_id: job.status.job_id.clone(),
            name: job.status.name.clone(),
            driver_pid: job.status.driver_pid,
            started_unix_ms: job.status.started_unix_ms,
            submission_id: job.status.submission_id.clone(),
            packages: job.packages.clone(),
        };
        let mut jobs: Vec<_> = self.jobs.values().map(started).collect();
        jobs.sort_by_key(|job| job.started_unix_ms);
        jobs
    }

    pub(crate) fn view(&self) -> ClusterView {
        let nodes = self.nodes.values().map(|node| NodeView {
            info: Some(node.info.clone()),
            // A node that is being drained is no place for anything new.
            available: Some(if node.load.draining {
                Resources::default()
            } else {
                node.load.available.clone().unwrap_or_default()
            }),
        });
        ClusterView { nodes: nodes.collect() }
    }

    /// Nodes joined or left: everybody learns it at once.
    fn send_views(&mut self, except: Option<LinkId>) {
        let view = self.view();
        for node in self.nodes.values().filter(|node| Some(node.link) != except) {
            self.effects.push(Effect::ToNode(node.link, down(head_to_node::Message::View(view.clone()))));
        }
        self.tell_session(head_to_session::Message::View(view));
    }

    pub(crate) fn tell_nodes(&mut self, message: &head_to_node::Message) {
        for node in self.nodes.values() {
            self.effects.push(Effect::ToNode(node.link, down(message.clone())));
        }
    }
}

pub(crate) fn down(message: head_to_node::Message) -> HeadToNode {
    HeadToNode { message: Some(message) }
}
