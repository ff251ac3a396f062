//! Actors on this node: a worker that is one actor's alone, and what processes here say to the head about registered actors.
//!
//! What becomes of an actor is its owner's to decide; the node keeps its worker as long as the owner lives, or, for a detached actor,
//! as long as the worker does.

use std::collections::{HashMap, HashSet};

use manta_proto::{
    ids::{ActorId, LeaseId, ProcessId},
    v1::{self, node_to_head, node_to_process},
};

use super::Core;
use crate::resources::Resources;

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
    /// Processes of this node that have registered actors.
    owners: HashSet<ProcessId>,
    /// Workers of registered actors.
    workers: HashMap<ProcessId, ActorId>,
    /// Leases on other nodes for detached actors of our processes.
    elsewhere: HashSet<LeaseId>,
}

impl Core {
    pub(super) fn on_register_actor(&mut self, from: ProcessId, mut request: v1::RegisterActor) {
        request.process_id = from.to_bytes();
        self.actors.owners.insert(from);
        self.tell_head(node_to_head::Message::RegisterActor(request));
    }

    pub(super) fn on_get_actor(&mut self, from: ProcessId, mut request: v1::GetActor) {
        request.process_id = from.to_bytes();
        self.tell_head(node_to_head::Message::GetActor(request));
    }

    /// The head answers a process of ours.
    pub(super) fn on_actor_reply(&mut self, reply: v1::ActorReply) {
        if let Ok(process) = ProcessId::try_from(&reply.process_id) {
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
        if self.actors.owners.remove(&process) {
            let ended = v1::OwnerEnded { process_id: process.to_bytes() };
            self.tell_head(node_to_head::Message::OwnerEnded(ended));
        }
    }
}
