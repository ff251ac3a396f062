//! The simulation: processes, their connections, and a node with slots.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_proto::{
    ids::{JobId, LeaseId, NodeId, ObjectId, ProcessId, TaskId},
    token::Token,
    v1::{
        ClusterView, JobConfig, LeaseGrant, LeaseReply, LeaseReturn, NodeInfo, NodeToProcess, NodeView,
        PeerMessage, Pulled, Resources, SlotAssigned, SlotReleased, StoreLocation, TaskSpec, Value,
        WorkerFateReply, lease_reply, node_to_process, process_to_node, value,
    },
};
use prost::Message;

use super::super::{ClassKey, ConnId, Effect, Identity, NewArgument, Popped, State, Submission};
use crate::{Language, object_ref::RefAddress};

const NODE: NodeId = NodeId([9; 16]);

/// A process by its place in the simulation: 0 is the driver.
pub type Who = usize;

pub struct Process {
    pub state: State,
    pub alive: bool,
    /// The other end of each connection.
    peers: BTreeMap<ConnId, (Who, Option<ConnId>)>,
}

/// A lease that the node has granted.
struct Granted {
    owner: Who,
    worker: Who,
}

pub struct Sim {
    pub processes: Vec<Process>,
    pub now: Instant,
    /// Lease requests that wait for a free worker.
    waiting: VecDeque<(Who, u64)>,
    idle: Vec<Who>,
    leases: BTreeMap<LeaseId, Granted>,
    /// CPUs that blocked leases have given back.
    pub blocked: usize,
    pub freed: Vec<ObjectId>,
    pub pulls: Vec<ObjectId>,
    pub pull_error: String,
    pub refuse: Option<String>,
    /// So many connections are not taken.
    pub dead_on_arrival: usize,
}

impl Sim {
    /// A driver, and workers with one slot each.
    pub fn new(workers: usize) -> Self {
        let now = Instant::now();
        let view = view(workers);
        let processes = (0..=workers).map(|_| Process {
            state: state(view.clone(), now),
            alive: true,
            peers: BTreeMap::new(),
        });
        Self {
            processes: processes.collect(),
            now,
            waiting: VecDeque::new(),
            idle: (1..=workers).collect(),
            leases: BTreeMap::new(),
            blocked: 0,
            freed: Vec::new(),
            pulls: Vec::new(),
            pull_error: String::new(),
            refuse: None,
            dead_on_arrival: 0,
        }
    }

    pub fn state(&mut self, who: Who) -> &mut State {
        let state = &mut self.processes[who].state;
        state.now = self.now;
        state
    }

