//! Actors on this node: a worker that is one actor's alone, and what processes here say to the head about registered actors.
//!
//! What becomes of an actor is its owner's to decide; the node keeps its worker as long as the owner lives, or, for a detached actor,
//! as long as the worker does.

use std::collections::{BTreeMap, HashMap, HashSet};

use manta_proto::{
    ids::{ActorId, LeaseId, ProcessId},
    v1::{self, node_to_head, node_to_process},
};

use super::Core;
use crate::resources::Resources;

/// Questions to the head that are kept until it answers.
const QUESTIONS_MAX: usize = 10_000;

/// What a lease's worker is when it is an actor's.
#[derive(Clone)]
pub(super) struct ActorLease {
    pub actor: ActorId,
    pub held: Resources,
    pub detached: bool,
    pub registered: bool,
}

impl ActorLease {
    pub fn of(request: &v1::LeaseRequest) -> Option<Self> {
        let wire = request.actor.as_ref()?;
        Some(Self {
            actor: ActorId::try_from(&wire.actor_id).ok()?,
            held: Resources::from_wire(wire.held.as_ref()),
            detached: wire.detached,
            registered: wire.registered,
        })
    }
}

/// What this node says to the head about registered actors.
#[derive(Default)]
pub(super) struct Actors {
    /// Processes of this node that have actors.
    owners: HashSet<ProcessId>,
    /// Workers of registered actors.
    workers: HashMap<ProcessId, ActorId>,
    /// Leases on other nodes for detached actors of our processes.
    elsewhere: HashSet<LeaseId>,
    /// Questions to the head without an answer: a head that comes back is asked again.
    asked: BTreeMap<(ProcessId, u64), node_to_head::Message>,
    /// What our processes said last of actors of theirs that live.
    said: BTreeMap<ActorId, (ProcessId, node_to_head::Message)>,
}

impl Core {
    pub(super) fn on_register_actor(&mut self, from: ProcessId, mut request: v1::RegisterActor) {
        request.process_id = from.to_bytes();
        self.actors.owners.insert(from);
        self.ask_head(from, request.request_id, node_to_head::Message::RegisterActor(request));
    }

    pub(super) fn on_get_actor(&mut self, from: ProcessId, mut request: v1::GetActor) {
        request.process_id = from.to_bytes();
        self.ask_head(from, request.request_id, node_to_head::Message::GetActor(request));
    }

    fn ask_head(&mut self, from: ProcessId, request_id: u64, question: node_to_head::Message) {
        if self.actors.asked.len() < QUESTIONS_MAX {
            self.actors.asked.insert((from, request_id), question.clone());
        }
        self.tell_head(question);
    }

    /// An owner says how its actor is.
    pub(super) fn on_actor_update(&mut self, from: ProcessId, state: v1::ActorState) {
        if let Ok(id) = ActorId::try_from(&state.actor_id) {
            if state.phase() == v1::actor_state::Phase::Dead {
                self.actors.said.remove(&id);
            } else if self.actors.owners.contains(&from) {
                self.actors.said.insert(id, (from, node_to_head::Message::ActorUpdate(state.clone())));
            }
        }
        self.tell_head(node_to_head::Message::ActorUpdate(state));
    }

    /// An owner says how an actor is that is not registered.
    pub(super) fn on_actor_listed(&mut self, from: ProcessId, mut entry: v1::ActorEntry) {
        let Ok(id) = ActorId::try_from(&entry.actor_id) else { return };
        entry.owner_id = from.to_bytes();
        let is_dead = entry.state.as_ref().is_some_and(|state| state.phase() == v1::actor_state::Phase::Dead);
        let message = node_to_head::Message::ActorListed(entry);
        self.actors.owners.insert(from);
        if is_dead {
            self.actors.said.remove(&id);
        } else {
            self.actors.said.insert(id, (from, message.clone()));
        }
        self.tell_head(message);
    }

    /// The head is back, and may not have heard the last words before it went.
    pub(super) fn tell_of_actors_again(&mut self) {
        let said: Vec<_> = self.actors.said.values().map(|(_, message)| message.clone()).collect();
        for message in said {
            self.tell_head(message);
        }
        let asked: Vec<_> = self.actors.asked.values().cloned().collect();
        for question in asked {
            self.tell_head(question);
        }
    }

