//! The actor that this worker hosts: the queues of its calls, and which of them run.
//!
//! Calls of one caller come over one connection and start in their order. They wait here however long others take: nobody else
//! could run them.

use std::{collections::VecDeque, sync::Arc};

use manta_proto::{
    ids::{ActorId, LeaseId, ObjectId, TaskId},
    v1::{
        ActorExit, ActorReady, ActorState, KillActor, TaskSpec, Value, actor_state::Phase, peer_message,
        process_to_node, task_argument,
    },
};
use parking_lot::Condvar;

use super::super::{ConnId, FastMap, State, objects::error_value};
use super::{Popped, Queued, Running};
use crate::{SystemErrorKind, object_ref::RefAddress};

/// The slot of all calls of an actor.
pub(crate) const ACTOR_SLOT: u32 = u32::MAX;
/// Concurrency groups of an actor.
pub(super) const GROUPS_MAX: usize = 1024;

/// An actor whose creation task runs.
pub(super) struct Creating {
    pub task: TaskId,
    pub conn: ConnId,
    pub lease: LeaseId,
    pub actor: ActorId,
    pub limits: Vec<u32>,
}

pub(super) struct Host {
    actor: ActorId,
    lease: LeaseId,
    owner: ConnId,
    groups: Vec<Group>,
    running: FastMap<TaskId, (usize, Running)>,
    /// Why the actor takes no more calls.
    ended: Option<String>,
}

struct Group {
    limit: usize,
    running: usize,
    queue: VecDeque<Queued>,
    condvar: Arc<Condvar>,
}

impl Host {
    fn new(creating: &Creating) -> Self {
        let group = |limit: &u32| Group {
            limit: (*limit).max(1) as usize,
            running: 0,
            queue: VecDeque::new(),
            condvar: Arc::default(),
        };
        let mut groups: Vec<_> = creating.limits.iter().take(GROUPS_MAX).map(group).collect();
        if groups.is_empty() {
            groups.push(group(&1));
        }
        let Creating { actor, lease, conn, .. } = *creating;
        Self { actor, lease, owner: conn, groups, running: FastMap::default(), ended: None }
    }

    pub fn running(&mut self, task: TaskId) -> Option<&mut Running> {
        self.running.get_mut(&task).map(|(_, running)| running)
    }

    pub fn has_queued(&self) -> bool {
        self.groups.iter().any(|group| !group.queue.is_empty())
    }

    pub fn wake_all(&self) {
        self.groups.iter().for_each(|group| {
            group.condvar.notify_all();
        });
    }

    /// Forgets what nobody waits for any more.
    pub fn drop_queued_of(&mut self, conn: ConnId) {
        self.groups.iter_mut().for_each(|group| group.queue.retain(|queued| queued.conn != conn));
    }

    /// The refs inside the arguments of a caller's running calls.
    pub fn contained_of(&self, conn: ConnId) -> impl Iterator<Item = RefAddress> {
        let of_it = self.running.values().filter(move |(_, running)| running.conn == conn);
        of_it.flat_map(|(_, running)| running.contained.iter().copied())
    }

    /// Takes a call out of its queue.
    pub fn take_queued(&mut self, mut wanted: impl FnMut(&Queued) -> bool) -> Option<TaskSpec> {
        let queues = self.groups.iter_mut().map(|group| &mut group.queue);
        let (queue, position) =
            queues.filter_map(|queue| queue.iter().position(&mut wanted).map(|at| (queue, at))).next()?;
        queue.remove(position).map(|queued| queued.spec)
    }
}

impl State {
    /// A task starts: it may be one that makes an actor.
    pub(super) fn note_creation(&mut self, conn: ConnId, lease: LeaseId, task: TaskId, spec: &TaskSpec) {
        if let (Some(creation), Ok(actor)) = (&spec.creation, ActorId::try_from(&spec.actor_id)) {
            let limits = creation.group_limits.clone();
            self.slots.creating = Some(Creating { task, conn, lease, actor, limits });
        }
    }

    /// The actor that is being made knows better than its maker how many of its calls may run at once.
    pub fn on_group_limits(&mut self, task: TaskId, limits: &[u32]) {
        if let Some(creating) = self.slots.creating.as_mut().filter(|creating| creating.task == task) {
            creating.limits = limits.to_vec();
        }
    }

    /// A task has ended: if it made an actor, this worker hosts it from now on.
    pub(super) fn on_creation_finished(&mut self, task: TaskId, failed: bool) {
        let Some(creating) = self.slots.creating.take_if(|creating| creating.task == task) else { return };
        if !failed {
            let lease_id = creating.lease.to_bytes();
            self.slots.host = Some(Host::new(&creating));
            self.tell_node(process_to_node::Message::ActorReady(ActorReady { lease_id }));
        }
    }