    /// Lets everything happen that needs no time.
    pub fn settle(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for who in 0..self.processes.len() {
                let mut effects = Vec::new();
                self.state(who).take_effects(&mut effects);
                quiet &= effects.is_empty();
                for effect in effects {
                    if self.processes[who].alive {
                        self.carry_out(who, effect);
                    }
                }
            }
        }
    }

    /// Lets time pass, timer by timer.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let next = self
                .processes
                .iter()
                .filter(|process| process.alive)
                .filter_map(|process| process.state.next_timer())
                .min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            for who in 0..self.processes.len() {
                if self.processes[who].state.next_timer().is_some_and(|timer| timer <= self.now) {
                    self.state(who).on_timer();
                }
            }
        }
        self.now = end;
        self.settle();
    }

    fn find(&self, process: ProcessId) -> Option<Who> {
        self.processes.iter().position(|other| other.alive && other.state.me.process == process)
    }

    fn carry_out(&mut self, who: Who, effect: Effect) {
        match effect {
            Effect::Dial { conn, .. } if self.dead_on_arrival > 0 => {
                self.dead_on_arrival -= 1;
                self.state(who).on_conn_lost(conn, "nobody is there");
            }
            Effect::Dial { conn, process, .. } => match self.find(process) {
                Some(peer) => {
                    let theirs = self.state(peer).on_accepted();
                    self.processes[who].peers.insert(conn, (peer, Some(theirs)));
                    self.processes[peer].peers.insert(theirs, (who, Some(conn)));
                }
                None => self.state(who).on_conn_lost(conn, "nobody is there"),
            },
            Effect::Send { conn, message } => self.deliver(who, conn, PeerMessage { message: Some(message) }),
            Effect::Push { conn, task, lease, attempt, arguments, .. } => {
                let mut spec = TaskSpec::decode(task).unwrap();
                spec.merge(
                    &TaskSpec { lease_id: lease.to_bytes(), attempt, arguments, ..TaskSpec::default() }
                        .encode_to_vec()[..],
                )
                .unwrap();
                self.deliver(
                    who,
                    conn,
                    PeerMessage { message: Some(manta_proto::v1::peer_message::Message::Push(spec)) },
                );
            }
            Effect::Close { conn } => self.disconnect(who, conn),
            Effect::ToNode(message) => self.node(who, message),
            Effect::Call(call) => call(),
            Effect::FreeAt { objects, .. } => self.freed.extend(objects),
            Effect::Debug(_) | Effect::AllowTracer(_) => {}
        }
    }

    fn deliver(&mut self, who: Who, conn: ConnId, message: PeerMessage) {
        let Some(&(peer, Some(theirs))) = self.processes[who].peers.get(&conn) else { return };
        if self.processes[peer].alive {
            self.state(peer).on_message(theirs, message);
        }
    }

    fn disconnect(&mut self, who: Who, conn: ConnId) {
        if let Some((peer, Some(theirs))) = self.processes[who].peers.remove(&conn) {
            self.processes[peer].peers.remove(&theirs);
            if self.processes[peer].alive {
                self.state(peer).on_conn_lost(theirs, "it ended");
            }
        }
    }

    /// kill -9.
    pub fn kill(&mut self, who: Who) {
        self.processes[who].alive = false;
        self.idle.retain(|idle| *idle != who);
        self.leases.retain(|_, lease| lease.worker != who && lease.owner != who);
        for conn in self.processes[who].peers.keys().copied().collect::<Vec<_>>() {
            self.disconnect(who, conn);
        }
        self.settle();
    }

    pub fn tell(&mut self, who: Who, message: node_to_process::Message) {
        let output = self.state(who).on_node_message(NodeToProcess { message: Some(message) });
        assert!(output.is_none());
    }

    fn node(&mut self, who: Who, message: process_to_node::Message) {
        match message {
            process_to_node::Message::RequestLease(request) => match self.refuse.clone() {
                Some(sentence) => self.reply(who, request.request_id, lease_reply::Result::Refused(sentence)),
                None => self.waiting.push_back((who, request.request_id)),
            },
            process_to_node::Message::CancelLease(cancel) => {
                self.waiting.retain(|waiting| *waiting != (who, cancel.request_id));
            }
            process_to_node::Message::ReturnLease(LeaseReturn { lease_id, .. }) => {
                let lease = self
                    .leases
                    .remove(&LeaseId::try_from(&lease_id).unwrap())
                    .expect("a lease is returned once");
                self.tell(lease.worker, node_to_process::Message::SlotReleased(SlotReleased { lease_id }));
                self.idle.push(lease.worker);
            }
            process_to_node::Message::Blocked(blocked) => {
                if blocked.blocked {
                    self.blocked += 1;
                } else {
                    self.blocked -= 1;
                }
            }
            process_to_node::Message::Fate(fate) => {
                let reply = WorkerFateReply {
                    request_id: fate.request_id,
                    sentence: "worker 4711 on node-1 was killed by signal 9 (SIGKILL)".into(),
                    ..WorkerFateReply::default()
                };
                self.tell(who, node_to_process::Message::Fate(reply));
            }
            process_to_node::Message::Pull(pull) => {
                self.pulls.push(ObjectId::try_from(&pull.object_id).unwrap());
                let pulled = Pulled { request_id: pull.request_id, error: self.pull_error.clone(), size: 0 };
                self.tell(who, node_to_process::Message::Pulled(pulled));
            }
            process_to_node::Message::Free(free) => {
                self.freed.extend(free.object_ids.iter().map(|id| ObjectId::try_from(id).unwrap()));
            }
            _ => {}
        }
        self.grant();
    }

    fn grant(&mut self) {
        while let (Some(&worker), false) = (self.idle.first(), self.waiting.is_empty()) {
            let Some((owner, request)) = self.waiting.pop_front() else { break };
            self.idle.remove(0);
            let lease = LeaseId::random();
            self.leases.insert(lease, Granted { owner, worker });
            let (owner_id, worker_id) =
                (self.processes[owner].state.me.process, self.processes[worker].state.me.process);
            let assigned =
                SlotAssigned { lease_id: lease.to_bytes(), owner_id: owner_id.to_bytes(), slot: 0 };
            self.tell(worker, node_to_process::Message::Slot(assigned));
            let grant = LeaseGrant {
                lease_id: lease.to_bytes(),
                worker_id: worker_id.to_bytes(),
                node_id: NODE.to_bytes(),
                ..LeaseGrant::default()
            };
            self.reply(owner, request, lease_reply::Result::Granted(grant));
        }
    }

    fn reply(&mut self, who: Who, request_id: u64, result: lease_reply::Result) {
        self.tell(who, node_to_process::Message::Lease(LeaseReply { request_id, result: Some(result) }));
    }

    /// Submits a task of one result; the ref is counted once.
    pub fn submit(&mut self, who: Who, name: &str, arguments: &[ObjectId], max_retries: u32) -> ObjectId {
        let id = TaskId::random();
        let state = self.state(who);
        let address = |object| RefAddress { object, ..state.own_address(object) };
        let arguments: Vec<_> = arguments
            .iter()
            .map(|object| NewArgument::Ref { keyword: String::new(), address: address(*object) })
            .collect();
        let spec =
            TaskSpec { task_id: id.to_bytes(), name: name.into(), num_returns: 1, ..TaskSpec::default() };
        state.on_submit(Submission {
            id,
            key: ClassKey { language: Language::Rust, resources: [("CPU".into(), 10_000)].into(), placement: crate::Placement::default() },
            function: None,
            name: name.into(),
            encoded: spec.encode_to_vec().into(),
            arguments,
            stored: Vec::new(),
            contained: Vec::new(),
            num_returns: 1,
            max_retries,
            retry_exceptions: false,
        });
        ObjectId::of(id, 0)
    }

    /// The task that a worker's thread takes, if one is there.
    pub fn take(&mut self, worker: Who) -> Option<TaskSpec> {
        self.settle();
        match self.state(worker).pop_task(0) {
            Popped::Task(spec) => Some(*spec),
            Popped::Wait(_) => None,
            Popped::Exit(cause) => panic!("the worker was told to end: {cause}"),
        }
    }

    pub fn finish(&mut self, worker: Who, task: &TaskSpec, value: Value) {
        let failed = super::super::objects::is_error(&value);
        self.state(worker).on_finished(0, TaskId::try_from(&task.task_id).unwrap(), vec![value], failed);
        self.settle();
    }

    /// Runs tasks until no worker has one; each takes `time`. Says which worker ran which task.
    pub fn run_all(&mut self, time: Duration) -> Vec<(Who, String)> {
        let mut ran = Vec::new();
        loop {
            let workers: Vec<Who> =
                (1..self.processes.len()).filter(|worker| self.processes[*worker].alive).collect();
            let taken: Vec<_> =
                workers.into_iter().filter_map(|worker| Some((worker, self.take(worker)?))).collect();
            if taken.is_empty() {
                return ran;
            }
            self.pass(time);
            for (worker, spec) in taken {
                ran.push((worker, spec.name.clone()));
                self.finish(worker, &spec, inline(spec.name.as_bytes()));
            }
        }
    }

    pub fn value(&mut self, who: Who, object: ObjectId) -> Option<Value> {
        self.settle();
        self.state(who).value(object)
    }

    /// Drops refs, lets idle leases go back, and sees that nothing stayed behind anywhere.
    pub fn assert_empty(&mut self, who: Who, refs: &[ObjectId]) {
        for object in refs {
            self.state(who).on_ref_dropped(*object);
        }
        self.pass(Duration::from_secs(1));
        for (who, process) in self.processes.iter().enumerate().filter(|(_, process)| process.alive) {
            assert_eq!(process.state.leftovers(), Vec::<String>::new(), "process {who}");
        }
        assert!(self.leases.is_empty(), "{} leases were not returned", self.leases.len());
        assert!(self.waiting.is_empty(), "{} lease requests were not cancelled", self.waiting.len());
        assert_eq!(self.blocked, 0, "leases stayed blocked");
    }
}

