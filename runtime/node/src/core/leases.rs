//! The scheduler: who gets resources of this node, in which order, and who gives them back.
//!
//! A request is queued by its class (job, language, executable and resources), first come, first served within a class. It takes its
//! resources, then waits for a worker, then becomes a lease. What does not fit here, or is to be elsewhere, is looked for on other nodes
//! (`spill`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use manta_proto::{
    ids::{JobId, LeaseId, NodeId, ProcessId},
    v1::{self, JobConfig, LeaseReply, LeaseRequest, lease_reply, node_to_process},
};

use super::{Core, Effect, ReplyId, actors::ActorLease, workers::PoolKey};
use crate::{
    devices::{Taken, gpus_of},
    placement::{Placement, Strategy},
    resources::Resources,
};

/// Requests that wait on one node.
const PENDING_MAX: usize = 100_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    Process { request_id: u64 },
    Peer { reply: ReplyId, node: NodeId },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Queued,
    AskingPeer(NodeId),
    /// It has its resources.
    AwaitingWorker,
}

pub(super) struct Pending {
    pub asker: Asker,
    pub owner: ProcessId,
    pub key: PoolKey,
    pub need: Resources,
    pub placement: Placement,
    /// Its GPUs, once it has its resources.
    pub gpus: Taken,
    pub stage: Stage,
    /// No node of the cluster can run it: which of the timers ends its wait for one.
    pub in_vain: Option<u64>,
    pub request: LeaseRequest,
}

/// What requests have in common that are served one after the other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    pub key: PoolKey,
    pub need: Resources,
    pub placement: Placement,
}

impl Class {
    pub fn of(pending: &Pending) -> Self {
        Self { key: pending.key.clone(), need: pending.need.clone(), placement: pending.placement.clone() }
    }
}

pub(super) struct Lease {
    pub worker: ProcessId,
    pub owner: ProcessId,
    /// The node of an owner elsewhere.
    pub owner_node: Option<NodeId>,
    pub need: Resources,
    pub gpus: Taken,
    pub blocked_in_get: bool,
    pub paused: bool,
    /// The worker is this actor's alone.
    pub actor: Option<ActorLease>,
    /// What it is for, for messages to people.
    pub task_name: String,
    /// Rises with every lease that is granted.
    pub number: u64,
}

impl Lease {
    fn gives_cpu_back(&self) -> bool {
        self.blocked_in_get || self.paused
    }

    /// What it has of its need now.
    pub fn uses(&self) -> Resources {
        let mut uses = self.need.clone();
        if self.gives_cpu_back() {
            uses.reduce(&self.need.cpu_only());
        }
        uses
    }
}

#[derive(Default)]
pub(super) struct Leases {
    pub queues: BTreeMap<Class, VecDeque<u64>>,
    pub pendings: HashMap<u64, Pending>,
    by_request: HashMap<(ProcessId, u64), u64>,
    pub granted: HashMap<LeaseId, Lease>,
    /// Leases of our processes on other nodes.
    pub elsewhere: HashMap<LeaseId, (NodeId, ProcessId)>,
    /// Open questions to peers.
    pub asks: usize,
    pub spill_timer_runs: bool,
    /// Classes that no node of the cluster can run, of which their drivers have been told.
    pub hopeless: BTreeSet<Class>,
    /// The node that was taken last for what is spread.
    pub last_spread: Option<NodeId>,
}

impl Leases {
    pub fn granted_here(&self) -> usize {
        self.granted.len()
    }
    pub fn pending(&self) -> usize {
        self.pendings.len()
    }
    pub fn job_config(&self, pending: u64) -> Option<&JobConfig> {
        self.pendings.get(&pending).and_then(|pending| pending.request.job.as_ref())
    }
    pub fn remove(&mut self, pending: u64) -> Option<Pending> {
        let removed = self.pendings.remove(&pending)?;
        if let Asker::Process { request_id } = removed.asker {
            self.by_request.remove(&(removed.owner, request_id));
        }
        Some(removed)
    }
}

