//! The register of named and detached actors: who has which name, where such an actor is, and whether it still lives. Of all other
//! actors the head hears from their owners how they are, for who lists them.
//!
//! An actor's owner says how it is as long as it lives. Once the owner is gone, a detached actor lives as long as its worker does;
//! any other registered actor is dead. Calls never come here.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use manta_proto::{
    ids::{ActorId, JobId, NodeId, ProcessId},
    v1::{self, ActorEntry, ActorReply, ActorState, actor_state::Phase, head_to_node},
};

use crate::{
    core::{Core, Effect, down},
    durable::{Key, Returned},
};

/// Registered actors of a cluster.
const ACTORS_MAX: usize = 100_000;
/// Bytes from which a handle is made.
const HANDLE_BYTES_MAX: usize = 1024 * 1024;
/// Dead actors of which it is remembered that they were there.
const DEAD_ACTORS_MAX: usize = 1000;
/// Living actors that are not registered, of a cluster: more are not listed.
const LISTED_MAX: usize = 100_000;
/// Dead ones of those that are listed.
const DEAD_LISTED_MAX: usize = 10_000;

struct Registered {
    entry: ActorEntry,
    owner_node: NodeId,
    /// The end of a worker, of which the owner has not said anything yet.
    ended: Option<(ProcessId, String)>,
}

impl Registered {
    fn worker(&self) -> Option<ProcessId> {
        self.entry.state.as_ref().and_then(|state| ProcessId::try_from(&state.worker_id).ok())
    }

    fn phase(&self) -> Phase {
        self.entry.state.as_ref().map_or(Phase::Unknown, ActorState::phase)
    }
}

const OWNER_ENDED: &str = "the process that made it ended";

fn is_dead(entry: &ActorEntry) -> bool {
    entry.state.as_ref().is_some_and(|state| state.phase() == Phase::Dead)
}

#[derive(Default)]
pub(crate) struct Actors {
    known: HashMap<ActorId, Registered>,
    names: HashMap<(String, String), ActorId>,
    dead: VecDeque<ActorId>,
    /// Actors that are not registered, for who lists actors. They are not written down: their owners' nodes tell of them again.
    listed: HashMap<ActorId, (NodeId, ActorEntry)>,
    dead_listed: VecDeque<ActorId>,
}

impl Core {
    /// All actors, and those that died last.
    pub(crate) fn actor_entries(&self) -> impl Iterator<Item = &ActorEntry> {
        let registered = self.actors.known.values().map(|registered| &registered.entry);
        registered.chain(self.actors.listed.values().map(|(_, entry)| entry))
    }

    /// An owner says how an actor is that is not registered.
    pub(crate) fn on_actor_listed(&mut self, from: NodeId, entry: ActorEntry) {
        let Ok(id) = ActorId::try_from(&entry.actor_id) else { return };
        let known = self.actors.listed.get(&id);
        if known.is_some_and(|(_, before)| is_dead(before)) {
            return;
        }
        let living = self.actors.listed.len() - self.actors.dead_listed.len();
        if known.is_none() && living >= LISTED_MAX {
            return;
        }
        let dead = is_dead(&entry);
        self.actors.listed.insert(id, (from, entry));
        if dead {
            self.note_dead_listed(id);
        }
    }

    /// Owners are gone, and with them their actors that are not registered.
    fn end_listed(&mut self, owned: impl Fn(NodeId, &ActorEntry) -> bool) {
        let living = self.actors.listed.iter().filter(|(_, (_, entry))| !is_dead(entry));
        let gone = living.filter(|(_, (node, entry))| owned(*node, entry)).map(|(id, _)| *id);
        let mut gone: Vec<_> = gone.collect();
        gone.sort_unstable();
        for id in gone {
            if let Some((_, entry)) = self.actors.listed.get_mut(&id) {
                entry.state = Some(ActorState {
                    phase: Phase::Dead as i32,
                    cause: OWNER_ENDED.to_owned(),
                    ..ActorState::default()
                });
            }
            self.note_dead_listed(id);
        }
    }

    fn note_dead_listed(&mut self, id: ActorId) {
        self.actors.dead_listed.push_back(id);
        if self.actors.dead_listed.len() > DEAD_LISTED_MAX
            && let Some(oldest) = self.actors.dead_listed.pop_front()
        {
            self.actors.listed.remove(&oldest);
        }
    }

