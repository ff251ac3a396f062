//! The actor that this worker hosts: the queues of its calls, and which of them run.
//!
//! Calls of one caller come over one connection and start in their order. They wait here however long others take: nobody else
//! could run them.

use std::{collections::VecDeque, sync::Arc};

use manta_proto::{
    ids::{ActorId, LeaseId, ObjectId, TaskId},
    v1::{
        ActorExit, ActorReady, ActorState, GetObject, KillActor, ObjectReply, TaskDone, TaskSpec, Value,
        actor_state::Phase, peer_message, process_to_node, task_argument,
    },
};

use super::super::{
    ConnId, FastMap, RequestId, State, cancel,
    objects::{actor_error, error_value, is_error},
    tasks::ARGUMENTS_LOST_MAX,
};
use super::{Popped, Queued, Running, location_of};
use crate::{SystemErrorKind, object_ref::RefAddress, parking::Parking};

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
    /// Callers that were asked for lost arguments of calls.
    asked: FastMap<RequestId, (TaskId, ObjectId)>,
    /// How often that was for each call.
    asks: FastMap<TaskId, u32>,
}

struct Group {
    limit: usize,
    running: usize,
    queue: VecDeque<Queued>,
    parking: Arc<Parking>,
}

impl Group {
    /// The first call that may start now. One whose arguments are still to come holds up those that its caller sent after it, but not those
    /// that run once more: their turn was before, and it may be their results that it waits for.
    fn ready(&self) -> Option<usize> {
        if self.running >= self.limit {
            return None;
        }
        let mut held_up = Vec::new();
        self.queue.iter().position(|queued| {
            let has_turn = queued.spec.made_again || !held_up.contains(&queued.conn);
            if queued.missing > 0 && !queued.spec.made_again {
                held_up.push(queued.conn);
            }
            queued.missing == 0 && has_turn
        })
    }
}

impl Host {
    fn new(creating: &Creating) -> Self {
        let group = |limit: &u32| Group {
            limit: (*limit).max(1) as usize,
            running: 0,
            queue: VecDeque::new(),
            parking: Arc::default(),
        };
        let mut groups: Vec<_> = creating.limits.iter().take(GROUPS_MAX).map(group).collect();
        if groups.is_empty() {
            groups.push(group(&1));
        }
        let Creating { actor, lease, conn, .. } = *creating;
        Self {
            actor,
            lease,
            owner: conn,
            groups,
            running: FastMap::default(),
            ended: None,
            asked: FastMap::default(),
            asks: FastMap::default(),
        }
    }

    pub fn running(&mut self, task: TaskId) -> Option<&mut Running> {
        self.running.get_mut(&task).map(|(_, running)| running)
    }

    pub fn has_queued(&self) -> bool {
        self.groups.iter().any(|group| !group.queue.is_empty())
    }

    pub fn wake_all(&self) {
        self.groups.iter().for_each(|group| {
            group.parking.notify_all();
        });
    }

    /// Forgets what nobody waits for any more.
    pub fn drop_queued_of(&mut self, conn: ConnId) {
        let mut dropped = Vec::new();
        for group in &mut self.groups {
            let of_it = |queued: &Queued| queued.conn == conn;
            dropped.extend(group.queue.iter().filter(|queued| of_it(queued)).map(|queued| queued.task));
            group.queue.retain(|queued| !of_it(queued));
        }
        dropped.into_iter().for_each(|task| self.forget_asks(task));
    }

    fn forget_asks(&mut self, task: TaskId) {
        if self.asks.remove(&task).is_some() {
            self.asked.retain(|_, (of, _)| *of != task);
        }
    }

    fn queued(&mut self, task: TaskId) -> Option<&mut Queued> {
        self.groups.iter_mut().find_map(|group| group.queue.iter_mut().find(|queued| queued.task == task))
    }

    /// The refs inside the arguments of a caller's running calls.
    pub fn contained_of(&self, conn: ConnId) -> impl Iterator<Item = RefAddress> {
        let of_it = self.running.values().filter(move |(_, running)| running.conn == conn);
        of_it.flat_map(|(_, running)| running.contained.iter().copied())
    }

