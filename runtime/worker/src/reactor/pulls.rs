//! Stored values on their way from other nodes.

use manta_proto::{
    ids::{ObjectId, TaskId},
    v1::{PullObject, Pulled, StoreLocation, Value, process_to_node},
};

use super::{RequestId, State, rooms::Unread};
use crate::SystemErrorKind;

/// One value on its way to this node.
pub(super) struct Pull {
    request_id: RequestId,
    location: StoreLocation,
    tried: usize,
    /// Whether an object of the table waits for it.
    object: bool,
    /// Tasks in slots whose argument it is.
    arguments: Vec<(u32, TaskId)>,
    /// Threads that are about to read it.
    threads: Vec<RequestId>,
}

impl State {
    pub(super) fn pull_object(&mut self, id: ObjectId, value: &Value) {
        if let Some(location) = &value.in_store {
            self.pull(id, location).object = true;
        }
    }

    pub(super) fn pull_argument(&mut self, id: ObjectId, location: &StoreLocation, slot: u32, task: TaskId) {
        self.pull(id, location).arguments.push((slot, task));
    }

    pub(super) fn pull_for_thread(&mut self, id: ObjectId, location: &StoreLocation, request_id: RequestId) {
        self.pull(id, location).threads.push(request_id);
    }

    fn pull(&mut self, id: ObjectId, location: &StoreLocation) -> &mut Pull {
        if !self.pulls.contains_key(&id) {
            let request_id = self.request_id();
            let pull = Pull {
                request_id,
                location: location.clone(),
                tried: 0,
                object: false,
                arguments: Vec::new(),
                threads: Vec::new(),
            };
            self.pulls.insert(id, pull);
            self.ask_next_node(id);
        }
        let pull = self.pulls.get_mut(&id).expect("inserted above if it was missing");
        // Whoever comes later may know of newer copies.
        for node in &location.node_ids {
            if !pull.location.node_ids.contains(node) {
                pull.location.node_ids.push(node.clone());
            }
        }
        pull
    }

    /// Asks for the value from the next node that has it; `false` if all were tried.
    fn ask_next_node(&mut self, id: ObjectId) -> bool {
        let Some(pull) = self.pulls.get_mut(&id) else { return false };
        let Some(node_id) = pull.location.node_ids.get(pull.tried).cloned() else { return false };
        pull.tried += 1;
        let request_id = pull.request_id.0;
        self.tell_node(process_to_node::Message::Pull(PullObject {
            request_id,
            object_id: id.to_bytes(),
            node_id,
        }));
        true
    }

    /// The node has the value now, or says why it has not.
    pub(super) fn on_pulled(&mut self, pulled: &Pulled) {
        let request_id = RequestId(pulled.request_id);
        let found = self.pulls.iter().find(|(_, pull)| pull.request_id == request_id).map(|(id, _)| *id);
        let Some(id) = found else { return };
        if !pulled.error.is_empty() && !pulled.disk_full && self.ask_next_node(id) {
            return;
        }
        let Some(pull) = self.pulls.remove(&id) else { return };
        let not_here = (!pulled.error.is_empty()).then(|| {
            format!("object {id} could not be brought to node {}: {}", self.me.node_name, pulled.error)
        });
        let kind = if pulled.disk_full { SystemErrorKind::DiskFull } else { SystemErrorKind::ObjectLost };
        let unread = |sentence: String| Err(Unread { kind, sentence });
        let fetched = not_here.clone().map_or(Ok(pulled.spilled), unread);
        for thread in pull.threads {
            self.on_fetched(thread, &fetched);
        }
        // What there is only no room for is not lost. Who goes on to read it has it brought once more, and hears if that fails.
        let lost = not_here.filter(|_| !pulled.disk_full);
        for (slot, task) in pull.arguments {
            self.on_argument_here(slot, task, id, lost.as_deref());
        }
        if pull.object {
            match lost {
                // It has been made again elsewhere meanwhile.
                Some(sentence) if !self.on_value_lost(id, &pull.location.node_ids, &sentence) => {}
                Some(_) => return,
                None => {
                    if let Some(object) = self.objects.get_mut(&id) {
                        object.here = true;
                    }
                }
            }
            self.object_changed(id);
        }
    }
}