    /// What lives on this node, for a head that remembers it.
    #[must_use]
    pub fn registration(&self, info: v1::NodeInfo) -> v1::NodeRegister {
        let mut workers: Vec<_> = self.actors.workers.keys().copied().collect();
        workers.sort_unstable();
        let mut owners: Vec<_> = self.actors.owners.iter().copied().collect();
        owners.sort_unstable();
        v1::NodeRegister {
            protocol_version: manta_proto::PROTOCOL_VERSION,
            info: Some(info),
            job_ids: self.drivers.values().map(|driver| driver.config.job_id.clone()).collect(),
            actor_owner_ids: owners.into_iter().map(ProcessId::to_bytes).collect(),
            actor_worker_ids: workers.into_iter().map(ProcessId::to_bytes).collect(),
            submission_ids: self.submitted.known(),
        }
    }

    /// The head answers a process of ours.
    pub(super) fn on_actor_reply(&mut self, reply: v1::ActorReply) {
        if let Ok(process) = ProcessId::try_from(&reply.process_id) {
            self.actors.asked.remove(&(process, reply.request_id));
            self.tell_process(process, node_to_process::Message::Actor(reply));
        }
    }

    /// A worker has been given to an actor.
    pub(super) fn on_actor_granted(&mut self, worker: ProcessId, actor: Option<&ActorLease>) {
        if let Some(actor) = actor.filter(|actor| actor.registered) {
            self.actors.workers.insert(worker, actor.actor);
        }
    }

    /// Another node has given a worker to an actor of one of our processes.
    pub(super) fn on_actor_granted_elsewhere(&mut self, lease: LeaseId, request: &v1::LeaseRequest) {
        if ActorLease::of(request).is_some_and(|actor| actor.detached) {
            self.actors.elsewhere.insert(lease);
        }
    }

    /// Whether the lease, whose owner is gone, stays on its node; asked once.
    pub(super) fn is_detached_elsewhere(&mut self, lease: LeaseId) -> bool {
        self.actors.elsewhere.remove(&lease)
    }

    /// The actor is made: from now on it needs only what it holds.
    pub(super) fn on_actor_ready(&mut self, lease: &[u8]) {
        let Ok(id) = LeaseId::try_from(lease) else { return };
        let Some(lease) = self.leases.granted.get_mut(&id) else { return };
        let Some(held) = lease.actor.as_ref().map(|actor| actor.held.clone()) else { return };
        let before = lease.uses();
        lease.need = held;
        let after = lease.uses();
        self.budget.give(&before);
        self.budget.take(&after);
        self.dispatch();
    }

    /// An actor without its owner ends.
    pub(super) fn on_actor_exit(&mut self, exit: &v1::ActorExit) {
        if let Ok(lease) = LeaseId::try_from(&exit.lease_id) {
            self.on_lease_returned(lease, true);
        }
    }

    /// Whether the worker is a detached actor's, which outlives its job.
    pub(super) fn is_detached_actor(&self, worker: ProcessId) -> bool {
        let mut leases = self.leases.granted.values().filter(|lease| lease.worker == worker);
        leases.any(|lease| lease.actor.as_ref().is_some_and(|actor| actor.detached))
    }

    /// A process is gone: what the head has to know of it.
    pub(super) fn on_process_of_actors_gone(&mut self, process: ProcessId, fate: &str) {
        if let Some(actor) = self.actors.workers.remove(&process) {
            self.tell_head(node_to_head::Message::ActorWorkerEnded(v1::ActorWorkerEnded {
                actor_id: actor.to_bytes(),
                worker_id: process.to_bytes(),
                cause: fate.to_owned(),
            }));
        }
        self.actors.asked.retain(|(asker, _), _| *asker != process);
        self.actors.said.retain(|_, (owner, _)| *owner != process);
        if self.actors.owners.remove(&process) {
            let ended = v1::OwnerEnded { process_id: process.to_bytes() };
            self.tell_head(node_to_head::Message::OwnerEnded(ended));
        }
    }
}
