//! The reactor alone: events in, effects out. Every effect must be looked at: one that nobody expected fails the test.

mod bundles;
mod debugging;
mod draining;
mod environments;
mod infeasible;
mod leasing;
mod random;
mod rooms;

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use manta_proto::{
    PROTOCOL_VERSION,
    ids::{JobId, LeaseId, NodeId, ProcessId},
    v1::{self, node_to_head, node_to_process, process_hello::Kind, process_to_node},
};

use super::{Core, Effect, Identity, Timer};
use crate::resources::Resources;

/// A node's core with everything around it played by the test.
pub(super) struct Stage {
    pub core: Core,
    pub effects: VecDeque<Effect>,
    requests: u64,
    pub spill_timers: u32,
}

pub(super) fn cpus(count: f64) -> Resources {
    Resources::from_amounts([("CPU", count)]).unwrap()
}

pub(super) fn id(byte: u8) -> [u8; 16] {
    [byte; 16]
}

impl Stage {
    pub fn new(cpus_here: f64) -> Self {
        let me = Identity {
            id: NodeId(id(1)),
            name: String::new(),
            total: cpus(cpus_here),
            labels: HashMap::new(),
            visible_gpus: None,
            session_dir: "/session".into(),
            object_dir: "/objects".into(),
            spill_dir: "/spilled".into(),
            head_address: "head:1".into(),
        };
        let mut stage = Self { core: Core::new(me), effects: VecDeque::new(), requests: 0, spill_timers: 0 };
        let registered = v1::NodeRegistered {
            cluster_id: "c".into(),
            name: "node-1".into(),
            view: Some(stage.view(&[])),
            config: None,
        };
        stage.head(v1::head_to_node::Message::Registered(registered));
        stage
    }

    pub fn settle(&mut self) {
        for effect in self.core.take_effects() {
            // Looked at by one test of its own; it comes whenever somebody waits while there are peers.
            if effect == Effect::Timer(Timer::Spill, Duration::from_millis(100)) {
                self.spill_timers += 1;
            } else {
                self.effects.push_back(effect);
            }
        }
    }

    pub fn head(&mut self, message: v1::head_to_node::Message) {
        self.core.on_head_message(v1::HeadToNode { message: Some(message) });
        self.settle();
    }

    pub fn view(&self, peers: &[(u8, f64, f64)]) -> v1::ClusterView {
        let node = |byte: u8, name: &str, total: f64, free: f64| v1::NodeView {
            info: Some(v1::NodeInfo {
                node_id: NodeId(id(byte)).to_bytes(),
                name: name.into(),
                peer_address: format!("peer-{byte}:1"),
                total: Some(cpus(total).to_wire()),
                ..v1::NodeInfo::default()
            }),
            available: Some(cpus(free).to_wire()),
        };
        let own = self.core.budget.total().amount("CPU");
        let mut nodes = vec![node(1, "node-1", own as f64 / 10_000.0, 0.0)];
        nodes.extend(
            peers.iter().map(|(byte, total, free)| node(*byte, &format!("node-{byte}"), *total, *free)),
        );
        v1::ClusterView { nodes }
    }

    pub fn job(byte: u8, language: &str) -> v1::JobConfig {
        v1::JobConfig {
            job_id: JobId(id(byte)).to_bytes(),
            name: "job".into(),
            language: language.into(),
            executable: "/bin/python".into(),
            ..v1::JobConfig::default()
        }
    }

    /// A driver attaches; the workers that are started for it come back.
    pub fn driver(&mut self, byte: u8, language: &str) -> (ProcessId, Vec<ProcessId>) {
        let driver = ProcessId(id(byte));
        let hello = v1::ProcessHello {
            protocol_version: PROTOCOL_VERSION,
            kind: Kind::Driver.into(),
            process_id: driver.to_bytes(),
            pid: 100,
            job: Some(Self::job(byte, language)),
            ..v1::ProcessHello::default()
        };
        self.core.on_attached(hello, 5).unwrap();
        self.settle();
        self.expect_process(driver, |message| matches!(message, node_to_process::Message::Welcome(_)));
        self.expect_head(|message| matches!(message, node_to_head::Message::JobStarted(_)));
        (driver, self.started())
    }

    /// The same, and all its workers are ready.
    pub fn driver_with_workers(&mut self, byte: u8, language: &str) -> (ProcessId, Vec<ProcessId>) {
        let (driver, mut starting) = self.driver(byte, language);
        let mut ready = Vec::new();
        while let Some(worker) = starting.pop() {
            self.hello(worker, language);
            starting.extend(self.started());
            ready.push(worker);
        }
        (driver, ready)
    }

    /// The workers whose start is asked for now.
    pub fn started(&mut self) -> Vec<ProcessId> {
        let mut workers = Vec::new();
        while let Some(Effect::StartWorker { worker, .. }) = self.effects.front() {
            workers.push(*worker);
            self.effects.pop_front();
            self.expect(|effect| matches!(effect, Effect::Timer(Timer::WorkerStart(_), _)));
        }
        workers
    }

