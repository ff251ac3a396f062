//! The simulation: processes, their connections, and a node with slots.

mod node;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_proto::{
    ids::{JobId, NodeId, ObjectId, ProcessId, TaskId},
    token::Token,
    v1::{
        ClusterView, JobConfig, NodeInfo, NodeToProcess, NodeView, PeerMessage, Resources, StoreLocation,
        TaskSpec, Value, node_to_process, peer_message, process_to_node, value,
    },
};
use prost::Message;

use super::super::{
    Appended, Awaited, ClassKey, ClassOf, ConnId, Effect, EncodedTask, Front, Identity, Left, NewArgument,
    Popped, Range, SeriesId, SeriesTemplate, State, Stretch, Submission, Wait,
};
use crate::{Format, Language, NewValue};

/// The objects as threads wait for them: what follows each other in a series together.
pub fn awaited(objects: &[ObjectId]) -> Vec<Awaited> {
    let mut awaited: Vec<Awaited> = Vec::new();
    for object in objects {
        let (series, first) = SeriesId::of(object.task());
        match awaited.last_mut() {
            _ if object.index() != 0 => awaited.push(Awaited::One(*object)),
            Some(Awaited::Range(range)) if range.series == series && range.end == first => range.end += 1,
            _ => awaited.push(Awaited::Range(Range { series, first, end: first + 1 })),
        }
    }
    // One is as good by itself.
    let alone = |awaited| match awaited {
        Awaited::Range(range) if range.len() == 1 => {
            Awaited::One(ObjectId::of(range.series.task(range.first), 0))
        }
        more => more,
    };
    let all: Vec<_> = awaited.into_iter().map(alone).collect();
    assert_eq!(all.iter().flat_map(|awaited| awaited.objects()).collect::<Vec<_>>(), objects);
    all
}

const NODE: NodeId = NodeId([9; 16]);

/// A process by its place in the simulation: 0 is the driver.
pub type Who = usize;

pub struct Process {
    pub state: State,
    pub alive: bool,
    /// What its thread works off.
    stretch: Option<Arc<Stretch>>,
    /// The series that its next task joins.
    series: Option<(SeriesId, Arc<Front>)>,
    /// The other end of each connection.
    peers: BTreeMap<ConnId, (Who, ConnId)>,
}

/// What keeps its order on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wire {
    ToNode(Who),
    FromNode(Who),
    /// From one end of a connection to the other.
    Peer(Who, ConnId),
}

enum Delivery {
    ToNode(process_to_node::Message),
    FromNode(node_to_process::Message),
    Message(Who, ConnId, PeerMessage),
    Lost(Who, ConnId),
}

/// Random numbers that a seed repeats.
pub struct Random(pub u64);

