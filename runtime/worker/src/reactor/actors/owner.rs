//! The actors that this process has made: their workers, their restarts, and those who want to know of them.

use manta_proto::{
    ids::{ActorId, LeaseId, NodeId, ProcessId, TaskId},
    v1::{
        self, ActorLease, ActorState, LeaseCancel, LeaseGrant, LeaseReply, LeaseRequest, LeaseReturn, Value,
        actor_state, lease_reply, peer_message, process_to_node,
    },
};

use super::{Actor, ActorAddress, Phase, Role};
use crate::{
    SystemErrorKind,
    reactor::{
        ConnId, RequestId, State, Submission,
        events::Place,
        objects::{actor_error, is_error},
        tasks::Task,
    },
};

/// Workers in a row that could not be reached before the actor is given up; a node may grant one whose end it has not seen yet.
const UNREACHABLE_MAX: u32 = 10;
/// A number of restarts that nobody reaches.
const UNLIMITED: u32 = u32::MAX;

/// What a new actor is, beside its creation task.
pub(crate) struct NewActor {
    pub id: ActorId,
    /// The class, for people.
    pub class: Box<str>,
    pub max_restarts: u32,
    pub detached: bool,
    /// The head knows of it.
    pub registered: bool,
    /// What it keeps for its life; its creation needs what the task needs.
    pub held: Vec<(String, u64)>,
}

/// What only an actor's owner knows.
pub(super) struct Owned {
    class: Box<str>,
    registered: bool,
    held: Vec<(String, u64)>,
    restarts_left: u32,
    unreachable: u32,
    request: Option<RequestId>,
    lease: Option<(LeaseId, Place)>,
    socket: String,
    /// The creation task once it has ended well, for the next time.
    made: Option<Box<Task>>,
    /// Why the worker ends, when it is our wish.
    wish: Option<&'static str>,
    pub subscribers: Vec<ConnId>,
}

impl Owned {
    /// Whether its worker is about to end, as we wish: what is called from now on is for the next one.
    pub fn is_ending(&self) -> bool {
        self.wish.is_some() && self.lease.is_some()
    }
}

fn creation_task(id: ActorId) -> TaskId {
    TaskId(id.0)
}

impl State {
    /// Makes an actor, with one handle.
    pub fn on_new_actor(&mut self, new: NewActor, submission: Submission) {
        let NewActor { id, class, max_restarts, detached, registered, held } = new;
        let address = ActorAddress { actor: id, owner: self.me.process, owner_node: self.me.node, detached };
        let owned = Owned {
            class,
            registered,
            held,
            restarts_left: max_restarts,
            unreachable: 0,
            request: None,
            lease: None,
            socket: String::new(),
            made: None,
            wish: None,
            subscribers: Vec::new(),
        };
        self.actors.known.insert(id, Actor::new(address, Phase::Pending, Some(Box::new(owned))));
        if !registered {
            self.list_actor(id);
        }
        self.on_submit_for_actor(submission, Role::Creation(id));
    }

    fn owned(&mut self, id: ActorId) -> Option<&mut Owned> {
        self.actors.known.get_mut(&id)?.owned.as_deref_mut()
    }

    pub(super) fn request_actor_worker(&mut self, id: ActorId) {
        let request_id = self.request_id();
        let Some(task) = self.tasks.get(&creation_task(id)) else { return };
        let key = self.class_key(task).clone();
        let task_name = task.name.to_string();
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        let detached = actor.address.detached;
        let Some(owned) = &mut actor.owned else { return };
        owned.request = Some(request_id);
        let amounts = |held: &[(String, u64)]| v1::Resources { amounts: held.iter().cloned().collect() };
        let lease = ActorLease {
            actor_id: id.to_bytes(),
            held: Some(amounts(&owned.held)),
            detached,
            registered: owned.registered,
        };
        self.actors.requests.insert(request_id, id);
        let request = LeaseRequest { task_name, actor: Some(lease), ..self.lease_request(request_id, &key) };
        self.tell_node(process_to_node::Message::RequestLease(request));
    }

