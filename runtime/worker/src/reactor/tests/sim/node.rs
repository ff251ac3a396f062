//! The simulated node: it grants its workers to whoever asks, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use manta_proto::{
    ids::{LeaseId, ObjectId},
    v1::{
        LeaseGrant, LeaseReply, LeaseReturn, Pulled, SlotAssigned, SlotReleased, WorkerFateReply,
        lease_reply, node_to_process, process_to_node,
    },
};

use super::{NODE, Sim, Who};

/// A lease that the node has granted.
struct Granted {
    owner: Who,
    worker: Who,
}

#[derive(Default)]
pub struct Node {
    /// Lease requests that wait for a free worker.
    waiting: VecDeque<(Who, u64)>,
    idle: Vec<Who>,
    leases: BTreeMap<LeaseId, Granted>,
    returned: BTreeSet<LeaseId>,
    blocked: BTreeSet<LeaseId>,
}

impl Node {
    pub fn new(workers: usize) -> Self {
        Self { idle: (1..=workers).collect(), ..Self::default() }
    }

    pub fn add(&mut self, worker: Who) {
        self.idle.push(worker);
    }

    pub fn blocked(&self) -> usize {
        self.blocked.len()
    }

    pub fn assert_empty(&self) {
        let kept: Vec<_> = self.leases.values().map(|lease| (lease.owner, lease.worker)).collect();
        assert!(kept.is_empty(), "leases were not returned by these to these: {kept:?}");
        assert!(self.waiting.is_empty(), "{} lease requests were not cancelled", self.waiting.len());
        assert!(self.blocked.is_empty(), "{} leases stayed blocked", self.blocked.len());
    }
}

impl Sim {
    pub(super) fn on_node(&mut self, who: Who, message: process_to_node::Message) {
        // What a process said just before its end is as good as not said, except for what it freed.
        let alive = self.processes[who].alive;
        match message {
            process_to_node::Message::Free(free) => {
                self.freed.extend(free.object_ids.iter().map(|id| ObjectId::try_from(id).unwrap()));
            }
            _ if !alive => {}
            process_to_node::Message::RequestLease(request) => match self.refuse.clone() {
                Some(sentence) => self.reply(who, request.request_id, lease_reply::Result::Refused(sentence)),
                None => self.node.waiting.push_back((who, request.request_id)),
            },
            process_to_node::Message::CancelLease(cancel) => {
                self.node.waiting.retain(|waiting| *waiting != (who, cancel.request_id));
            }
            process_to_node::Message::ReturnLease(LeaseReturn { lease_id, worker_unusable, .. }) => {
                let id = LeaseId::try_from(&lease_id).unwrap();
                assert!(self.node.returned.insert(id), "a lease was returned twice");
                let worker = self.node.leases.get(&id).map(|lease| lease.worker);
                match worker
                    .filter(|worker| worker_unusable && self.ends_workers && self.processes[*worker].alive)
                {
                    Some(worker) => {
                        self.node.leases.remove(&id);
                        self.node.blocked.remove(&id);
                        self.kill(worker);
                        self.add_worker();
                    }
                    None => self.free_lease(id),
                }
            }
            process_to_node::Message::Blocked(blocked) => {
                let id = LeaseId::try_from(&blocked.lease_id).unwrap();
                if blocked.blocked && self.node.leases.contains_key(&id) {
                    assert!(self.node.blocked.insert(id), "a lease was blocked twice");
                    // Its CPU is free, so that another worker may run.
                    if self.start_workers {
                        self.add_worker();
                    }
                } else {
                    self.node.blocked.remove(&id);
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
            process_to_node::Message::TaskEnded(ended) => self.ended.push(ended.task_id),
            process_to_node::Message::Pull(pull) => {
                self.pulls.push(ObjectId::try_from(&pull.object_id).unwrap());
                let is_lost = self.loses && self.random.as_mut().is_some_and(|random| random.below(3) == 0);
                let lost = if is_lost { "it is lost" } else { "" };
                let pulled = Pulled {
                    request_id: pull.request_id,
                    error: format!("{}{lost}", self.pull_error),
                    disk_full: self.disk_full && !is_lost,
                    ..Pulled::default()
                };
                self.tell(who, node_to_process::Message::Pulled(pulled));
            }
            _ => {}
        }
        self.grant();
    }

    /// A process is dead: its leases end, and the workers of those that it owned are free.
    pub(super) fn on_node_lost(&mut self, who: Who) {
        self.node.idle.retain(|idle| *idle != who);
        self.node.waiting.retain(|(owner, _)| *owner != who);
        let ended = self.node.leases.iter().filter(|(_, lease)| lease.worker == who || lease.owner == who);
        for id in ended.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.free_lease(id);
        }
        self.grant();
    }

    fn free_lease(&mut self, id: LeaseId) {
        self.node.blocked.remove(&id);
        // It may have ended with its worker.
        let Some(lease) = self.node.leases.remove(&id) else { return };
        if self.processes[lease.worker].alive {
            let released = SlotReleased { lease_id: id.to_bytes() };
            self.tell(lease.worker, node_to_process::Message::SlotReleased(released));
            self.node.idle.push(lease.worker);
        }
    }

    fn grant(&mut self) {
        while !self.node.idle.is_empty() {
            let Some((owner, request)) = self.node.waiting.pop_front() else { break };
            let worker = self.node.idle.remove(0);
            let lease = LeaseId::random();
            self.node.leases.insert(lease, Granted { owner, worker });
            let owner_id = self.processes[owner].state.me.process.to_bytes();
            let assigned = SlotAssigned { lease_id: lease.to_bytes(), owner_id, slot: 0 };
            self.tell(worker, node_to_process::Message::Slot(assigned));
            let grant = LeaseGrant {
                lease_id: lease.to_bytes(),
                worker_id: self.processes[worker].state.me.process.to_bytes(),
                node_id: NODE.to_bytes(),
                ..LeaseGrant::default()
            };
            self.reply(owner, request, lease_reply::Result::Granted(grant));
        }
    }

    fn reply(&mut self, who: Who, request_id: u64, result: lease_reply::Result) {
        self.tell(
            who,
            node_to_process::Message::Lease(LeaseReply {
                request_id,
                result: Some(result),
                ..LeaseReply::default()
            }),
        );
    }
}
