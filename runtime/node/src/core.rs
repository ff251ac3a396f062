//! What a node knows and decides, without clock and without I/O: events come in through the `on_*` functions, and what has to happen
//! is read from `Core::take_effects` afterwards.
//!
//! It must never wait, and never look at what a debug message means beyond the few fields that name a paused task or a build-id.

mod actors;
mod agents;
mod bundles;
mod debug;
mod debug_files;
mod drain;
mod drivers;
mod environments;
mod events;
mod explain;
mod fates;
mod jobs;
mod leases;
mod memory;
mod objects;
mod peers;
mod placing;
mod rooms;
mod sessions;
mod spill;
mod workers;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use manta_proto::{
    ids::{JobId, LeaseId, NodeId, ObjectId, ProcessId, TaskId},
    v1::{self, JobConfig, NodeToHead, NodeToProcess, node_to_head, node_to_process},
};

use crate::{
    devices::Devices,
    resources::{Budget, Resources},
};

pub use self::{
    debug_files::DebugFile,
    environments::{EnvironmentKey, Made},
    jobs::Attached,
    memory::Usage,
    objects::NotHere,
    rooms::RoomAsker,
    workers::Exit,
};

/// A question of a peer that its edge waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ReplyId(pub u64);

/// A question of ours to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// What a node is called and where it is found.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id.
    pub id: NodeId,
    /// Its name; given by the head.
    pub name: String,
    /// What it has.
    pub total: Resources,
    /// For placing tasks.
    pub labels: HashMap<String, String>,
    /// What `CUDA_VISIBLE_DEVICES` is for this node, when only some of the machine's GPUs are its own.
    pub visible_gpus: Option<String>,
    /// For welcomes.
    pub session_dir: String,
    /// For welcomes.
    pub object_dir: String,
    /// For welcomes.
    pub spill_dir: String,
    /// For welcomes.
    pub head_address: String,
}

/// A moment that the core asked for.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Timer {
    /// A worker had its time to start.
    WorkerStart(ProcessId),
    /// All targets had their time to take breakpoints.
    Config(u64),
    /// One new target had its time to take breakpoints.
    TargetConfig(ProcessId, u64),
    /// A lost session had its grace.
    Grace { loss: u64 },
    /// A task of a worker ran on a moment ago, and may have stopped again since.
    Resumed { worker: ProcessId, task: TaskId, times: u64 },
    /// A worker whose end somebody asks for had its time to end.
    Fate(ProcessId),
    /// A worker whose actor winds up had its time for that.
    WindUp(ProcessId),
    /// A worker above the number of CPUs had no work for a while.
    Idle(ProcessId),
    /// A worker whose connection ended had its time to end.
    Detached(ProcessId),
    /// Peers may be asked again.
    Spill,
    /// Processes may have unmapped objects.
    Room,
    /// What no node can run since one left had its time for the node to come back.
    Infeasible { pending: u64, since: u64 },
    /// A node that is being drained had its time.
    Drain,
    /// It had its time to have its objects taken over.
    Move,
    /// A target that lacks debug information hears how it is.
    DebugFile(ProcessId, DebugFile),
}

/// What the edge has to do.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// To a driver or worker on this machine.
    ToProcess(ProcessId, NodeToProcess),
    /// End the connection of a process.
    Close(ProcessId),
    /// To the head.
    ToHead(NodeToHead),
    /// Start a worker's process.
    StartWorker { worker: ProcessId, job: Box<JobConfig> },
    /// Make an environment; `on_environment_made` has the outcome.
    MakeEnvironment { key: EnvironmentKey, config: Box<JobConfig> },
    /// Start the driver of a submitted job.
    StartDriver {
        job: Box<v1::SubmittedJob>,
        sys_path: Vec<String>,
        working_dir: Option<String>,
        env: Vec<(String, String)>,
    },
    /// End the process group of such a driver.
    EndDriver(String),
    /// End a worker's process group.
    EndWorker(ProcessId),
    /// The same, at once and without mercy.
    KillWorker(ProcessId),
    /// Ask a peer for a lease.
    AskLease { ask: AskId, node: NodeId, address: String, request: Box<v1::LeaseRequest> },
    /// Give a lease of a peer back.
    ReturnLease { address: String, lease: LeaseId, node: NodeId, worker_unusable: bool, orderly: bool },
    /// The answer to `on_peer_lease`.
    AnswerLease(ReplyId, v1::LeaseReply),
    /// Ask a peer for the fate of its worker.
    AskFate { process: ProcessId, address: String, request: v1::WorkerFateRequest },
    /// The answer to `on_peer_fate`.
    AnswerFate(ReplyId, v1::WorkerFateReply),
    /// Call `on_timer` then.
    Timer(Timer, Duration),
    /// Start the debug agent of a native worker.
    StartAgent { worker: ProcessId, pid: u32, line: PathBuf },
    /// A DAP message for a debug agent.
    ToAgent(ProcessId, Bytes),
    /// Let a debug agent detach and end.
    StopAgent(ProcessId),
    /// Look for debug information on all nodes: `on_debug_file_found` hears of it.
    FindDebugFile { target: ProcessId, file: DebugFile },
    /// Fetch an object from the first of these peers that has it.
    Pull { object: ObjectId, addresses: Vec<String> },
    /// Have a peer take objects over and tell the others, or only the latter when there are none: `on_moved` hears of it.
    MoveObjects { heir: NodeId, address: String, objects: Vec<(ObjectId, JobId)>, others: Vec<String> },
    /// Tell a peer who left their objects to whom.
    TellMoved { address: String, moves: Vec<(NodeId, NodeId)> },
    /// Remove objects from the store.
    DeleteObjects(Vec<ObjectId>),
    /// Remove objects from the disk.
    DeleteSpilled(Vec<ObjectId>),
    /// Write an object of the store to disk too.
    SpillObject { object: ObjectId },
    /// Read an object from disk into the store.
    Restore { object: ObjectId, size: u64 },
    /// Take room in the store for somebody, if it is there: `on_room_taken` hears of it.
    TakeRoom { asker: RoomAsker, bytes: u64 },
    /// Give room back that was taken.
    GiveRoom(u64),
    /// The answer to `on_room_wanted` of an edge.
    AnswerRoom(ReplyId, bool),
    /// Find out what processes have mapped: `on_mapped` hears of it.
    FindMapped { missing: u64 },
    /// Tell all peers to remove objects.
    FreeOnPeers { addresses: Vec<String>, objects: Vec<ObjectId> },
    /// End this node: its workers first.
    Exit { cause: String },
}