    pub fn hello(&mut self, worker: ProcessId, language: &str) {
        let pid = 200 + u32::from(worker.0[15]);
        self.core.on_worker_spawned(worker, pid);
        let hello = v1::ProcessHello {
            protocol_version: PROTOCOL_VERSION,
            kind: Kind::Worker.into(),
            process_id: worker.to_bytes(),
            pid,
            language: language.into(),
            language_version: "3.12.1".into(),
            peer_socket: format!("/p-{worker}"),
            ..v1::ProcessHello::default()
        };
        self.core.on_attached(hello, 0).unwrap();
        self.settle();
        self.expect_process(worker, |message| matches!(message, node_to_process::Message::Welcome(_)));
        self.expect_process(worker, |message| matches!(message, node_to_process::Message::Job(_)));
        self.expect_head(|message| matches!(message, node_to_head::Message::TargetUp(_)));
    }

    pub fn say(&mut self, process: ProcessId, message: process_to_node::Message) {
        self.core.on_process_message(process, v1::ProcessToNode { message: Some(message) });
        self.settle();
    }

    pub fn request(owner: ProcessId, job: u8, need: f64, request_id: u64) -> v1::LeaseRequest {
        v1::LeaseRequest {
            request_id,
            owner_id: owner.to_bytes(),
            job_id: JobId(id(job)).to_bytes(),
            resources: Some(cpus(need).to_wire()),
            language: "python".into(),
            job: Some(Self::job(job, "python")),
            task_name: "f".into(),
            ..v1::LeaseRequest::default()
        }
    }

    /// Asks for a lease; the number of the request.
    pub fn ask(&mut self, owner: ProcessId, need: f64) -> u64 {
        self.requests += 1;
        let request = Self::request(owner, owner.0[0], need, self.requests);
        self.say(owner, process_to_node::Message::RequestLease(request));
        self.requests
    }

    pub fn give_back(&mut self, owner: ProcessId, lease: LeaseId) {
        let returned = v1::LeaseReturn { lease_id: lease.to_bytes(), ..v1::LeaseReturn::default() };
        self.say(owner, process_to_node::Message::ReturnLease(returned));
    }

    pub fn expect(&mut self, wanted: impl FnOnce(&Effect) -> bool) -> Effect {
        let effect = self.effects.pop_front().expect("an effect was expected, and there is none");
        assert!(wanted(&effect), "another effect was expected than {effect:?}");
        effect
    }

    pub fn expect_process(
        &mut self,
        to: ProcessId,
        wanted: impl FnOnce(&node_to_process::Message) -> bool,
    ) -> node_to_process::Message {
        let effect = self.effects.pop_front().expect("a message was expected, and there is none");
        match effect {
            Effect::ToProcess(process, v1::NodeToProcess { message: Some(message) }) if process == to => {
                assert!(wanted(&message), "another message was expected than {message:?}");
                message
            }
            other => panic!("a message to {to} was expected, not {other:?}"),
        }
    }

    pub fn expect_head(
        &mut self,
        wanted: impl FnOnce(&node_to_head::Message) -> bool,
    ) -> node_to_head::Message {
        let effect = self.effects.pop_front().expect("a message was expected, and there is none");
        match effect {
            Effect::ToHead(v1::NodeToHead { message: Some(message) }) => {
                assert!(wanted(&message), "another message was expected than {message:?}");
                message
            }
            other => panic!("a message to the head was expected, not {other:?}"),
        }
    }

    pub fn expect_nothing(&self) {
        assert!(self.effects.is_empty(), "nothing was expected, not {:?}", self.effects);
    }

    /// The grant that comes now: to the worker first, then to the owner.
    pub fn expect_grant(&mut self, owner: ProcessId, request: u64) -> (LeaseId, ProcessId) {
        let Effect::ToProcess(worker, message) =
            self.expect(|effect| matches!(effect, Effect::ToProcess(..)))
        else {
            unreachable!("looked at above");
        };
        assert!(matches!(message.message, Some(node_to_process::Message::Slot(_))), "{message:?}");
        let reply =
            self.expect_process(owner, |message| matches!(message, node_to_process::Message::Lease(_)));
        let node_to_process::Message::Lease(reply) = reply else { unreachable!("looked at above") };
        assert_eq!(reply.request_id, request);
        let Some(v1::lease_reply::Result::Granted(grant)) = reply.result else {
            panic!("no grant: {reply:?}")
        };
        assert_eq!(grant.worker_id, worker.to_bytes());
        (LeaseId::try_from(&grant.lease_id).unwrap(), worker)
    }

    pub fn expect_refusal(&mut self, owner: ProcessId, request: u64) -> String {
        let reply =
            self.expect_process(owner, |message| matches!(message, node_to_process::Message::Lease(_)));
        let node_to_process::Message::Lease(reply) = reply else { unreachable!("looked at above") };
        assert_eq!(reply.request_id, request);
        let Some(v1::lease_reply::Result::Refused(sentence)) = reply.result else {
            panic!("no refusal: {reply:?}")
        };
        sentence
    }

    pub fn expect_slot_released(&mut self, worker: ProcessId) {
        self.expect_process(worker, |message| matches!(message, node_to_process::Message::SlotReleased(_)));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.expect_nothing();
        }
    }
}