impl Core {
    /// A process of this machine asks.
    pub(super) fn on_lease_request(&mut self, from: ProcessId, mut request: LeaseRequest) {
        // A driver does not know what its node has found out of its programs; a worker has been told.
        if let (Some(driver), Some(job)) = (self.drivers.get(&from), &mut request.job) {
            job.origin.clone_from(&driver.config.origin);
        }
        let asker = Asker::Process { request_id: request.request_id };
        if let Some(pending) = self.admit(asker, from, request) {
            let class = Class::of(&self.leases.pendings[&pending]);
            self.watch_hopeless(pending);
            self.leases.queues.entry(class).or_default().push_back(pending);
            self.dispatch();
        }
    }

    /// Another node asks for one of its processes, and wants the answer at once.
    pub fn on_peer_lease(&mut self, reply: ReplyId, node: NodeId, request: LeaseRequest) {
        let owner = ProcessId::try_from(&request.owner_id).unwrap_or(ProcessId([0; 16]));
        let asker = Asker::Peer { reply, node };
        let Some(pending) = self.admit(asker, owner, request) else { return };
        // Those who wait here for the same already go first.
        let free = self
            .leases
            .pendings
            .get(&pending)
            .is_some_and(|pending| self.has_room(&pending.need) && !self.is_awaited_here(&pending.need));
        if free {
            self.reserve(pending);
        } else if let Some(pending) = self.leases.remove(pending) {
            self.answer(&pending, lease_reply::Result::Busy(v1::LeaseBusy {}));
        }
    }

    /// Checks a request and gives it its number, or refuses it.
    fn admit(&mut self, asker: Asker, owner: ProcessId, request: LeaseRequest) -> Option<u64> {
        let need = Resources::from_wire(request.resources.as_ref());
        let placement = Placement::from_wire(request.placement.as_ref());
        let job = JobId::try_from(&request.job_id);
        let config = request.job.as_ref();
        let refusal = if let Err(error) = &job {
            Some(error.to_string())
        } else if job.as_ref().is_ok_and(|job| self.job_ended(*job)) {
            Some("the job has ended; it gets no more workers".to_owned())
        } else if config.is_none_or(|config| config.executable.is_empty()) {
            Some("the request does not say which executable its workers run".to_owned())
        } else if self.leases.pending() >= PENDING_MAX {
            Some(format!("{PENDING_MAX} requests for workers wait on {} already", self.me.name))
        } else {
            match &placement {
                Ok(placement) => self.refused_at_once(&need, placement, &request),
                Err(error) => Some(error.clone()),
            }
        };
        let mut key = PoolKey::of(job.unwrap_or(JobId([0; 16])), config.unwrap_or(&JobConfig::default()));
        if !request.language.is_empty() {
            key.language.clone_from(&request.language);
        }
        if !key.is_python() {
            key.actor = ActorLease::of(&request).map(|actor| actor.actor);
        }
        let placement = placement.unwrap_or_default();
        let gpus = Taken::default();
        let pending = Pending {
            asker,
            owner,
            key,
            need,
            placement,
            gpus,
            stage: Stage::Queued,
            in_vain: None,
            request,
        };
        if let Some(sentence) = refusal {
            self.answer(&pending, lease_reply::Result::Refused(sentence));
            return None;
        }
        self.counter += 1;
        let number = self.counter;
        if let Asker::Process { request_id } = asker {
            self.leases.by_request.insert((owner, request_id), number);
        }
        self.leases.pendings.insert(number, pending);
        Some(number)
    }

    /// Gives free resources to those who wait, the oldest first.
    pub(super) fn dispatch(&mut self) {
        let mut classes: Vec<(u64, Class)> = Vec::new();
        for (class, queue) in &self.leases.queues {
            if let Some(first) = queue.front() {
                classes.push((*first, class.clone()));
            }
        }
        classes.sort_unstable();
        for (_, class) in classes {
            self.serve_class(&class);
            if self.leases.queues.get(&class).is_some_and(VecDeque::is_empty) {
                self.leases.queues.remove(&class);
                self.leases.hopeless.remove(&class);
            }
        }
        self.arm_spill();
    }