    fn remove_queued(&mut self, mut wanted: impl FnMut(&Queued) -> bool) -> Option<Queued> {
        let queues = self.groups.iter_mut().map(|group| &mut group.queue);
        let (queue, position) =
            queues.filter_map(|queue| queue.iter().position(&mut wanted).map(|at| (queue, at))).next()?;
        let removed = queue.remove(position)?;
        self.forget_asks(removed.task);
        Some(removed)
    }

    /// Takes a call out of its queue.
    pub fn take_queued(&mut self, wanted: impl FnMut(&Queued) -> bool) -> Option<Box<TaskSpec>> {
        self.remove_queued(wanted).map(|queued| queued.spec)
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
    pub(super) fn on_call_pushed(&mut self, conn: ConnId, spec: Box<TaskSpec>) {
        let Ok(task) = TaskId::try_from(&spec.task_id) else { return };
        let host = self.slots.host.as_ref().filter(|host| host.actor.0[..] == spec.actor_id);
        let refusal = match host {
            None => Some("its worker does not have the actor".to_owned()),
            Some(host) => host.ended.clone(),
        };
        if let Some(cause) = refusal {
            return self.refuse_call(conn, &spec, &cause);
        }
        let away = self.arguments_elsewhere(&spec);
        let Some(host) = &mut self.slots.host else { return };
        let index = (spec.concurrency_group as usize).min(host.groups.len() - 1);
        let group = &mut host.groups[index];
        group.queue.push_back(Queued::new(conn, host.lease, task, spec, away.len()));
        if group.running < group.limit {
            group.parking.notify_one();
        }
        for location in away {
            if let Ok(id) = ObjectId::try_from(&location.object_id) {
                self.pull_argument(id, &location, ACTOR_SLOT, task);
            }
        }
    }

    fn refuse_call(&mut self, conn: ConnId, spec: &TaskSpec, cause: &str) {
        let sentence = format!("the call '{}' did not run: {cause}", spec.name);
        let error = match ActorId::try_from(&spec.actor_id) {
            Ok(id) => actor_error(id, SystemErrorKind::ActorDied, sentence),
            Err(_) => error_value(SystemErrorKind::ActorDied, sentence),
        };
        self.send_done(conn, spec, vec![error], true, 0);
    }

    /// A stored argument of a queued call has come to this node, or is lost.
    pub(super) fn on_call_argument_here(&mut self, task: TaskId, id: ObjectId, lost: Option<&str>) {
        if let Some(sentence) = lost {
            return self.ask_caller(task, id, sentence);
        }
        let Some(queued) = self.slots.host.as_mut().and_then(|host| host.queued(task)) else { return };
        queued.missing = queued.missing.saturating_sub(1);
        self.wake_groups();
    }

    fn wake_groups(&self) {
        self.slots.host.iter().flat_map(|host| &host.groups).for_each(|group| {
            group.parking.notify_one();
        });
    }

    /// A thread has taken a call, and did not find an argument: the call goes back to the front.
    pub(super) fn on_call_argument_lost(
        &mut self,
        task: TaskId,
        spec: Box<TaskSpec>,
        id: ObjectId,
        sentence: &str,
    ) {
        let Some(host) = &mut self.slots.host else { return };
        let Some((index, running)) = host.running.remove(&task) else { return };
        let group = &mut host.groups[index];
        group.running -= 1;
        if !self.conns.contains_key(&running.conn) {
            return self.wake_groups();
        }
        group.queue.push_front(Queued::new(running.conn, running.lease, task, spec, 1));
        if running.was_paused_by_debugger {
            self.tell_task_ended(task);
        }
        self.ask_caller(task, id, sentence);
        self.wake_groups();
    }

    /// An argument of a queued call is lost. Its caller keeps a ref of it, and so can have it made again or say why that cannot be; the
    /// call keeps its place meanwhile.
    fn ask_caller(&mut self, task: TaskId, id: ObjectId, sentence: &str) {
        let request_id = self.request_id();
        let Some(host) = &mut self.slots.host else { return };
        let Some(queued) = host.queued(task) else { return };
        let conn = queued.conn;
        let lost_on = location_of(&queued.spec, id).map(|place| place.node_ids.clone());
        let asks = host.asks.entry(task).or_default();
        *asks += 1;
        if *asks > ARGUMENTS_LOST_MAX {
            let error = error_value(SystemErrorKind::ObjectLost, sentence);
            return self.fail_queued_call(task, error);
        }
        host.asked.insert(request_id, (task, id));
        let get = GetObject {
            request_id: request_id.0,
            object_id: id.to_bytes(),
            lost_on: lost_on.unwrap_or_default(),
        };
        self.send(conn, peer_message::Message::Get(get));
    }

    /// The caller's answer, if it is one: where the argument is now, or why it is nowhere.
    pub(in super::super) fn on_call_argument_reply(&mut self, reply: &ObjectReply) -> bool {
        let Some(host) = &mut self.slots.host else { return false };
        let request_id = RequestId(reply.request_id);
        let Some(&(task, id)) = host.asked.get(&request_id) else { return false };
        // Without a value it is still to come: its task stands in a debugger.
        let Some(value) = &reply.value else { return true };
        host.asked.remove(&request_id);
        if is_error(value) {
            self.fail_queued_call(task, value.clone());
            return true;
        }
        let Some(queued) = host.queued(task) else { return true };
        for argument in &mut queued.spec.arguments {
            if let Some(task_argument::Value::Inline(old)) = &mut argument.value
                && old.in_store.as_ref().is_some_and(|location| location.object_id == id.0[..])
            {
                old.clone_from(value);
            }
        }
        match value.in_store.clone().filter(|_| !self.is_here(value)) {
            Some(location) => self.pull_argument(id, &location, ACTOR_SLOT, task),
            None => self.on_call_argument_here(task, id, None),
        }
        true
    }

    /// Ends a call that waits for what will not come.
    fn fail_queued_call(&mut self, task: TaskId, error: Value) {
        let Some(host) = &mut self.slots.host else { return };
        let Some(Queued { conn, spec, .. }) = host.remove_queued(|queued| queued.task == task) else {
            return;
        };
        // The call itself has not failed, so there is nothing to try again.
        let done = TaskDone { r#final: true, ..cancel::done(&spec, vec![error], true, 0) };
        self.send(conn, peer_message::Message::Done(done));
        self.wake_groups();
    }

    /// The next call of a concurrency group, as long as it runs fewer than its limit.
    pub fn pop_call(&mut self, group: usize) -> Popped {
        if let Some(cause) = self.slots.exit.clone().or_else(|| self.gone.clone()) {
            return Popped::Exit(cause);
        }
        let now = self.now;
        let Some(host) = &mut self.slots.host else {
            return Popped::Exit("this worker hosts no actor".to_owned());
        };
        let index = group.min(host.groups.len() - 1);
        let group = &mut host.groups[index];
        let ready = group.ready();
        let Some(Queued { conn, lease, task, spec, .. }) =
            ready.and_then(|position| group.queue.remove(position))
        else {
            return Popped::Wait(Arc::clone(&group.parking));
        };
        group.running += 1;
        let running = Running::new(conn, lease, task, &spec, now);
        host.running.insert(task, (index, running));
        host.forget_asks(task);
        Popped::Task(spec)
    }

    /// A call has run, or is given up: others of its group may start.
    pub(super) fn take_call(&mut self, task: TaskId) -> Option<Running> {
        let host = self.slots.host.as_mut()?;
        let (index, running) = host.running.remove(&task)?;
        let group = &mut host.groups[index];
        group.running -= 1;
        if !group.queue.is_empty() {
            group.parking.notify_one();
        }
        Some(running)
    }

    /// The actor ends itself: its calls fail, and its owner, or else its node, ends the worker.
    pub fn on_actor_exit(&mut self, cause: &str) {
        let Some(host) = self.slots.host.as_mut().filter(|host| host.ended.is_none()) else { return };
        host.ended = Some(cause.to_owned());
        host.asked.clear();
        let (actor, lease, owner) = (host.actor, host.lease, host.owner);
        let queued: Vec<_> = host.groups.iter_mut().flat_map(|group| group.queue.drain(..)).collect();
        let mut running: Vec<_> = host.running.keys().copied().collect();
        running.sort_unstable();
        let error = actor_error(actor, SystemErrorKind::ActorDied, format!("the actor is dead: {cause}"));
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