    pub(crate) fn on_register_actor(&mut self, from: NodeId, request: v1::RegisterActor) {
        let reply = |entry, error| ActorReply {
            request_id: request.request_id,
            process_id: request.process_id.clone(),
            entry,
            error,
        };
        let refused = |sentence: String| reply(None, sentence);
        let answer = match request.entry {
            None => refused("the request to register an actor says nothing about it".to_owned()),
            Some(entry) => match self.register(from, entry) {
                Ok(existing) => reply(existing, String::new()),
                Err(sentence) => refused(sentence),
            },
        };
        self.answer_actor(from, answer);
    }

    /// The entry that has the name already, if there is one.
    fn register(&mut self, from: NodeId, entry: ActorEntry) -> Result<Option<ActorEntry>, String> {
        let id = ActorId::try_from(&entry.actor_id).map_err(|error| error.to_string())?;
        let job = JobId::try_from(&entry.job_id).map_err(|error| error.to_string())?;
        let name = (entry.namespace.clone(), entry.name.clone());
        if let Some(existing) = self.actors.names.get(&name).and_then(|id| self.actors.known.get(id)) {
            // Its own request came twice, since the answer was lost with the head that gave it.
            let again = existing.entry.actor_id == entry.actor_id;
            return Ok((!again).then(|| existing.entry.clone()));
        }
        if self.actors.known.len() >= ACTORS_MAX {
            return Err(format!(
                "{ACTORS_MAX} actors are registered already, which is the most a cluster takes"
            ));
        }
        if entry.handle.len() > HANDLE_BYTES_MAX {
            return Err(format!(
                "the description of the actor's class has {} bytes, and {HANDLE_BYTES_MAX} is the most; give it fewer methods",
                entry.handle.len()
            ));
        }
        if !self.is_running(job) {
            return Err("the job that wants to register the actor has ended".to_owned());
        }
        if !entry.name.is_empty() {
            self.actors.names.insert(name, id);
        }
        self.actors.known.insert(id, Registered { entry, owner_node: from, ended: None });
        self.mark(Key::Actor(id));
        Ok(None)
    }

    pub(crate) fn on_get_actor(&mut self, from: NodeId, request: v1::GetActor) {
        let id = ActorId::try_from(&request.actor_id)
            .ok()
            .or_else(|| self.actors.names.get(&(request.namespace, request.name)).copied());
        let entry = id.and_then(|id| self.actors.known.get(&id)).map(|actor| actor.entry.clone());
        let (request_id, process_id) = (request.request_id, request.process_id);
        self.answer_actor(from, ActorReply { request_id, process_id, entry, error: String::new() });
    }

    fn answer_actor(&mut self, node: NodeId, reply: ActorReply) {
        if let Some(node) = self.nodes.get(&node) {
            self.effects.push(Effect::ToNode(node.link, down(head_to_node::Message::Actor(reply))));
        }
    }

    /// An owner says how its actor is.
    pub(crate) fn on_actor_update(&mut self, state: ActorState) {
        let Ok(id) = ActorId::try_from(&state.actor_id) else { return };
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        if actor.phase() == Phase::Dead {
            return;
        }
        let dead = state.phase() == Phase::Dead;
        actor.entry.state = Some(state);
        self.mark(Key::Actor(id));
        if dead {
            self.forget_name(id);
        }
    }

    /// A registered actor's worker has ended. Its owner decides what becomes of it, if it still lives.
    pub(crate) fn on_actor_worker_ended(&mut self, ended: v1::ActorWorkerEnded) {
        let (Ok(id), Ok(worker)) =
            (ActorId::try_from(&ended.actor_id), ProcessId::try_from(&ended.worker_id))
        else {
            return;
        };
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        actor.ended = Some((worker, ended.cause));
        self.check_orphan(id);
    }

    /// A process that owned registered actors is gone.
    pub(crate) fn on_owner_ended(&mut self, process: &[u8]) {
        let owned = |actor: &Registered| actor.entry.owner_id[..] == *process;
        self.orphan(owned);
        self.end_listed(|_, entry| entry.owner_id[..] == *process);
    }

    /// What the head's memory has of an actor.
    pub(crate) fn actor_entry(&self, id: ActorId) -> Option<&ActorEntry> {
        self.actors.known.get(&id).map(|actor| &actor.entry)
    }