/// The node's state.
pub struct Core {
    pub(crate) me: Identity,
    cluster_id: String,
    view: v1::ClusterView,
    peers: BTreeMap<NodeId, peers::Peer>,
    budget: Budget,
    gpus: Devices,
    bundles: bundles::Bundles,
    drivers: HashMap<ProcessId, jobs::Driver>,
    workers: HashMap<ProcessId, workers::Worker>,
    pools: HashMap<workers::PoolKey, workers::Pool>,
    ended_jobs: jobs::EndedJobs,
    leases: leases::Leases,
    fates: fates::Fates,
    objects: objects::Objects,
    rooms: rooms::Rooms,
    debug: debug::DebugPlane,
    actors: actors::Actors,
    environments: environments::Environments,
    submitted: drivers::Submitted,
    /// Why this node takes nothing new.
    draining: Option<String>,
    /// Who takes this node's objects over, as it leaves.
    moving: Option<drain::Moving>,
    memory: memory::Memory,
    counter: u64,
    sent_load: Option<v1::NodeLoad>,
    pub(crate) effects: Vec<Effect>,
}

impl Core {
    /// A node without processes.
    #[must_use]
    pub fn new(me: Identity) -> Self {
        let budget = Budget::new(me.total.clone());
        let gpus = Devices::new(&me.total, me.visible_gpus.as_deref());
        Self {
            me,
            cluster_id: String::new(),
            view: v1::ClusterView::default(),
            peers: BTreeMap::new(),
            budget,
            gpus,
            bundles: bundles::Bundles::default(),
            drivers: HashMap::new(),
            workers: HashMap::new(),
            pools: HashMap::new(),
            ended_jobs: jobs::EndedJobs::default(),
            leases: leases::Leases::default(),
            fates: fates::Fates::default(),
            objects: objects::Objects::default(),
            rooms: rooms::Rooms::default(),
            debug: debug::DebugPlane::default(),
            actors: actors::Actors::default(),
            environments: environments::Environments::default(),
            submitted: drivers::Submitted::default(),
            draining: None,
            moving: None,
            memory: memory::Memory::default(),
            counter: 0,
            sent_load: None,
            effects: Vec::new(),
        }
    }

    /// Takes what has to happen.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        mem::take(&mut self.effects)
    }

    /// An id that no other node makes: eight bytes of the node's own (random) id, and a counter.
    fn next_id(&mut self) -> [u8; 16] {
        self.counter += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.me.id.0[..8]);
        id[8..].copy_from_slice(&self.counter.to_be_bytes());
        id
    }

    fn tell_process(&mut self, process: ProcessId, message: node_to_process::Message) {
        self.effects.push(Effect::ToProcess(process, NodeToProcess { message: Some(message) }));
    }

    fn tell_head(&mut self, message: node_to_head::Message) {
        self.effects.push(Effect::ToHead(NodeToHead { message: Some(message) }));
    }

    /// Whether any driver or worker of the job is known here and its driver has not ended.
    fn job_ended(&self, job: JobId) -> bool {
        self.ended_jobs.contains(job)
    }

    /// What this node has free and does, for the head.
    #[must_use]
    pub fn load(&self) -> v1::NodeLoad {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        v1::NodeLoad {
            available: Some(self.budget.available().to_wire()),
            workers: count(self.workers.len()),
            running_tasks: count(self.leases.granted_here()),
            pending_leases: count(self.leases.pending()),
            total: Some(self.budget.total().to_wire()),
            draining: self.draining.is_some(),
            measures: Some(self.measures()),
        }
    }

    /// The load when it changed since the last call.
    pub fn changed_load(&mut self) -> Option<v1::NodeLoad> {
        // What the machine uses changes all the time; it travels with the heartbeat.
        let load =
            v1::NodeLoad { measures: self.sent_load.as_ref().and_then(|sent| sent.measures), ..self.load() };
        (self.sent_load.as_ref() != Some(&load)).then(|| {
            self.sent_load = Some(load.clone());
            load
        })
    }
}
