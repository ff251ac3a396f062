//! Actors as this process knows them: those that it made, whose owner it is, and those that it only calls.
//!
//! A call goes into its actor's queue when it is submitted, and leaves it in that order once its arguments are there and the actor
//! lives. What becomes of an actor whose worker ended is decided by its owner alone; callers ask.

mod owner;
mod registry;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use manta_proto::{
    ids::{ActorId, LeaseId, NodeId, ProcessId, TaskId},
    v1::{ActorAsk, ActorState, KillActor, Value, actor_state, peer_message},
};

use super::{
    ConnId, FastMap, RequestId, State, Submission,
    events::Place,
    objects::{actor_error, error_value},
};
use crate::SystemErrorKind;

pub(crate) use owner::NewActor;
use owner::Owned;
pub(crate) use registry::Question;

/// Calls have no lease of their own.
const NO_LEASE: LeaseId = LeaseId([0; 16]);
/// Before the same question is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What a task is to an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It makes the actor.
    Creation(ActorId),
    /// It calls the actor; the number is its place among all calls of this process.
    Call(ActorId, u64),
}

/// What a handle is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ActorAddress {
    pub actor: ActorId,
    pub owner: ProcessId,
    pub owner_node: NodeId,
    pub detached: bool,
}

#[derive(Default)]
pub(super) struct Actors {
    known: FastMap<ActorId, Actor>,
    /// Requests for workers.
    requests: FastMap<RequestId, ActorId>,
    /// Questions to the head: of this process's threads, and of the reactor itself.
    questions: FastMap<RequestId, Question>,
    asks: FastMap<RequestId, ActorId>,
    calls: u64,
}

impl Actors {
    #[cfg(test)]
    pub fn leftovers(&self) -> [usize; 4] {
        [self.known.len(), self.requests.len(), self.questions.len(), self.asks.len()]
    }
}

struct Actor {
    address: ActorAddress,
    handles: u32,
    /// A handle has left this process: nobody counts those.
    escaped: bool,
    phase: Phase,
    /// The worker's connection; also after the actor's death, until it ends.
    conn: Option<ConnId>,
    /// Not sent yet, in their order.
    waiting: VecDeque<(u64, TaskId)>,
    /// Sent, with their place in the order.
    sent: FastMap<TaskId, u64>,
    /// Calls whose worker is lost, and why; to be failed once it is known what became of the actor.
    lost: Vec<(TaskId, String)>,
    /// The owner was asked over this connection, and tells when something changes.
    asked: Option<ConnId>,
    ask_at: Option<Instant>,
    /// The worker that was lost last: an answer that names it may be old.
    lost_worker: Option<ProcessId>,
    kill_when_found: Option<bool>,
    owned: Option<Box<Owned>>,
}

enum Phase {
    /// The owner has to be asked.
    Unknown,
    /// It is being made.
    Pending,
    Alive(Place),
    Restarting,
    /// Its worker is gone, and so is it; the node is asked why. Owners only.
    Lost,
    /// Its calls fail with this.
    Dead(Value),
}

impl Actor {
    fn new(address: ActorAddress, phase: Phase, owned: Option<Box<Owned>>) -> Self {
        Self {
            address,
            handles: 1,
            escaped: false,
            phase,
            conn: None,
            waiting: VecDeque::new(),
            sent: FastMap::default(),
            lost: Vec::new(),
            asked: None,
            ask_at: None,
            lost_worker: None,
            kill_when_found: None,
            owned,
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty() && self.lost.is_empty()
    }

    /// Where a call is among those that wait, or belongs.
    fn place_of(&self, order: u64) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&order, |(order, _)| *order)
    }

    fn is_first(&self, task: TaskId) -> bool {
        self.waiting.front().is_some_and(|(_, first)| *first == task)
    }

    /// Takes what was sent, in its order.
    fn take_sent(&mut self) -> Vec<TaskId> {
        let mut sent: Vec<_> = self.sent.drain().collect();
        sent.sort_unstable_by_key(|(_, order)| *order);
        sent.into_iter().map(|(task, _)| task).collect()
    }
}

