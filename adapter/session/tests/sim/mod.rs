//! A simulated cluster around the real session: fake targets that answer the target profile, a clock that is moved by hand, and a client
//! whose whole conversation is held to the strict check of `dap`.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::needless_pass_by_value, reason = "`json!` gives values")]

pub mod target;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use dap::{Conversation, Direction, Message, RequestMessage, ResponseMessage};
use manta_session::{
    ClientFiles, ConfigAck, Effect, Event, Generation, Node, NodeId, Session, Target, TargetAck, TargetId,
    TimerId,
};
use serde_json::{Value, json, value::to_raw_value};

use target::FakeTarget;

/// The files that the client's machine has.
#[derive(Clone, Default)]
pub struct Files(pub Arc<Mutex<HashSet<String>>>);

/// The hash of every file that the client's machine has.
pub const CONTENT: &str = "5ca1ab1e";

impl ClientFiles for Files {
    fn exists(&self, path: &str) -> bool {
        self.0.lock().unwrap().contains(path)
    }

    fn sha256(&self, path: &str) -> Option<String> {
        self.exists(path).then(|| CONTENT.to_owned())
    }
}

pub struct Sim {
    pub session: Session,
    pub files: Files,
    pub targets: BTreeMap<String, FakeTarget>,
    nodes: Vec<Node>,
    now: Duration,
    timers: BTreeMap<(Duration, u64), TimerId>,
    timers_set: u64,
    conversation: Conversation,
    client_seq: i64,
    session_seq: i64,
    /// What the client has received and no test has looked at.
    pub inbox: VecDeque<Value>,
    /// Effects that no part of the simulation handles.
    pub others: VecDeque<Effect>,
    /// Messages on their way to targets and back, when they are held up.
    pub to_targets: VecDeque<(TargetId, Message)>,
    pub from_targets: VecDeque<(TargetId, Message)>,
    pub holds_targets: bool,
    /// Nodes that do not acknowledge.
    pub mute_nodes: HashSet<String>,
    pub published: Vec<(Generation, Value, bool)>,
    /// Messages to the client, counted by name.
    pub sent: BTreeMap<String, usize>,
}

impl Sim {
    pub fn new() -> Self {
        let files = Files::default();
        Self {
            session: Session::new("5e5510", Box::new(files.clone())),
            files,
            targets: BTreeMap::new(),
            nodes: Vec::new(),
            now: Duration::ZERO,
            timers: BTreeMap::new(),
            timers_set: 0,
            conversation: Conversation::new(),
            client_seq: 0,
            session_seq: 0,
            inbox: VecDeque::new(),
            others: VecDeque::new(),
            to_targets: VecDeque::new(),
            from_targets: VecDeque::new(),
            holds_targets: false,
            mute_nodes: HashSet::new(),
            published: Vec::new(),
            sent: BTreeMap::new(),
        }
    }

    /// A session attached to a cluster of two nodes, with one target on each, and past `configurationDone`.
    pub fn attached(options: Value) -> Self {
        let mut sim = Self::new();
        sim.attach(options);
        sim.request("configurationDone", json!({}));
        sim.target_up("t1", "node-1");
        sim.target_up("t2", "node-2");
        sim.file("/job/job.py");
        sim
    }

    pub fn file(&self, path: &str) {
        self.files.0.lock().unwrap().insert(path.to_owned());
    }

    pub fn attach(&mut self, options: Value) {
        let initialize = json!({"adapterID": "manta", "linesStartAt1": true, "columnsStartAt1": true, "supportsVariableType": true,
            "supportsInvalidatedEvent": true});
        self.request("initialize", initialize);
        let attach = self.send("attach", options);
        self.connected();
        self.response(attach);
        self.event("initialized");
    }

    /// The cluster that `attach` asked for is at hand.
    pub fn connected(&mut self) {
        assert!(matches!(self.others.pop_front(), Some(Effect::Connect(_))));
        self.nodes = vec![node("node-1"), node("node-2")];
        self.on(Event::Connected { nodes: self.nodes.clone(), targets: Vec::new() });
    }