fn state(view: ClusterView, now: Instant) -> State {
    let me = Identity {
        process: ProcessId::random(),
        node: NODE,
        node_name: "node-1".into(),
        session_dir: "/session".into(),
        peer_dir: "/session/node".into(),
        head_address: "127.0.0.1:1".into(),
        token: Token::new("token", "test").unwrap(),
    };
    let job = JobConfig { job_id: JobId([1; 16]).to_bytes(), ..JobConfig::default() };
    State::new(me, Some(job), view, now)
}

fn view(cpus: usize) -> ClusterView {
    let total = Resources { amounts: [("CPU".to_owned(), cpus as u64 * 10_000)].into() };
    let info = NodeInfo { node_id: NODE.to_bytes(), total: Some(total), ..NodeInfo::default() };
    ClusterView { nodes: vec![NodeView { info: Some(info), available: None }] }
}

pub fn inline(data: &[u8]) -> Value {
    Value {
        format: value::Format::Raw as i32,
        data: Bytes::copy_from_slice(data),
        contained: Vec::new(),
        in_store: None,
    }
}

/// A value in the store of a node.
pub fn stored(object: ObjectId, node: NodeId) -> Value {
    let location = StoreLocation { object_id: object.to_bytes(), size: 1, node_ids: vec![node.to_bytes()] };
    Value { in_store: Some(location), ..inline(b"") }
}

pub fn message(value: Option<&Value>) -> String {
    crate::SystemError::decode(&value.expect("the value is there").data[16..]).message
}