    /// The answer to a request of an actor; `false` if it is another's.
    pub(in crate::reactor) fn on_actor_lease_reply(&mut self, reply: &LeaseReply) -> bool {
        let Some(id) = self.actors.requests.remove(&RequestId(reply.request_id)) else { return false };
        let wanted = self.owned(id).is_some_and(|owned| owned.request.take().is_some());
        match &reply.result {
            Some(lease_reply::Result::Granted(grant)) if wanted => self.on_actor_granted(id, grant),
            Some(lease_reply::Result::Granted(grant)) => {
                self.return_actor_lease(grant.lease_id.clone(), grant.node_id.clone());
            }
            Some(lease_reply::Result::Refused(sentence)) if wanted => {
                let sentence = format!("the actor '{}' cannot be made: {sentence}", self.class_name(id));
                let kind = if reply.environment_failed {
                    SystemErrorKind::EnvironmentFailed
                } else if reply.group_removed {
                    SystemErrorKind::ActorGroupRemoved
                } else {
                    SystemErrorKind::ActorUnschedulable
                };
                let error = actor_error(id, kind, sentence);
                self.end_owned(id, error);
            }
            _ if wanted => self.request_actor_worker(id),
            _ => {}
        }
        true
    }

    fn on_actor_granted(&mut self, id: ActorId, grant: &LeaseGrant) {
        let ids = (
            LeaseId::try_from(&grant.lease_id),
            ProcessId::try_from(&grant.worker_id),
            NodeId::try_from(&grant.node_id),
        );
        let (Ok(lease), Ok(worker), Ok(node)) = ids else {
            return self.return_actor_lease(grant.lease_id.clone(), grant.node_id.clone());
        };
        if !self.has_arguments(creation_task(id)) {
            return self.return_actor_lease(grant.lease_id.clone(), grant.node_id.clone());
        }
        let conn = self.conn_to(worker, node, Some(grant.peer_socket.as_str().into()));
        let place = Place { node, worker };
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        actor.conn = Some(conn);
        if let Some(owned) = &mut actor.owned {
            owned.lease = Some((lease, place));
            owned.wish = None;
            owned.socket.clone_from(&grant.peer_socket);
        }
        self.push_task(creation_task(id), lease, conn, place);
    }

    /// The actor is not made on the worker that it got, if it got one.
    pub(in crate::reactor) fn give_worker_back(&mut self, id: ActorId) {
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        actor.conn = None;
        if let Some((lease, place)) = actor.owned.as_mut().and_then(|owned| owned.lease.take()) {
            self.return_actor_lease(lease.to_bytes(), place.node.to_bytes());
        }
    }

    /// Its creation task has ended well.
    pub(in crate::reactor) fn on_actor_made(&mut self, id: ActorId) {
        let task = self.retire_creation(creation_task(id));
        let Some(owned) = self.owned(id) else { return };
        owned.made = task;
        owned.unreachable = 0;
        if let Some((_, place)) = owned.lease {
            self.set_phase(id, Phase::Alive(place));
        }
    }

    pub(super) fn on_creation_failed(&mut self, id: ActorId, error: &Value, was_sent: bool) {
        let class = self.class_name(id);
        let system = crate::convert::system_error_of(error);
        let error = match system {
            None if was_sent => error.clone(),
            None => actor_error(
                id,
                SystemErrorKind::ActorDied,
                format!(
                    "the actor '{class}' was not made, because an argument of its constructor failed; get() of that argument says why"
                ),
            ),
            Some(said) => actor_error(
                id,
                SystemErrorKind::ActorDied,
                format!("the actor '{class}' was not made: {}", said.message),
            ),
        };
        debug_assert!(is_error(&error), "an actor died without an error");
        self.end_owned(id, error);
    }