    /// A caller sent a call.
    pub(super) fn on_call_pushed(&mut self, conn: ConnId, spec: TaskSpec) {
        let Ok(task) = TaskId::try_from(&spec.task_id) else { return };
        let host = self.slots.host.as_ref().filter(|host| host.actor.0[..] == spec.actor_id);
        let refusal = match host {
            None => Some("its worker does not have the actor".to_owned()),
            Some(host) => host.ended.clone(),
        };
        if let Some(cause) = refusal {
            return self.refuse_call(conn, &spec, &cause);
        }
        let away: Vec<_> = spec
            .arguments
            .iter()
            .filter_map(|argument| match &argument.value {
                Some(task_argument::Value::Inline(value)) if !self.is_here(value) => value.in_store.clone(),
                _ => None,
            })
            .collect();
        let Some(host) = &mut self.slots.host else { return };
        let index = (spec.concurrency_group as usize).min(host.groups.len() - 1);
        let group = &mut host.groups[index];
        let missing = u32::try_from(away.len()).unwrap_or(u32::MAX);
        let lease = host.lease;
        group.queue.push_back(Queued { conn, lease, task, spec, missing, lost: None });
        if group.running < group.limit {
            group.condvar.notify_one();
        }
        for location in away {
            if let Ok(id) = ObjectId::try_from(&location.object_id) {
                self.pull_argument(id, &location, ACTOR_SLOT, task);
            }
        }
    }

    fn refuse_call(&mut self, conn: ConnId, spec: &TaskSpec, cause: &str) {
        let sentence = format!("the call '{}' did not run: {cause}", spec.name);
        self.send_done(conn, spec, vec![error_value(SystemErrorKind::ActorDied, sentence)], true, 0);
    }

    /// A stored argument of a queued call has come to this node, or is lost.
    pub(super) fn on_call_argument_here(&mut self, task: TaskId, id: ObjectId, lost: Option<&str>) {
        let Some(host) = &mut self.slots.host else { return };
        for group in &mut host.groups {
            if let Some(queued) = group.queue.iter_mut().find(|queued| queued.task == task) {
                queued.on_argument(id, lost);
                group.condvar.notify_one();
            }
        }
    }

    /// The next call of a concurrency group, as long as it runs fewer than its limit.
    pub fn pop_call(&mut self, group: usize) -> Popped {
        loop {
            if let Some(cause) = self.slots.exit.clone().or_else(|| self.gone.clone()) {
                return Popped::Exit(cause);
            }
            let now = self.now;
            let Some(host) = &mut self.slots.host else {
                return Popped::Exit("this worker hosts no actor".to_owned());
            };
            let index = group.min(host.groups.len() - 1);
            let group = &mut host.groups[index];
            let ready =
                group.running < group.limit && group.queue.front().is_some_and(|queued| queued.missing == 0);
            let Some(Queued { conn, lease, task, spec, lost, .. }) =
                ready.then(|| group.queue.pop_front()).flatten()
            else {
                return Popped::Wait(Arc::clone(&group.condvar));
            };
            if let Some((arguments, sentence)) = lost {
                self.send_arguments_lost(conn, &spec, &arguments, &sentence);
                continue;
            }
            group.running += 1;
            let running = Running::new(conn, lease, task, &spec, now);
            host.running.insert(task, (index, running));
            return Popped::Task(Box::new(spec));
        }
    }

    /// A call has run, or is given up: others of its group may start.
    pub(super) fn take_call(&mut self, task: TaskId) -> Option<Running> {
        let host = self.slots.host.as_mut()?;
        let (index, running) = host.running.remove(&task)?;
        let group = &mut host.groups[index];
        group.running -= 1;
        if !group.queue.is_empty() {
            group.condvar.notify_one();
        }
        Some(running)
    }

    /// The actor ends itself: its calls fail, and its owner, or else its node, ends the worker.
    pub fn on_actor_exit(&mut self, cause: &str) {
        let Some(host) = self.slots.host.as_mut().filter(|host| host.ended.is_none()) else { return };
        host.ended = Some(cause.to_owned());
        let (actor, lease, owner) = (host.actor, host.lease, host.owner);
        let queued: Vec<_> = host.groups.iter_mut().flat_map(|group| group.queue.drain(..)).collect();
        let mut running: Vec<_> = host.running.keys().copied().collect();
        running.sort_unstable();
        let error = error_value(SystemErrorKind::ActorDied, format!("the actor is dead: {cause}"));
        for task in running {
            self.on_finished(ACTOR_SLOT, task, vec![error.clone()], true);
        }
        for Queued { conn, spec, .. } in queued {
            self.refuse_call(conn, &spec, cause);
        }
        if self.conns.contains_key(&owner) {
            self.send(owner, peer_message::Message::Actor(dead(actor, error)));
        } else {
            self.end_hosted(lease, cause);
        }
    }

    /// Somebody kills the actor, whose owner is gone.
    pub(in super::super) fn on_kill_hosted(&mut self, kill: &KillActor) -> bool {
        let Some(host) = self.slots.host.as_ref().filter(|host| host.actor.0[..] == kill.actor_id) else {
            return false;
        };
        self.end_hosted(host.lease, "it was killed by kill()");
        true
    }

    fn end_hosted(&mut self, lease: LeaseId, cause: &str) {
        let exit = ActorExit { lease_id: lease.to_bytes(), cause: cause.to_owned() };
        self.tell_node(process_to_node::Message::ActorExit(exit));
    }
}

fn dead(actor: ActorId, error: Value) -> ActorState {
    ActorState {
        actor_id: actor.to_bytes(),
        phase: Phase::Dead as i32,
        error: Some(error),
        ..ActorState::default()
    }
}