impl State {
    /// The connection to an actor's worker.
    pub(super) fn conn_of_actor(&self, id: ActorId) -> Option<ConnId> {
        self.actors.known.get(&id)?.conn
    }

    /// A new handle in this process.
    pub fn add_actor_handle(&mut self, address: ActorAddress) {
        let known = self.actors.known.entry(address.actor);
        known
            .and_modify(|actor| actor.handles += 1)
            .or_insert_with(|| Actor::new(address, Phase::Unknown, None));
    }

    /// A handle leaves this process inside a value.
    pub fn mark_actor_escaped(&mut self, id: ActorId) {
        if let Some(actor) = self.actors.known.get_mut(&id) {
            actor.escaped = true;
        }
    }

    /// A handle of this process is gone.
    pub fn on_actor_handle_dropped(&mut self, id: ActorId) {
        if let Some(actor) = self.actors.known.get_mut(&id) {
            actor.handles = actor.handles.saturating_sub(1);
            self.end_if_unused(id);
        }
    }

    /// Ends an actor of ours that nobody can call any more, and forgets one of others.
    fn end_if_unused(&mut self, id: ActorId) {
        let Some(actor) = self.actors.known.get(&id) else { return };
        if actor.handles > 0 || !actor.is_idle() || actor.kill_when_found.is_some() {
            return;
        }
        match (&actor.owned, &actor.phase) {
            (None, _) | (Some(_), Phase::Dead(_)) if !(actor.escaped && actor.owned.is_some()) => {
                self.actors.known.remove(&id);
            }
            (Some(_), Phase::Alive(_)) if !actor.escaped && !actor.address.detached => {
                self.release_owned(id);
            }
            _ => {}
        }
    }

    /// Takes a call in. Answers with how many calls are pending when there are `pending_max` already.
    pub fn on_call(
        &mut self,
        id: ActorId,
        submission: Submission,
        pending_max: Option<usize>,
    ) -> Result<(), usize> {
        let Some(actor) = self.actors.known.get_mut(&id) else { return Ok(()) };
        let pending = actor.waiting.len() + actor.sent.len();
        if pending_max.is_some_and(|most| pending >= most) {
            return Err(pending);
        }
        let order = self.actors.calls;
        self.actors.calls += 1;
        actor.waiting.push_back((order, submission.id));
        self.on_submit_for_actor(submission, Role::Call(id, order));
        Ok(())
    }

    /// An actor's task has its arguments, or is to be sent again.
    pub(super) fn enqueue_for_actor(&mut self, task: TaskId, role: Role) {
        let (id, order) = match role {
            Role::Creation(id) => {
                // A worker that has given the task back is not waited for: it is busy, nobody knows for how long.
                self.give_worker_back(id);
                return self.request_actor_worker(id);
            }
            Role::Call(id, order) => (id, order),
        };
        let Some(actor) = self.actors.known.get_mut(&id) else {
            let name = self.task_name(task);
            let sentence = format!("the call '{name}' cannot run again: its actor is gone");
            return self.fail_call(task, actor_error(id, SystemErrorKind::ActorDied, sentence));
        };
        actor.sent.remove(&task);
        if let Err(place) = actor.place_of(order) {
            actor.waiting.insert(place, (order, task));
        }
        self.pump_actor(id);
    }

    /// Whether calls of the actor can still run, as far as this process knows.
    pub(super) fn can_be_called(&self, id: ActorId) -> bool {
        self.actors.known.get(&id).is_some_and(|actor| !matches!(actor.phase, Phase::Dead(_) | Phase::Lost))
    }

    /// A task of an actor is over.
    pub(super) fn on_actor_task_ended(
        &mut self,
        task: TaskId,
        role: Role,
        was_sent: bool,
        error: Option<&Value>,
    ) {
        match role {
            Role::Creation(id) => {
                if let Some(error) = error {
                    self.on_creation_failed(id, error, was_sent);
                }
            }
            Role::Call(id, order) => {
                let Some(actor) = self.actors.known.get_mut(&id) else { return };
                if actor.sent.remove(&task).is_none() {
                    if let Ok(place) = actor.place_of(order) {
                        actor.waiting.remove(place);
                    }
                    self.pump_actor(id);
                }
                self.end_if_unused(id);
            }
        }
    }