    /// The worker of an actor of ours is lost. The actor comes back when it is dead, and the node has to be asked why.
    pub(super) fn on_owned_worker_lost(&mut self, id: ActorId, reached: bool) -> Option<ActorId> {
        let actor = self.actors.known.get_mut(&id)?;
        if matches!(actor.phase, Phase::Dead(_)) {
            return None;
        }
        let owned = actor.owned.as_mut()?;
        let lease = owned.lease.take();
        if !reached && owned.made.is_none() && owned.unreachable < UNREACHABLE_MAX {
            owned.unreachable += 1;
            if let Some((lease, place)) = lease {
                self.return_actor_lease(lease.to_bytes(), place.node.to_bytes());
            }
            self.requeue(creation_task(id));
            return None;
        }
        if owned.restarts_left > 0 {
            if owned.restarts_left != UNLIMITED {
                owned.restarts_left -= 1;
            }
            owned.wish = None;
            let made = owned.made.take();
            self.set_phase(id, Phase::Restarting);
            self.make_again(creation_task(id), made);
            return None;
        }
        actor.phase = Phase::Lost;
        Some(id)
    }

    /// The node says why an actor's worker, or its owner, ended.
    pub(in crate::reactor) fn on_actor_fate(&mut self, id: ActorId, fate: &str) {
        let class = self.class_name(id);
        let Some(actor) = self.actors.known.get(&id) else { return };
        match &actor.owned {
            Some(owned) => {
                let fate = owned.wish.unwrap_or(fate);
                let sentence = format!("the actor '{class}' is dead: {fate}");
                self.end_owned(id, actor_error(id, SystemErrorKind::ActorDied, sentence));
            }
            None => {
                let sentence = format!("the actor is dead, because the process that made it ended: {fate}");
                self.set_phase(id, Phase::Dead(actor_error(id, SystemErrorKind::ActorDied, sentence)));
            }
        }
    }

    /// Ends an actor of ours for good.
    pub(super) fn kill_owned(&mut self, id: ActorId, cause: &str) {
        let sentence = format!("the actor '{}' is dead: {cause}", self.class_name(id));
        self.end_owned(id, actor_error(id, SystemErrorKind::ActorDied, sentence));
    }

    /// Ends the worker of an actor of ours; it is made anew if it has restarts left.
    pub(super) fn restart_owned(&mut self, id: ActorId) {
        let Some(owned) = self.owned(id) else { return };
        owned.wish = Some(super::KILLED);
        if let Some((lease, place)) = owned.lease {
            self.return_actor_lease(lease.to_bytes(), place.node.to_bytes());
        }
    }

    /// The actor is dead: its calls fail with the error from now on.
    pub(super) fn end_owned(&mut self, id: ActorId, error: Value) {
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        if matches!(actor.phase, Phase::Dead(_)) {
            return;
        }
        let Some(owned) = &mut actor.owned else { return };
        let (lease, request, made) = (owned.lease.take(), owned.request.take(), owned.made.take());
        if let Some((lease, place)) = lease {
            self.return_actor_lease(lease.to_bytes(), place.node.to_bytes());
        }
        if let Some(request) = request {
            self.actors.requests.remove(&request);
            self.tell_node(process_to_node::Message::CancelLease(LeaseCancel { request_id: request.0 }));
        }
        self.set_phase(id, Phase::Dead(error.clone()));
        self.drop_creation(creation_task(id), made, error);
    }

    /// Ends an actor of ours that nobody can call any more: it may wind up first.
    pub(super) fn release_owned(&mut self, id: ActorId) {
        if let Some((lease, place)) = self.owned(id).and_then(|owned| owned.lease.take()) {
            let (lease_id, node_id) = (lease.to_bytes(), place.node.to_bytes());
            let returned = LeaseReturn { lease_id, node_id, worker_unusable: true, orderly: true };
            self.tell_node(process_to_node::Message::ReturnLease(returned));
        }
        self.kill_owned(id, "its last handle is gone");
    }

    fn return_actor_lease(&mut self, lease_id: bytes::Bytes, node_id: bytes::Bytes) {
        let returned = LeaseReturn { lease_id, node_id, worker_unusable: true, orderly: false };
        self.tell_node(process_to_node::Message::ReturnLease(returned));
    }

