//! What threads wait for that write into the store or read from it: room, and objects that are no longer where they were.

use std::sync::Arc;

use manta_proto::{
    ids::ObjectId,
    v1::{NeedRoom, Room, StoreLocation, process_to_node},
};
use parking_lot::Condvar;

use super::{FastMap, RequestId, State};
use crate::SystemErrorKind;

/// Why a stored object cannot be read on this node.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    /// It is lost, or it is elsewhere and this node has no room for it.
    pub kind: SystemErrorKind,
    /// For people.
    pub sentence: String,
}

impl Unread {
    pub fn lost(sentence: &dyn std::fmt::Display) -> Self {
        Self { kind: SystemErrorKind::ObjectLost, sentence: sentence.to_string() }
    }
}

#[derive(Default)]
pub(super) struct Rooms {
    /// The answers to come: whether there is room now.
    room: FastMap<RequestId, Option<bool>>,
    /// Whether a fetched object has to be read from the node's disk, or why there is none.
    fetched: FastMap<RequestId, Option<Result<bool, Unread>>>,
    changed: Arc<Condvar>,
}

#[cfg(test)]
impl Rooms {
    pub fn len(&self) -> usize {
        self.room.len() + self.fetched.len()
    }
}

impl State {
    /// A thread needs room in the store.
    pub fn on_need_room(&mut self, bytes: u64) -> RequestId {
        let request_id = self.request_id();
        self.rooms.room.insert(request_id, None);
        self.tell_node(process_to_node::Message::NeedRoom(NeedRoom { request_id: request_id.0, bytes }));
        request_id
    }

    /// The answer, once it is there.
    pub fn take_room(&mut self, id: RequestId) -> Option<bool> {
        let answer = self.rooms.room.get(&id).copied().unwrap_or(Some(false));
        let answer = answer.or_else(|| self.gone.is_some().then_some(false))?;
        self.rooms.room.remove(&id);
        Some(answer)
    }

    pub(super) fn on_room(&mut self, room: &Room) {
        if let Some(answer) = self.rooms.room.get_mut(&RequestId(room.request_id)) {
            *answer = Some(room.granted);
            self.rooms.changed.notify_all();
        }
    }

    /// A thread needs an object that is not, or no longer, in this node's store.
    pub fn on_need_object(&mut self, id: ObjectId, location: &StoreLocation) -> RequestId {
        let request_id = self.request_id();
        self.rooms.fetched.insert(request_id, None);
        self.pull_for_thread(id, location, request_id);
        request_id
    }

    pub fn take_fetched(&mut self, id: RequestId) -> Option<Result<bool, Unread>> {
        let answer = self.rooms.fetched.get_mut(&id)?.take();
        let answer = answer.or_else(|| self.gone.as_ref().map(|cause| Err(Unread::lost(cause))))?;
        self.rooms.fetched.remove(&id);
        Some(answer)
    }

    pub(super) fn on_fetched(&mut self, request_id: RequestId, result: &Result<bool, Unread>) {
        if let Some(answer) = self.rooms.fetched.get_mut(&request_id) {
            *answer = Some(result.clone());
            self.rooms.changed.notify_all();
        }
    }

    /// Notified with each answer.
    pub fn rooms_changed(&self) -> Arc<Condvar> {
        Arc::clone(&self.rooms.changed)
    }

    pub(super) fn wake_rooms(&self) {
        self.rooms.changed.notify_all();
    }
}