    /// Sends the calls that may go, or fails those that never can.
    fn pump_actor(&mut self, id: ActorId) {
        loop {
            let Some(actor) = self.actors.known.get_mut(&id) else { return };
            let Some(&(order, task)) = actor.waiting.front() else { return };
            match &actor.phase {
                Phase::Alive(place) => {
                    let (place, Some(conn)) = (*place, actor.conn) else { return };
                    if actor.owned.as_ref().is_some_and(|owned| owned.is_ending()) {
                        return;
                    }
                    if !self.is_queued(task) {
                        return;
                    }
                    if !self.has_arguments(task) {
                        // Those behind it wait with it, unless it has failed for that.
                        if self.actors.known.get(&id).is_some_and(|actor| actor.is_first(task)) {
                            return;
                        }
                        continue;
                    }
                    let Some(actor) = self.actors.known.get_mut(&id) else { return };
                    actor.waiting.pop_front();
                    actor.sent.insert(task, order);
                    self.push_task(task, NO_LEASE, conn, place);
                }
                Phase::Dead(error) => {
                    let error = error.clone();
                    actor.waiting.pop_front();
                    self.fail_call(task, error);
                }
                Phase::Restarting => return self.fail_impatient(id),
                Phase::Unknown => {
                    let asked = self.actors.asks.values().any(|asked| *asked == id);
                    if !asked && actor.asked.is_none() && actor.ask_at.is_none() {
                        self.ask_for_actor(id);
                    }
                    return;
                }
                Phase::Pending | Phase::Lost => return,
            }
        }
    }

    /// While an actor restarts, the calls that are not to be tried again fail.
    fn fail_impatient(&mut self, id: ActorId) {
        let Some(actor) = self.actors.known.get(&id) else { return };
        let waiting = actor.waiting.iter().map(|(_, task)| *task);
        let impatient = waiting.filter(|task| !self.is_tried_again(*task));
        for task in impatient.collect::<Vec<_>>() {
            if let Some(actor) = self.actors.known.get_mut(&id) {
                actor.waiting.retain(|(_, other)| *other != task);
            }
            let error = unavailable(
                id,
                SystemErrorKind::ActorRestarting,
                &self.task_name(task),
                "it is being made anew",
            );
            self.fail_call(task, error);
        }
    }

    fn set_phase(&mut self, id: ActorId, phase: Phase) {
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        actor.phase = phase;
        if !matches!(actor.phase, Phase::Unknown | Phase::Lost) {
            let lost = std::mem::take(&mut actor.lost);
            for (task, fate) in lost {
                self.fail_lost_call(task, id, &fate);
            }
        }
        self.tell_of_actor(id);
        self.pump_actor(id);
        self.end_if_unused(id);
    }

    /// Ends a call that was under way when its worker was lost, as soon as it is known what became of the actor.
    pub(super) fn fail_lost_call(&mut self, task: TaskId, id: ActorId, fate: &str) {
        let name = self.task_name(task);
        let error = match self.actors.known.get_mut(&id).map(|actor| (&actor.phase, &mut actor.lost)) {
            Some((Phase::Unknown | Phase::Lost, lost)) => return lost.push((task, fate.to_owned())),
            Some((Phase::Dead(error), _)) => error.clone(),
            Some((Phase::Pending | Phase::Restarting | Phase::Alive(_), _)) => unavailable(
                id,
                SystemErrorKind::ActorUnavailable,
                &name,
                &format!("its worker ended while the call was under way: {fate}"),
            ),
            None => {
                actor_error(id, SystemErrorKind::ActorDied, format!("the call '{name}' was lost: {fate}"))
            }
        };
        self.fail_call(task, error);
    }

