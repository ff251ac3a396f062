//! What the head is asked about named and detached actors.

use manta_proto::{
    ids::ActorId,
    v1::{ActorEntry, ActorReply, ActorState, GetActor, RegisterActor, actor_state, process_to_node},
};

use super::Phase;
use crate::reactor::{Effect, RequestId, State};

/// Called with the head's answer, on the I/O thread.
pub(crate) type Question = Box<dyn FnOnce(ActorReply) + Send>;

impl State {
    /// Asks the head to register an actor.
    pub fn register_actor(&mut self, entry: ActorEntry, answer: Question) {
        let request_id = self.request_id();
        self.actors.questions.insert(request_id, answer);
        let request =
            RegisterActor { request_id: request_id.0, entry: Some(entry), ..RegisterActor::default() };
        self.tell_node(process_to_node::Message::RegisterActor(request));
    }

    /// Asks the head for the actor of a name.
    pub fn find_actor(&mut self, namespace: String, name: String, answer: Question) {
        let request_id = self.request_id();
        self.actors.questions.insert(request_id, answer);
        let request = GetActor { request_id: request_id.0, namespace, name, ..GetActor::default() };
        self.tell_node(process_to_node::Message::GetActor(request));
    }

    pub(super) fn ask_head_for_actor(&mut self, id: ActorId) {
        let request_id = self.request_id();
        self.actors.asks.insert(request_id, id);
        let request = GetActor { request_id: request_id.0, actor_id: id.to_bytes(), ..GetActor::default() };
        self.tell_node(process_to_node::Message::GetActor(request));
    }

    /// The head answers.
    pub(in crate::reactor) fn on_actor_reply(&mut self, reply: ActorReply) {
        let request_id = RequestId(reply.request_id);
        if let Some(answer) = self.actors.questions.remove(&request_id) {
            return self.effects.push(Effect::Call(Box::new(move || answer(reply))));
        }
        let Some(id) = self.actors.asks.remove(&request_id) else { return };
        let Some(actor) = self.actors.known.get_mut(&id) else { return };
        actor.ask_at = None;
        let state = match reply.entry {
            Some(entry) => {
                let owner_gone = entry.owner_gone;
                if let Some(kill) = actor.kill_when_found.filter(|_| !owner_gone) {
                    // Its owner decides; it tells the head.
                    actor.kill_when_found = None;
                    let address = actor.address;
                    let conn = self.conn_to(address.owner, address.owner_node, None);
                    self.send_kill(conn, id, kill);
                }
                entry.state.unwrap_or_default()
            }
            None => ActorState {
                phase: actor_state::Phase::Dead as i32,
                cause: "the cluster no longer knows it".to_owned(),
                ..ActorState::default()
            },
        };
        self.on_actor_state(&ActorState { actor_id: id.to_bytes(), ..state });
        let waits = |actor: &super::Actor| matches!(actor.phase, Phase::Unknown) && !actor.is_idle();
        if self.actors.known.get(&id).is_some_and(|actor| waits(actor) && actor.ask_at.is_none()) {
            self.ask_again_later(id);
        }
    }
}