    fn serve_class(&mut self, class: &Class) {
        while self.leases.queues.get(class).is_some_and(|queue| !queue.is_empty()) {
            let Some(node) = self.place(class) else { return };
            let Some(number) = self.leases.queues.get_mut(class).and_then(VecDeque::pop_front) else {
                return;
            };
            if class.placement.strategy == Strategy::Spread {
                self.leases.last_spread = Some(node);
            }
            if node == self.me.id {
                self.reserve(number);
            } else {
                self.ask_peer(number, node);
            }
        }
    }

    /// Whether what needs this could start here now.
    pub(super) fn has_room(&self, need: &Resources) -> bool {
        self.draining.is_none() && self.budget.covers(need) && self.gpus.find(gpus_of(need)).is_some()
    }

    fn reserve(&mut self, number: u64) {
        let Some(pending) = self.leases.pendings.get_mut(&number) else { return };
        pending.stage = Stage::AwaitingWorker;
        pending.in_vain = None;
        self.budget.take(&pending.need);
        // There is room for it, which its callers have seen to.
        pending.gpus = self.gpus.take(gpus_of(&pending.need)).unwrap_or_default();
        pending.key.gpus = self.gpus.names(&pending.gpus);
        let key = pending.key.clone();
        self.pools.entry(key.clone()).or_default().waiting.push_back(number);
        self.serve_pool(&key);
    }

    pub(super) fn grant(&mut self, number: u64, worker_id: ProcessId) {
        let lease_id = LeaseId(self.next_id());
        let Some(pending) = self.leases.remove(number) else { return };
        let Some(worker) = self.workers.get_mut(&worker_id) else { return };
        let slot = worker.slots.iter().position(Option::is_none).unwrap_or(worker.slots.len());
        if slot == worker.slots.len() {
            worker.slots.push(None);
        }
        worker.slots[slot] = Some(lease_id);
        let grant = v1::LeaseGrant {
            lease_id: lease_id.to_bytes(),
            worker_id: worker_id.to_bytes(),
            node_id: self.me.id.to_bytes(),
            peer_socket: worker.peer_socket.clone(),
            worker_pid: worker.pid().unwrap_or(0),
            node_name: self.me.name.clone(),
        };
        let assigned = v1::SlotAssigned {
            lease_id: lease_id.to_bytes(),
            owner_id: pending.owner.to_bytes(),
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
        };
        let owner_node = match pending.asker {
            Asker::Process { .. } => None,
            Asker::Peer { node, .. } => Some(node),
        };
        let lease = Lease {
            worker: worker_id,
            owner: pending.owner,
            owner_node,
            need: pending.need.clone(),
            gpus: pending.gpus.clone(),
            blocked_in_get: false,
            paused: false,
            actor: ActorLease::of(&pending.request),
            task_name: pending.request.task_name.clone(),
            number: self.counter,
        };
        self.on_actor_granted(worker_id, lease.actor.as_ref());
        self.leases.granted.insert(lease_id, lease);
        self.tell_process(worker_id, node_to_process::Message::Slot(assigned));
        self.answer(&pending, lease_reply::Result::Granted(grant));
    }

    pub(super) fn answer(&mut self, pending: &Pending, result: lease_reply::Result) {
        self.answer_with(pending, LeaseReply { result: Some(result), ..LeaseReply::default() });
    }

    pub(super) fn answer_with(&mut self, pending: &Pending, mut reply: LeaseReply) {
        reply.request_id = pending.request.request_id;
        if matches!(reply.result, Some(lease_reply::Result::Refused(_))) {
            reply.group_removed |= self.is_group_removed(&pending.need);
        }
        match pending.asker {
            Asker::Process { .. } => self.tell_process(pending.owner, node_to_process::Message::Lease(reply)),
            Asker::Peer { reply: id, .. } => self.effects.push(Effect::AnswerLease(id, reply)),
        }
    }