    /// Workers behind a connection that ended: their actors. What of their calls is not tried again comes back.
    pub(super) fn actors_lost_with(&mut self, conn: ConnId, reached: bool) -> (Vec<TaskId>, Vec<ActorId>) {
        let (mut failed, mut gone) = (Vec::new(), Vec::new());
        let mut hit: Vec<_> = self
            .actors
            .known
            .iter()
            .filter(|(_, actor)| actor.conn == Some(conn) || actor.asked == Some(conn))
            .map(|(id, _)| *id)
            .collect();
        hit.sort_unstable();
        for id in hit {
            let Some(actor) = self.actors.known.get_mut(&id) else { continue };
            if actor.asked.take_if(|asked| *asked == conn).is_some() && !matches!(actor.phase, Phase::Dead(_))
            {
                // Its owner: the actor ends with it.
                actor.phase = Phase::Lost;
                gone.push(id);
            }
            let Some(actor) = self.actors.known.get_mut(&id) else { continue };
            if actor.conn == Some(conn) {
                actor.conn = None;
                failed.extend(self.take_back_calls(id, reached));
                if self.actors.known.get(&id).is_some_and(|actor| actor.owned.is_some()) {
                    gone.extend(self.on_owned_worker_lost(id, reached));
                } else {
                    self.on_called_worker_lost(id);
                }
            }
        }
        for actor in self.actors.known.values_mut() {
            if let Some(owned) = &mut actor.owned {
                owned.subscribers.retain(|subscriber| *subscriber != conn);
            }
        }
        (failed, gone)
    }

    /// Puts the calls that a lost worker had back in their place. Those that had started and are not tried again come back.
    fn take_back_calls(&mut self, id: ActorId, reached: bool) -> Vec<TaskId> {
        let Some(actor) = self.actors.known.get_mut(&id) else { return Vec::new() };
        let sent = actor.take_sent();
        if let Phase::Dead(error) = &actor.phase {
            let error = error.clone();
            sent.into_iter().for_each(|task| self.fail_call(task, error.clone()));
            return Vec::new();
        }
        // Not sent again before it is known where to.
        match std::mem::replace(&mut actor.phase, Phase::Pending) {
            Phase::Alive(place) => actor.lost_worker = Some(place.worker),
            // The worker for its next life could not be reached: it goes on being made anew.
            Phase::Restarting => actor.phase = Phase::Restarting,
            _ => {}
        }
        let mut failed = Vec::new();
        for task in sent.into_iter().rev() {
            if !reached {
                self.requeue(task);
            } else if self.on_worker_lost(task) {
                failed.push(task);
            }
        }
        failed
    }

    /// The worker of an actor that this process only calls is gone: its owner knows what comes next.
    fn on_called_worker_lost(&mut self, id: ActorId) {
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        if matches!(actor.phase, Phase::Pending) {
            actor.phase = Phase::Unknown;
            self.ask_for_actor(id);
        }
    }

    fn ask_for_actor(&mut self, id: ActorId) {
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        actor.ask_at = None;
        let address = actor.address;
        if address.detached {
            return self.ask_head_for_actor(id);
        }
        let conn = self.conn_to(address.owner, address.owner_node, None);
        if let Some(actor) = self.actors.known.get_mut(&id) {
            actor.asked = Some(conn);
        }
        self.send(conn, peer_message::Message::ActorAsk(ActorAsk { actor_id: id.to_bytes() }));
    }

    fn ask_again_later(&mut self, id: ActorId) {
        let at = self.now + ASK_AGAIN;
        if let Some(actor) = self.actors.known.get_mut(&id) {
            actor.asked = None;
            actor.ask_at = Some(at);
            self.arm(at);
        }
    }

    /// Asks again where it is time to.
    pub(super) fn ask_due_actors(&mut self) {
        let waiting: Vec<_> =
            self.actors.known.iter().filter_map(|(id, actor)| Some((*id, actor.ask_at?))).collect();
        for (id, at) in waiting {
            if at <= self.now {
                self.ask_for_actor(id);
            } else {
                self.arm(at);
            }
        }
    }