    pub fn target_up(&mut self, name: &str, node: &str) {
        self.targets.insert(name.to_owned(), FakeTarget::new(name));
        self.on(Event::TargetUp(Target {
            id: TargetId::new(name),
            node_name: node.to_owned(),
            description: format!("python worker {name} on {node}"),
        }));
    }

    /// What the target had sent has arrived before, as its node tells of its end last.
    pub fn target_down(&mut self, name: &str, cause: &str) {
        self.from_targets.retain(|(target, _)| target.as_str() != name);
        self.targets.remove(name);
        self.on(Event::TargetDown { target: TargetId::new(name), cause: cause.to_owned() });
    }

    /// Something happens; all that follows from it at once happens too.
    pub fn on(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.session.on(event) {
                self.perform(effect, &mut events);
            }
            while !self.holds_targets {
                let Some((target, message)) = self.to_targets.pop_front() else { break };
                self.deliver_to_target(&target, &message);
                while let Some((target, message)) = self.from_targets.pop_front() {
                    events.push_back(Event::FromTarget { target, message });
                }
            }
        }
    }

    fn perform(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::ToClient(mut message) => {
                self.session_seq += 1;
                message.set_seq(self.session_seq);
                let text = String::from_utf8(message.to_vec()).unwrap();
                self.conversation.observe(Direction::Out, &text);
                *self.sent.entry(message.name().to_owned()).or_default() += 1;
                self.inbox.push_back(serde_json::from_str(&text).unwrap());
            }
            Effect::ToTarget { target, message } => self.to_targets.push_back((target, message)),
            Effect::SetTimer { id, after } => {
                self.timers_set += 1;
                self.timers.insert((self.now + after, self.timers_set), id);
            }
            Effect::Publish { generation, arguments, empty } => {
                let arguments: Value = serde_json::from_str(&arguments).unwrap();
                assert_eq!(arguments["generation"], generation.0);
                self.published.push((generation, arguments.clone(), empty));
                events.extend(self.acks(generation, &arguments));
            }
            Effect::Log(line) => panic!("the session logged: {line}"),
            other => self.others.push_back(other),
        }
    }

    /// Every node that is not mute answers for its targets.
    fn acks(&mut self, generation: Generation, arguments: &Value) -> Vec<Event> {
        let mut acks = Vec::new();
        for node in self.nodes.iter().filter(|node| !self.mute_nodes.contains(&node.name)) {
            let on_node = |target: &&mut FakeTarget| node.name.ends_with(&target.name[1..]);
            let targets = self.targets.values_mut().filter(on_node).map(|target| TargetAck {
                target: TargetId::new(&target.name),
                body: Ok(target.configure(arguments).to_string()),
            });
            acks.push(Event::ConfigAck(ConfigAck {
                generation,
                node: node.id.clone(),
                targets: targets.collect(),
                error: None,
            }));
        }
        acks
    }

    pub fn ack(&mut self, node: &str, generation: u64, error: Option<&str>) {
        self.on(Event::ConfigAck(ConfigAck {
            generation: Generation(generation),
            node: NodeId::new(node),
            targets: Vec::new(),
            error: error.map(str::to_owned),
        }));
    }

    pub fn deliver_to_target(&mut self, target: &TargetId, message: &Message) {
        // A message for a target that has just gone is lost, as on a real wire.
        let Some(fake) = self.targets.get_mut(target.as_str()) else { return };
        for answer in fake.on(message) {
            self.from_targets.push_back((target.clone(), answer));
        }
    }

    /// Takes the next message that a target has sent to the session.
    pub fn deliver_from_target(&mut self) {
        if let Some((target, message)) = self.from_targets.pop_front() {
            self.on(Event::FromTarget { target, message });
        }
    }

    /// A task stops at logical breakpoints.
    pub fn stop(&mut self, target: &str, thread: i32, task: &str, hits: &[i32]) {
        self.stop_for(target, thread, task, "breakpoint", hits);
    }

    pub fn stop_for(&mut self, target: &str, thread: i32, task: &str, reason: &str, hits: &[i32]) {
        let message = self.targets.get_mut(target).unwrap().stop(thread, task, reason, hits);
        self.from_targets.push_back((TargetId::new(target), message));
        if !self.holds_targets {
            self.deliver_from_target();
        }
    }

    /// Time passes, and timers run out in their order.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some((&(at, number), &id)) =
            self.timers.first_key_value().filter(|((at, _), _)| *at <= until)
        {
            self.timers.remove(&(at, number));
            self.now = at;
            self.on(Event::Timer(id));
        }
        self.now = until;
    }

    /// The client asks, and gets the answer that comes at once.
    #[track_caller]
    pub fn request(&mut self, command: &str, arguments: Value) -> Value {
        let seq = self.send(command, arguments);
        self.response(seq)
    }

    /// The client asks.
    pub fn send(&mut self, command: &str, arguments: Value) -> i64 {
        self.client_seq += 1;
        let seq = self.client_seq;
        let arguments = Some(to_raw_value(&arguments).unwrap());
        let message = Message::Request(RequestMessage { seq, command: command.to_owned(), arguments });
        self.conversation.observe(Direction::In, &String::from_utf8(message.to_vec()).unwrap());
        self.on(Event::Client(message));
        seq
    }

    /// The body of the answer to `seq`, which must be a success and must have come.
    #[track_caller]
    pub fn response(&mut self, seq: i64) -> Value {
        let answer = self.take_response(seq).expect("an answer");
        assert_eq!(answer["success"], true, "{answer}");
        answer["body"].clone()
    }

    /// The sentence of the refusal of `seq`.
    #[track_caller]
    pub fn refusal(&mut self, seq: i64) -> String {
        let answer = self.take_response(seq).expect("an answer");
        assert_eq!(answer["success"], false, "{answer}");
        answer["message"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn refused(&mut self, command: &str, arguments: Value) -> String {
        let seq = self.send(command, arguments);
        self.refusal(seq)
    }

    pub fn take_response(&mut self, seq: i64) -> Option<Value> {
        let at = self.inbox.iter().position(|m| m["type"] == "response" && m["request_seq"] == seq)?;
        self.inbox.remove(at)
    }

    /// The body of the next event, which must be of this name.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        let next = self.inbox.pop_front().expect("an event");
        assert_eq!(next["event"], name, "{next}");
        next["body"].clone()
    }

    /// Nothing has happened that no test has looked at.
    #[track_caller]
    pub fn check_empty(&self) {
        assert!(self.inbox.is_empty(), "unexpected: {:?}", self.inbox);
        assert!(self.others.is_empty(), "unexpected: {:?}", self.others);
    }

    /// The conversation is over, and the protocol was kept.
    #[track_caller]
    pub fn finish(self) {
        let findings = self.conversation.finish();
        assert!(findings.is_empty(), "{findings:#?}");
    }

    /// Sets line breakpoints in /job/job.py and gives their ids.
    #[track_caller]
    pub fn set_lines(&mut self, lines: &[i64]) -> Vec<i32> {
        let body = self.request("setBreakpoints", lines_in("/job/job.py", lines));
        let ids = body["breakpoints"].as_array().unwrap().iter().map(|b| b["id"].as_i64().unwrap() as i32);
        ids.collect()
    }

    /// The ids of the client's threads.
    #[track_caller]
    pub fn threads(&mut self) -> Vec<i64> {
        let body = self.request("threads", json!({}));
        body["threads"].as_array().unwrap().iter().map(|thread| thread["id"].as_i64().unwrap()).collect()
    }
}

pub fn lines_in(path: &str, lines: &[i64]) -> Value {
    let breakpoints: Vec<_> = lines.iter().map(|line| json!({"line": line})).collect();
    json!({"source": {"path": path}, "breakpoints": breakpoints})
}

pub fn node(name: &str) -> Node {
    Node { id: NodeId::new(name), name: name.to_owned() }
}

/// The answer of a target to a request.
pub fn answer(request: &RequestMessage, result: Result<Value, &str>) -> Message {
    let (success, message, body) = match result {
        Ok(body) => (true, None, Some(to_raw_value(&body).unwrap())),
        Err(error) => (false, Some(error.to_owned()), None),
    };
    Message::Response(ResponseMessage {
        seq: 0,
        request_seq: request.seq,
        success,
        command: request.command.clone(),
        message,
        body,
    })
}