    /// Refuses a request that has its resources already.
    pub(super) fn refuse_reserved(&mut self, number: u64, sentence: &str) {
        self.refuse_reserved_for(number, sentence, false);
    }

    pub(super) fn refuse_reserved_for(&mut self, number: u64, sentence: &str, environment_failed: bool) {
        let Some(pending) = self.leases.remove(number) else { return };
        self.budget.give(&pending.need);
        self.gpus.give(&pending.gpus);
        let result = Some(lease_reply::Result::Refused(sentence.to_owned()));
        self.answer_with(&pending, LeaseReply { result, environment_failed, ..LeaseReply::default() });
    }

    pub(super) fn on_lease_cancel(&mut self, from: ProcessId, request_id: u64) {
        if let Some(number) = self.leases.by_request.get(&(from, request_id)).copied() {
            self.forget_pending(number);
            self.dispatch();
        }
    }

    pub(super) fn forget_pending(&mut self, number: u64) {
        let Some(class) = self.leases.pendings.get(&number).map(Class::of) else { return };
        self.leave_queue(number, &class);
        let Some(pending) = self.leases.remove(number) else { return };
        match pending.stage {
            Stage::Queued => {}
            // The peer's answer finds nobody, and the lease goes back.
            Stage::AskingPeer(_) => {}
            Stage::AwaitingWorker => {
                if let Some(pool) = self.pools.get_mut(&pending.key) {
                    pool.waiting.retain(|other| *other != number);
                }
                self.budget.give(&pending.need);
                self.gpus.give(&pending.gpus);
            }
        }
    }

    pub(super) fn forget_pending_of_job(&mut self, job: JobId) {
        let mut numbers: Vec<_> = self
            .leases
            .pendings
            .iter()
            .filter(|(_, pending)| pending.key.job == job)
            .map(|(n, _)| *n)
            .collect();
        numbers.sort_unstable();
        for number in numbers {
            if let Some(pending) = self.leases.pendings.get(&number)
                && let Asker::Peer { reply, .. } = pending.asker
            {
                let result = Some(lease_reply::Result::Refused("the job has ended".to_owned()));
                let request_id = pending.request.request_id;
                let reply_message = LeaseReply { request_id, result, ..LeaseReply::default() };
                self.effects.push(Effect::AnswerLease(reply, reply_message));
            }
            self.forget_pending(number);
        }
    }

    pub(super) fn on_lease_return_message(&mut self, returned: &v1::LeaseReturn) {
        let Ok(lease) = LeaseId::try_from(&returned.lease_id) else { return };
        if let Some((node, _)) = self.leases.elsewhere.remove(&lease) {
            self.return_to_peer(lease, node, returned.worker_unusable, returned.orderly);
        } else {
            self.take_back(lease, returned);
        }
    }

    /// A lease of this node comes back from who asked for it.
    pub(super) fn take_back(&mut self, id: LeaseId, returned: &v1::LeaseReturn) {
        if returned.orderly
            && let Some(worker) =
                self.leases.granted.get(&id).and_then(|lease| self.workers.get_mut(&lease.worker))
        {
            worker.may_wind_up = true;
        }
        self.on_lease_returned(id, returned.worker_unusable);
    }

    /// A lease of this node comes back, from a process here or from a peer.
    pub fn on_lease_returned(&mut self, id: LeaseId, worker_unusable: bool) {
        let Some(lease) = self.leases.granted.remove(&id) else { return };
        self.give_back(&lease);
        self.forget_paused_of_lease(id);
        // What an actor leaves behind in its worker is nobody else's.
        self.on_slot_free(lease.worker, id, worker_unusable || lease.actor.is_some());
        self.dispatch();
        self.leave_when_drained();
    }