    /// An owner, or the head, says how an actor is; or the worker of an actor of ours says that it ended itself.
    pub(super) fn on_actor_state(&mut self, state: &ActorState) {
        let Ok(id) = ActorId::try_from(&state.actor_id) else { return };
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        let dead = state.phase() == actor_state::Phase::Dead;
        if actor.owned.is_some() {
            if dead {
                self.end_owned(id, death(state));
            }
            return;
        }
        if matches!(actor.phase, Phase::Dead(_)) {
            return;
        }
        if dead {
            self.set_phase(id, Phase::Dead(death(state)));
        } else if matches!(actor.phase, Phase::Alive(_)) {
            // Whatever has changed, the end of the connection will say so first.
        } else if state.phase() == actor_state::Phase::Alive {
            self.on_actor_found(id, state);
        } else {
            let restarting = state.phase() == actor_state::Phase::Restarting;
            let ask_again = actor.address.detached;
            self.set_phase(id, if restarting { Phase::Restarting } else { Phase::Pending });
            if ask_again {
                self.ask_again_later(id);
            }
        }
        self.kill_found(id);
    }

    fn on_actor_found(&mut self, id: ActorId, state: &ActorState) {
        let place = (ProcessId::try_from(&state.worker_id), NodeId::try_from(&state.node_id));
        let (Ok(worker), Ok(node)) = place else { return };
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        if actor.lost_worker.take() == Some(worker) {
            // Its end may not have been noticed there yet.
            actor.phase = Phase::Unknown;
            return self.ask_again_later(id);
        }
        let conn = self.conn_to(worker, node, Some(state.peer_socket.as_str().into()));
        if let Some(actor) = self.actors.known.get_mut(&id) {
            actor.conn = Some(conn);
            self.set_phase(id, Phase::Alive(Place { node, worker }));
        }
    }

    /// Ends an actor, or only its worker when it may be made anew.
    pub fn on_kill_actor(&mut self, id: ActorId, no_restart: bool) {
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        if actor.owned.is_some() {
            return if no_restart { self.kill_owned(id, KILLED) } else { self.restart_owned(id) };
        }
        if matches!(actor.phase, Phase::Dead(_)) {
            return;
        }
        let address = actor.address;
        if address.detached {
            actor.kill_when_found = Some(no_restart);
            return self.ask_for_actor(id);
        }
        let conn = self.conn_to(address.owner, address.owner_node, None);
        self.send_kill(conn, id, no_restart);
    }

    fn send_kill(&mut self, conn: ConnId, id: ActorId, no_restart: bool) {
        let kill = KillActor { actor_id: id.to_bytes(), no_restart };
        self.send(conn, peer_message::Message::KillActor(kill));
    }

    /// A detached actor that is to be killed was found: without its owner, its worker is told.
    fn kill_found(&mut self, id: ActorId) {
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        let conn = actor.conn;
        if matches!(actor.phase, Phase::Dead(_)) {
            actor.kill_when_found = None;
        } else if let Some(conn) = conn
            && let Some(no_restart) = actor.kill_when_found.take()
        {
            self.send_kill(conn, id, no_restart);
        }
        self.end_if_unused(id);
    }

    /// Another process wants an actor killed.
    pub(super) fn on_kill_message(&mut self, kill: &KillActor) {
        if !self.on_kill_hosted(kill)
            && let Ok(id) = ActorId::try_from(&kill.actor_id)
        {
            self.on_kill_actor(id, kill.no_restart);
        }
    }
}

/// What calls of an actor fail with that was killed.
const KILLED: &str = "it was killed by kill()";

fn unavailable(id: ActorId, kind: SystemErrorKind, call: &str, cause: &str) -> Value {
    actor_error(
        id,
        kind,
        format!(
            "the actor is not available for the call '{call}': {cause}. Call it again, or give it max_task_retries"
        ),
    )
}

fn death(state: &ActorState) -> Value {
    let said = || {
        let sentence = format!("the actor is dead: {}", state.cause);
        match ActorId::try_from(&state.actor_id) {
            Ok(id) => actor_error(id, SystemErrorKind::ActorDied, sentence),
            Err(_) => error_value(SystemErrorKind::ActorDied, sentence),
        }
    };
    state.error.clone().unwrap_or_else(said)
}