    fn class_name(&self, id: ActorId) -> String {
        let owned = self.actors.known.get(&id).and_then(|actor| actor.owned.as_ref());
        owned.map(|owned| owned.class.to_string()).unwrap_or_default()
    }

    /// Another process wants to know of an actor of ours, now and whenever it changes.
    pub(in crate::reactor) fn on_actor_ask(&mut self, conn: ConnId, id: &[u8]) {
        let known = ActorId::try_from(id).ok().filter(|id| self.owned(*id).is_some());
        let state = match known {
            Some(id) => {
                if let Some(owned) = self.owned(id) {
                    owned.subscribers.retain(|subscriber| *subscriber != conn);
                    owned.subscribers.push(conn);
                }
                self.mark_actor_escaped(id);
                self.actor_state(id)
            }
            None => ActorState {
                actor_id: bytes::Bytes::copy_from_slice(id),
                phase: actor_state::Phase::Dead as i32,
                cause: "the process that made it no longer knows it: its last handle there is gone"
                    .to_owned(),
                ..ActorState::default()
            },
        };
        self.send(conn, peer_message::Message::Actor(state));
    }

    fn actor_state(&self, id: ActorId) -> ActorState {
        let mut state = ActorState { actor_id: id.to_bytes(), ..ActorState::default() };
        let Some(actor) = self.actors.known.get(&id) else { return state };
        let phase = match &actor.phase {
            Phase::Unknown => actor_state::Phase::Unknown,
            // What comes next is known in a moment.
            Phase::Pending | Phase::Lost => actor_state::Phase::Pending,
            Phase::Restarting => actor_state::Phase::Restarting,
            Phase::Alive(place) => {
                state.worker_id = place.worker.to_bytes();
                state.node_id = place.node.to_bytes();
                if let Some(owned) = &actor.owned {
                    state.peer_socket.clone_from(&owned.socket);
                }
                actor_state::Phase::Alive
            }
            Phase::Dead(error) => {
                state.error = Some(error.clone());
                if let Some(said) = crate::convert::system_error_of(error) {
                    state.cause = said.message;
                }
                actor_state::Phase::Dead
            }
        };
        state.phase = phase as i32;
        state
    }

    /// Tells the head of an actor that is not registered, for those who list actors.
    fn list_actor(&mut self, id: ActorId) {
        let is_settled = |actor: &Actor| !matches!(actor.phase, Phase::Lost | Phase::Unknown);
        if self.actors.known.get(&id).is_some_and(is_settled) {
            let ActorState { actor_id, phase, worker_id, node_id, mut cause, error, .. } =
                self.actor_state(id);
            if error.is_some() && cause.is_empty() {
                "its constructor raised an exception".clone_into(&mut cause);
            }
            let state = ActorState { phase, worker_id, node_id, cause, ..ActorState::default() };
            let entry = v1::ActorEntry {
                actor_id,
                owner_id: self.me.process.to_bytes(),
                owner_node_id: self.me.node.to_bytes(),
                job_id: self.job.as_ref().map(|job| job.job_id.clone()).unwrap_or_default(),
                class_name: self.class_name(id),
                state: Some(state),
                ..v1::ActorEntry::default()
            };
            self.tell_node(process_to_node::Message::ActorListed(entry));
        }
    }

    /// Tells those who asked, and the head.
    pub(super) fn tell_of_actor(&mut self, id: ActorId) {
        let Some(owned) = self.actors.known.get(&id).and_then(|actor| actor.owned.as_ref()) else { return };
        let (subscribers, registered) = (owned.subscribers.clone(), owned.registered);
        if !registered {
            self.list_actor(id);
        }
        if subscribers.is_empty() && !registered {
            return;
        }
        let state = self.actor_state(id);
        for conn in subscribers {
            self.send(conn, peer_message::Message::Actor(state.clone()));
        }
        if registered {
            self.tell_node(process_to_node::Message::ActorUpdate(state));
        }
    }
}