    /// An actor from the head's memory.
    pub(crate) fn restore_actor(&mut self, id: ActorId, entry: ActorEntry) {
        let Ok(owner_node) = NodeId::try_from(&entry.owner_node_id) else { return };
        let dead = entry.state.as_ref().is_some_and(|state| state.phase() == Phase::Dead);
        if dead {
            self.actors.dead.push_back(id);
        } else if !entry.name.is_empty() {
            self.actors.names.insert((entry.namespace.clone(), entry.name.clone()), id);
        }
        self.actors.known.insert(id, Registered { entry, owner_node, ended: None });
    }

    /// A node is back, and says which owners and workers of registered actors live on it.
    pub(crate) fn on_node_of_actors_returned(&mut self, node: NodeId, returned: &Returned) {
        let ended = |actor: &Registered| {
            let state = actor.entry.state.as_ref()?;
            let worker = ProcessId::try_from(&state.worker_id).ok()?;
            (state.node_id[..] == node.0 && !returned.actor_workers.contains(&worker)).then_some(worker)
        };
        let mut gone: Vec<_> =
            self.actors.known.iter().filter_map(|(id, actor)| Some((*id, ended(actor)?))).collect();
        gone.sort_unstable();
        for (id, worker) in gone {
            if let Some(actor) = self.actors.known.get_mut(&id) {
                actor.ended = Some((worker, "its worker ended while the head was away".to_owned()));
            }
            self.check_orphan(id);
        }
        let lives = |owner: &[u8]| returned.actor_owners.iter().any(|process| process.0[..] == *owner);
        self.orphan(|actor| {
            actor.owner_node == node && !actor.entry.owner_gone && !lives(&actor.entry.owner_id)
        });
    }

    /// A node is gone, with all the owners and workers that it had.
    pub(crate) fn on_node_of_actors_lost(&mut self, node: NodeId, cause: &str) {
        let mut there: Vec<_> = self
            .actors
            .known
            .iter_mut()
            .filter(|(_, actor)| actor.entry.state.as_ref().is_some_and(|state| state.node_id[..] == node.0))
            .collect();
        for (_, actor) in &mut there {
            actor.ended = actor.worker().map(|worker| (worker, cause.to_owned()));
        }
        let mut there: Vec<_> = there.into_iter().map(|(id, _)| *id).collect();
        there.sort_unstable();
        for id in there {
            self.check_orphan(id);
        }
        self.orphan(|actor| actor.owner_node == node);
        self.end_listed(|owner_node, _| owner_node == node);
    }

    fn orphan(&mut self, owned: impl Fn(&Registered) -> bool) {
        let mut orphans: Vec<_> =
            self.actors.known.iter().filter(|(_, actor)| owned(actor)).map(|(id, _)| *id).collect();
        orphans.sort_unstable();
        for id in orphans {
            if let Some(actor) = self.actors.known.get_mut(&id) {
                actor.entry.owner_gone = true;
            }
            self.mark(Key::Actor(id));
            self.check_orphan(id);
        }
    }

    /// Sees whether an actor without its owner still lives.
    fn check_orphan(&mut self, id: ActorId) {
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        if !actor.entry.owner_gone || actor.phase() == Phase::Dead {
            return;
        }
        let cause = match &actor.ended {
            Some((worker, cause)) if actor.worker() == Some(*worker) => {
                format!("{cause}. The process that made it is gone, so nobody makes it anew")
            }
            _ if !actor.entry.detached => OWNER_ENDED.to_owned(),
            _ if actor.phase() != Phase::Alive => {
                "the process that made it ended before the actor was there".to_owned()
            }
            _ => return,
        };
        let actor_id = actor.entry.actor_id.clone();
        actor.entry.state =
            Some(ActorState { actor_id, phase: Phase::Dead as i32, cause, ..ActorState::default() });
        self.mark(Key::Actor(id));
        self.forget_name(id);
    }

    /// The name of a dead actor is free. Who has a handle may still ask what became of it, for a while.
    fn forget_name(&mut self, id: ActorId) {
        if let Some(actor) = self.actors.known.get(&id) {
            let name = (actor.entry.namespace.clone(), actor.entry.name.clone());
            if self.actors.names.get(&name) == Some(&id) {
                self.actors.names.remove(&name);
            }
        }
        self.actors.dead.push_back(id);
        if self.actors.dead.len() > DEAD_ACTORS_MAX
            && let Some(oldest) = self.actors.dead.pop_front()
        {
            self.actors.known.remove(&oldest);
            self.mark(Key::Actor(oldest));
        }
    }
}