    fn give_back(&mut self, lease: &Lease) {
        self.gpus.give(&lease.gpus);
        self.budget.give(&lease.uses());
    }

    pub(super) fn on_lease_blocked(&mut self, id: LeaseId, blocked: bool) {
        self.change_blocking(id, |lease| lease.blocked_in_get = blocked);
    }

    pub(super) fn on_lease_paused(&mut self, id: LeaseId, paused: bool) {
        self.change_blocking(id, |lease| lease.paused = paused);
    }

    fn change_blocking(&mut self, id: LeaseId, change: impl FnOnce(&mut Lease)) {
        let Some(lease) = self.leases.granted.get_mut(&id) else { return };
        let before = lease.gives_cpu_back();
        change(lease);
        let (after, cpu) = (lease.gives_cpu_back(), lease.need.cpu_only());
        match (before, after) {
            (false, true) => {
                self.budget.give(&cpu);
                self.dispatch();
            }
            // It runs on at once; others may have its CPU for a while, and then two share it.
            (true, false) => self.budget.take(&cpu),
            _ => {}
        }
    }

    /// A worker ended: its leases with it.
    pub(super) fn drop_leases_of_worker(&mut self, worker: ProcessId) {
        let mut gone: Vec<_> = self
            .leases
            .granted
            .iter()
            .filter(|(_, lease)| lease.worker == worker)
            .map(|(id, _)| *id)
            .collect();
        gone.sort_unstable();
        for id in gone {
            if let Some(lease) = self.leases.granted.remove(&id) {
                self.give_back(&lease);
                self.forget_paused_of_lease(id);
            }
        }
        self.leave_when_drained();
    }

    /// A process that owned tasks is gone: nobody reads what its leased workers do.
    pub(super) fn on_owner_gone(&mut self, owner: ProcessId) {
        let mut pendings: Vec<_> = self
            .leases
            .pendings
            .iter()
            .filter(|(_, pending)| pending.owner == owner && matches!(pending.asker, Asker::Process { .. }))
            .map(|(number, _)| *number)
            .collect();
        pendings.sort_unstable();
        for number in pendings {
            self.forget_pending(number);
        }
        let mut here: Vec<_> =
            self.leases.granted.iter().filter(|(_, lease)| lease.owner == owner).map(|(id, _)| *id).collect();
        here.sort_unstable();
        for id in here {
            self.return_orphan(id);
        }
        let mut elsewhere: Vec<_> =
            self.leases.elsewhere.iter().filter(|(_, (_, of))| *of == owner).collect();
        elsewhere.sort_unstable();
        let elsewhere: Vec<_> = elsewhere.into_iter().map(|(id, (node, _))| (*id, *node)).collect();
        for (id, node) in elsewhere {
            self.leases.elsewhere.remove(&id);
            if !self.is_detached_elsewhere(id) {
                self.return_to_peer(id, node, true, false);
            }
        }
        self.dispatch();
    }

    /// Takes a lease back whose owner is gone. A Python worker may be busy with a task that nobody wants; it ends. The slots of
    /// a native worker are ended by the worker itself, which hosts tasks of others too.
    /// A detached actor stays.
    pub(super) fn return_orphan(&mut self, id: LeaseId) {
        let actor = self.leases.granted.get(&id).and_then(|lease| lease.actor.as_ref());
        if actor.is_some_and(|actor| actor.detached) {
            return;
        }
        let python = self
            .leases
            .granted
            .get(&id)
            .and_then(|lease| self.workers.get(&lease.worker))
            .is_some_and(|worker| worker.key.is_python());
        self.on_lease_returned(id, python);
    }

    pub(super) fn return_to_peer(
        &mut self,
        lease: LeaseId,
        node: NodeId,
        worker_unusable: bool,
        orderly: bool,
    ) {
        if let Some(peer) = self.peers.get(&node) {
            let address = peer.address.clone();
            self.effects.push(Effect::ReturnLease { address, lease, node, worker_unusable, orderly });
        }
    }
}