impl Random {
    /// From 0 up to and without `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        // The generator of Knuth's MMIX; its high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

pub struct Sim {
    pub processes: Vec<Process>,
    pub now: Instant,
    wires: BTreeMap<Wire, VecDeque<Delivery>>,
    /// Makes messages of different wires overtake each other.
    pub random: Option<Random>,
    node: node::Node,
    pub freed: Vec<ObjectId>,
    pub pulls: Vec<ObjectId>,
    /// Tasks whose end a worker has told because they had been paused.
    pub ended: Vec<Bytes>,
    /// Tasks whose thread is to be interrupted, and in which process.
    pub interrupted: Vec<(Who, TaskId)>,
    /// What processes tell their users.
    pub said: Vec<(Who, String)>,
    pub pull_error: String,
    /// Whether what cannot be pulled has no room here, and is not lost.
    pub disk_full: bool,
    pub refuse: Option<String>,
    /// Whether the node starts a worker for each CPU that a blocked lease gives back.
    pub start_workers: bool,
    /// Whether the node ends workers that come back as unusable, and starts others.
    pub ends_workers: bool,
    /// Whether what lies on another node may be lost.
    pub loses: bool,
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
            stretch: None,
            series: None,
            peers: BTreeMap::new(),
        });
        Self {
            processes: processes.collect(),
            now,
            wires: BTreeMap::new(),
            random: None,
            node: node::Node::new(workers),
            freed: Vec::new(),
            pulls: Vec::new(),
            ended: Vec::new(),
            interrupted: Vec::new(),
            said: Vec::new(),
            pull_error: String::new(),
            disk_full: false,
            refuse: None,
            start_workers: false,
            ends_workers: false,
            loses: false,
            dead_on_arrival: 0,
        }
    }

    pub fn state(&mut self, who: Who) -> &mut State {
        let state = &mut self.processes[who].state;
        state.now = self.now;
        state
    }

    /// Has the driver find out that nobody has an object any more.
    pub fn lose(&mut self, object: ObjectId) {
        self.pull_error = "node-2 is gone".into();
        let Wait::Waiting(waiter, _) = self.state(0).wait_for(&awaited(&[object]), 1, true, None) else {
            panic!("it is there")
        };
        self.settle();
        self.state(0).end_wait(waiter, &awaited(&[object]));
    }

    /// Lets everything happen that needs no time.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// Carries out what all processes want, and delivers one message, or all of one wire when nothing is random; `false` if
    /// nothing was left to do.
    pub fn step(&mut self) -> bool {
        let mut busy = false;
        for who in 0..self.processes.len() {
            let mut effects = Vec::new();
            self.state(who).take_effects(&mut effects);
            busy |= !effects.is_empty();
            for effect in effects.into_iter().filter(|_| self.processes[who].alive).collect::<Vec<_>>() {
                self.carry_out(who, effect);
            }
        }
        self.wires.retain(|_, wire| !wire.is_empty());
        let choice = match &mut self.random {
            _ if self.wires.is_empty() => return busy,
            Some(random) => random.below(self.wires.len()),
            None => 0,
        };
        let wire = *self.wires.keys().nth(choice).unwrap();
        let count = if self.random.is_some() { 1 } else { self.wires[&wire].len() };
        for delivery in self.wires.get_mut(&wire).unwrap().drain(..count).collect::<Vec<_>>() {
            self.deliver(wire, delivery);
        }
        true
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
                    self.processes[who].peers.insert(conn, (peer, theirs));
                    self.processes[peer].peers.insert(theirs, (who, conn));
                }
                None => self.state(who).on_conn_lost(conn, "nobody is there"),
            },
            Effect::Send { conn, message } => self.send(who, conn, message),
            Effect::Push { conn, id, task, lease, attempt, made_again, arguments } => {
                let mut spec = TaskSpec::decode(task.shared).unwrap();
                let (task_id, lease_id) = (id.to_bytes(), lease.to_bytes());
                let tail =
                    TaskSpec { task_id, lease_id, attempt, made_again, arguments, ..TaskSpec::default() };
                spec.merge(&tail.encode_to_vec()[..]).unwrap();
                self.send(who, conn, peer_message::Message::Push(Box::new(spec)));
            }
            Effect::Close { conn } => self.disconnect(who, conn),
            Effect::ToNode(message) => self.put(Wire::ToNode(who), Delivery::ToNode(*message)),
            Effect::Events(batch) => {
                let message = process_to_node::Message::TaskEvents(batch.into_message());
                self.put(Wire::ToNode(who), Delivery::ToNode(message));
            }
            Effect::Call(call) => call(),
            Effect::Say(text) => self.said.push((who, text)),
            Effect::FreeAt { objects, .. } => self.freed.extend(objects),
            Effect::Interrupt(task) => self.interrupted.push((who, task)),
            Effect::Debug(_) | Effect::AllowTracer(_) | Effect::TrimStore | Effect::DumpStacks => {}
        }
    }

    fn put(&mut self, wire: Wire, delivery: Delivery) {
        self.wires.entry(wire).or_default().push_back(delivery);
    }

    fn send(&mut self, who: Who, conn: ConnId, message: peer_message::Message) {
        if let Some(&(peer, theirs)) = self.processes[who].peers.get(&conn) {
            let message = PeerMessage { message: Some(message) };
            self.put(Wire::Peer(who, conn), Delivery::Message(peer, theirs, message));
        }
    }

    /// The node tells a process something.
    pub fn tell(&mut self, who: Who, message: node_to_process::Message) {
        self.put(Wire::FromNode(who), Delivery::FromNode(message));
    }

    fn deliver(&mut self, wire: Wire, delivery: Delivery) {
        match (wire, delivery) {
            (Wire::ToNode(who), Delivery::ToNode(message)) => self.on_node(who, message),
            (Wire::FromNode(who), Delivery::FromNode(message)) if self.processes[who].alive => {
                let output = self.state(who).on_node_message(NodeToProcess { message: Some(message) });
                assert!(output.is_none());
            }
            (_, Delivery::Message(to, conn, message)) if self.processes[to].alive => {
                self.state(to).on_message(conn, message);
            }
            (_, Delivery::Lost(to, conn)) if self.processes[to].alive => {
                self.processes[to].peers.remove(&conn);
                self.state(to).on_conn_lost(conn, "it ended");
            }
            // For a process that is dead.
            _ => {}
        }
    }

    fn disconnect(&mut self, who: Who, conn: ConnId) {
        if let Some((peer, theirs)) = self.processes[who].peers.remove(&conn) {
            self.put(Wire::Peer(who, conn), Delivery::Lost(peer, theirs));
        }
    }

    /// kill -9. What it had sent still arrives.
    pub fn kill(&mut self, who: Who) {
        self.processes[who].alive = false;
        self.on_node_lost(who);
        for conn in self.processes[who].peers.keys().copied().collect::<Vec<_>>() {
            self.disconnect(who, conn);
        }
    }

    /// Another worker, in place of one that is dead.
    pub fn add_worker(&mut self) {
        let view = self.state(0).view.clone();
        self.processes.push(Process {
            state: state(view, self.now),
            alive: true,
            stretch: None,
            series: None,
            peers: BTreeMap::new(),
        });
        self.node.add(self.processes.len() - 1);
    }

    /// Whether no task is unfinished anywhere.
    pub fn is_idle(&self) -> bool {
        let alive = self.processes.iter().filter(|process| process.alive);
        alive.flat_map(|process| process.state.leftovers()).all(|left| !left.ends_with("tasks"))
    }

    /// CPUs that blocked leases have given back.
    pub fn blocked(&self) -> usize {
        self.node.blocked()
    }

    /// Submits a task of one result; the ref is counted once.
    pub fn submit(&mut self, who: Who, name: &str, arguments: &[ObjectId], max_retries: u32) -> ObjectId {
        let submission = self.submission(who, name, arguments, max_retries);
        let id = submission.id;
        self.state(who).on_submit(submission);
        ObjectId::of(id, 0)
    }

    /// Submits a task of one result as the next of its series, in which all have the same name and number of retries.
    pub fn submit_in_series(&mut self, who: Who, name: &str, arguments: &[u8], max_retries: u32) -> ObjectId {
        let mut series = self.processes[who].series.take();
        let state = self.state(who);
        loop {
            if let Some((id, front)) = series
                && let Some(Appended { index, .. }) = front.append(arguments)
            {
                state.grow_series(id);
                self.processes[who].series = Some((id, front));
                return ObjectId::of(id.task(index), 0);
            }
            let id = SeriesId::new(TaskId::random());
            let spec = TaskSpec { name: name.into(), num_returns: 1, ..TaskSpec::default() };
            let template = SeriesTemplate {
                class: state.class(class_key()),
                function: None,
                name: name.into(),
                shared: spec.encode_to_vec().into(),
                max_retries,
                retry_exceptions: false,
            };
            series = Some((id, state.begin_series(id, template, None)));
        }
    }

    /// The next task is the first of another series.
    pub fn close_series(&mut self, who: Who) {
        if let Some((series, _)) = self.processes[who].series.take() {
            self.state(who).close_series(series);
        }
    }

    /// Objects of a process as arguments.
    pub fn refs(&mut self, who: Who, objects: &[ObjectId]) -> Vec<NewArgument> {
        let state = self.state(who);
        let address = |object: &ObjectId| state.own_address(*object);
        let of = |object| NewArgument::Ref { keyword: String::new(), address: address(object) };
        objects.iter().map(of).collect()
    }

    /// A task of one result.
    pub fn submission(
        &mut self,
        who: Who,
        name: &str,
        arguments: &[ObjectId],
        max_retries: u32,
    ) -> Submission {
        let id = TaskId::random();
        let arguments = self.refs(who, arguments);
        let spec =
            TaskSpec { task_id: id.to_bytes(), name: name.into(), num_returns: 1, ..TaskSpec::default() };
        Submission {
            id,
            class: ClassOf::New(class_key()),
            function: None,
            name: name.into(),
            encoded: EncodedTask { shared: spec.encode_to_vec().into(), ..EncodedTask::default() },
            arguments,
            stored: Vec::new(),
            contained: Vec::new(),
            num_returns: 1,
            max_retries,
            retry_exceptions: false,
        }
    }

    /// The task that a worker's thread takes, if one is there.
    pub fn take(&mut self, worker: Who) -> Option<TaskSpec> {
        self.settle();
        let had_stretch = self.processes[worker].stretch.is_some();
        let taken = self.take_now(worker);
        if taken.is_some() || !had_stretch {
            return taken;
        }
        // Who comes to the end of a stretch sends its results, and looks again.
        self.settle();
        self.take_now(worker)
    }

    /// The same, whatever is under way.
    pub fn take_now(&mut self, worker: Who) -> Option<TaskSpec> {
        loop {
            if let Some(stretch) = &self.processes[worker].stretch
                && let Some(index) = stretch.take()
            {
                return Some(*stretch.sent.spec(index));
            }
            self.processes[worker].stretch = None;
            match self.state(worker).pop_task(0) {
                Popped::Task(spec) => return Some(*spec),
                Popped::Stretch(stretch) => self.processes[worker].stretch = Some(stretch),
                Popped::Wait(_) => return None,
                Popped::Exit(cause) => panic!("the worker was told to end: {cause}"),
            }
        }
    }

    pub fn finish(&mut self, worker: Who, task: &TaskSpec, value: Value) {
        self.finish_now(worker, task, value);
        self.settle();
    }

    /// The same, and nothing is delivered yet.
    pub fn finish_now(&mut self, worker: Who, task: &TaskSpec, value: Value) {
        let failed = super::super::objects::is_error(&value);
        let id = TaskId::try_from(&task.task_id).unwrap();
        let index = self.processes[worker].stretch.as_ref().and_then(|stretch| stretch.sent.index_of(id));
        if let (Some(stretch), Some(index), false, None) =
            (&self.processes[worker].stretch, index, failed, &value.in_store)
        {
            match stretch.leave(index, &NewValue::plain(Format::Raw, &value.data), || self.now) {
                Left::Kept => return,
                Left::Due => return self.state(worker).send_results(0),
                Left::Refused => {}
            }
        }
        self.state(worker).on_finished(0, TaskId::try_from(&task.task_id).unwrap(), vec![value], failed);
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
        self.state(who).value(object).map(|value| Value::clone(&value))
    }

    /// Drops refs, lets idle leases go back, and sees that nothing stayed behind anywhere.
    pub fn assert_empty(&mut self, who: Who, refs: &[ObjectId]) {
        for object in refs {
            self.state(who).on_ref_dropped(*object);
        }
        (0..self.processes.len()).for_each(|who| self.close_series(who));
        // Long enough for those who died to be forgotten.
        self.pass(Duration::from_secs(3));
        self.node.assert_empty();
        for (who, process) in self.processes.iter().enumerate().filter(|(_, process)| process.alive) {
            assert_eq!(process.state.leftovers(), Vec::<String>::new(), "process {who}");
        }
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

fn class_key() -> ClassKey {
    ClassKey {
        program: None,
        language: Language::Rust,
        resources: [("CPU".into(), 10_000)].into(),
        placement: crate::Placement::default(),
        environment: None,
    }
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
    let location = StoreLocation {
        object_id: object.to_bytes(),
        size: 1,
        node_ids: vec![node.to_bytes()],
        spilled: false,
    };
    Value { in_store: Some(location), ..inline(b"") }
}

pub fn message(value: Option<&Value>) -> String {
    crate::SystemError::decode(&value.expect("the value is there").data[16..]).message
}
