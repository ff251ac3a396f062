//! The objects that this process owns or has refs to.

use std::sync::Arc;

use bytes::Bytes;
use manta_proto::{
    ids::{ActorId, NodeId, ObjectId, ProcessId},
    v1::{
        self, FreeObjectsRequest, GetObject, ObjectReply, ObjectsRecycled, Value, peer_message,
        process_to_node, value,
    },
};

use super::{ConnId, Effect, RequestId, State, WaiterId, borrows::Sharing};
use crate::{SystemError, SystemErrorKind, object_ref::RefAddress};
use manta_proto::ids::TaskId;

/// Values up to this size are copied out of the memory that their message was read into.
const DETACHED_BYTES_MAX: usize = 4 * 1024;

/// Who waits for an object.
pub(crate) enum Watcher {
    /// A thread in `get` or `wait`.
    Wait(WaiterId),
    /// A task of ours whose argument it is.
    Dependent(TaskId),
    /// A process that asked us, its owner.
    Remote(ConnId, u64),
    /// A callback of the binding.
    Callback(Box<dyn FnOnce() + Send>),
}

/// An object of which this process knows.
pub(crate) struct Object {
    /// The owner, unless it is this process.
    foreign: Option<Box<(ProcessId, NodeId)>>,
    pub value: Option<Arc<Value>>,
    /// Whether this node can read the value: it is inline, or its file is here.
    pub here: bool,
    pub(super) refs: u32,
    pub(super) pins: u32,
    /// A ref has left this process in a way that nobody counts, such as a pickle in a file: the object lives as long as the job.
    pub(super) escaped: bool,
    /// Its file is known to this process alone.
    private: bool,
    pub paused: bool,
    asked: bool,
    /// The number of the last look at it.
    pub(super) looked: u64,
    pub watchers: Vec<Watcher>,
    /// What few objects have: other objects inside it, values that it is inside of, borrowers.
    pub(super) sharing: Option<Box<Sharing>>,
}

impl Object {
    fn new(foreign: Option<(ProcessId, NodeId)>) -> Self {
        Self {
            foreign: foreign.map(Box::new),
            value: None,
            here: false,
            refs: 0,
            pins: 0,
            escaped: false,
            private: false,
            paused: false,
            asked: false,
            looked: 0,
            watchers: Vec::new(),
            sharing: None,
        }
    }

    /// A result of a task of this process.
    pub(super) fn result(refs: u32, value: Option<Value>) -> Self {
        Self { refs, here: value.is_some(), value: value.map(Arc::new), ..Self::new(None) }
    }

    /// The process that owns it, unless it is this one.
    pub(super) fn owner(&self) -> Option<ProcessId> {
        self.foreign.as_ref().map(|foreign| foreign.0)
    }

    pub(super) fn is_foreign(&self) -> bool {
        self.foreign.is_some()
    }

    #[cfg(test)]
    pub fn described(&self, id: ObjectId) -> String {
        let Self { foreign, refs, pins, escaped, .. } = self;
        let (has_value, watchers, sharing) = (self.value.is_some(), self.watchers.len(), &self.sharing);
        format!(
            "{id}: owner {foreign:?}, value {has_value}, {refs} refs, {pins} pins, escaped {escaped}, {watchers} watchers, {sharing:?}, one of the objects"
        )
    }

    /// Whether it is neither paused nor anything to other objects and processes, as most are.
    fn is_plain(&self) -> bool {
        !self.paused && self.sharing.is_none()
    }

    /// Whether tasks, other objects or other processes need it, or may.
    pub(super) fn is_used(&self) -> bool {
        self.pins > 0 || self.escaped || self.sharing.is_some()
    }

    /// Whether anything needs the object.
    fn is_needed(&self) -> bool {
        let is_shared = || self.sharing.as_ref().is_some_and(|sharing| sharing.is_needed());
        self.refs > 0 || self.pins > 0 || self.escaped || !self.watchers.is_empty() || is_shared()
    }
}

/// The value in memory of its own, when it is small: else it would keep the whole piece of memory that its message was read into.
fn detached(mut value: Value) -> Value {
    let detach = |bytes: &mut Bytes| *bytes = Bytes::copy_from_slice(bytes);
    if value.data.len() <= DETACHED_BYTES_MAX {
        detach(&mut value.data);
    }
    if let Some(location) = &mut value.in_store {
        detach(&mut location.object_id);
        location.node_ids.iter_mut().for_each(detach);
    }
    for contained in &mut value.contained {
        [&mut contained.object_id, &mut contained.owner_id, &mut contained.owner_node_id]
            .into_iter()
            .for_each(detach);
    }
    value
}

/// A value that says what the runtime has to say.
pub(crate) fn error_value(kind: SystemErrorKind, sentence: impl Into<String>) -> Value {
    encoded_error(&SystemError::new(kind, sentence))
}

/// The same of something that befell an actor.
pub(crate) fn actor_error(id: ActorId, kind: SystemErrorKind, sentence: impl Into<String>) -> Value {
    encoded_error(&SystemError { actor: Some(id), ..SystemError::new(kind, sentence) })
}

fn encoded_error(error: &SystemError) -> Value {
    let bytes = error.encode();
    let mut data = vec![0; manta_object_store::layout::encoded_len(bytes.len(), std::iter::empty())];
    manta_object_store::layout::encode(&mut data, &bytes, &[]);
    Value {
        format: value::Format::SystemError as i32,
        data: data.into(),
        contained: Vec::new(),
        in_store: None,
    }
}

pub(crate) fn is_error(value: &Value) -> bool {
    matches!(
        value.format(),
        value::Format::PythonError | value::Format::RustError | value::Format::SystemError
    )
}

impl State {
    /// A ref of this process's own object.
    pub fn own_address(&self, object: ObjectId) -> RefAddress {
        RefAddress { object, owner: self.me.process, owner_node: self.me.node }
    }

    /// A new ref in this process.
    pub fn add_ref(&mut self, address: RefAddress) {
        self.known(address).refs += 1;
    }

    /// What is kept of an object, whether that is new or not.
    pub(super) fn known(&mut self, address: RefAddress) -> &mut Object {
        self.unfold_result(address.object);
        let foreign = (address.owner != self.me.process).then_some((address.owner, address.owner_node));
        let is_made = self.tasks.contains_key(&address.object.task());
        self.objects.entry(address.object).or_insert_with(|| {
            let mut object = Object::new(foreign);
            // Our own object came back to us after everything about it was forgotten: from a place where nobody counts.
            if foreign.is_none() && !is_made {
                let sentence = format!(
                    "object {} is no longer known to its owner: it was freed after its last counted ref was dropped",
                    address.object
                );
                object.value = Some(error_value(SystemErrorKind::Forgotten, sentence).into());
                object.here = true;
            }
            object
        })
    }

    /// A ref of this process is gone.
    pub fn on_ref_dropped(&mut self, id: ObjectId) {
        if self.on_series_ref_dropped(id) {
            return;
        }
        if let Some(object) = self.objects.get_mut(&id) {
            object.refs = object.refs.saturating_sub(1);
            self.free_if_unused(id);
        }
    }

    /// A task of ours needs the object until it is done.
    pub(super) fn pin(&mut self, address: RefAddress) {
        self.known(address).pins += 1;
        self.on_read(address.object);
    }

    /// The same of an object that this process knows; `false` if it does not.
    pub(super) fn pin_known(&mut self, id: ObjectId) -> bool {
        self.unfold_result(id);
        self.on_read(id);
        self.objects.get_mut(&id).map(|object| object.pins += 1).is_some()
    }

    pub(super) fn unpin(&mut self, id: ObjectId) {
        if let Some(object) = self.objects.get_mut(&id) {
            object.pins = object.pins.saturating_sub(1);
            self.free_if_unused(id);
        }
    }

    /// The object's ref leaves this process in a way that nobody counts. A foreign one stays borrowed.
    pub fn mark_escaped(&mut self, id: ObjectId) {
        self.unfold_result(id);
        if let Some(object) = self.objects.get_mut(&id) {
            object.escaped = true;
        }
        self.on_read(id);
    }

    /// Stores a value that this process put.
    pub fn on_put(&mut self, id: ObjectId, value: Value) {
        let mut object = Object::new(None);
        object.refs = 1;
        object.here = true;
        self.announce_sealed(&value);
        let captured = self.capture(&value);
        object.value = Some(value.into());
        object.set_captured(captured);
        self.objects.insert(id, object);
    }

    /// The same of a value whose file this process keeps, to write it again when nobody else has seen it.
    pub fn on_put_kept(&mut self, id: ObjectId, value: Value) {
        let is_stored = value.in_store.is_some();
        self.on_put(id, value);
        if let Some(object) = self.objects.get_mut(&id) {
            object.private = is_stored;
        }
    }

    /// A value of ours is about to be sent: others will know of its file.
    pub(super) fn show(&mut self, id: ObjectId) {
        if let Some(object) = self.objects.get_mut(&id) {
            object.private = false;
        }
    }

    /// Freed objects whose files may be written again; what became of it is to be told with [`State::on_recycled`].
    pub fn take_recyclable(&mut self) -> Vec<ObjectId> {
        std::mem::take(&mut self.recyclable)
    }

    pub fn on_recycled(&mut self, id: ObjectId, recycled: bool) {
        let object_ids = vec![id.to_bytes()];
        self.tell_node(if recycled {
            process_to_node::Message::Recycled(ObjectsRecycled { object_ids })
        } else {
            process_to_node::Message::Free(FreeObjectsRequest { object_ids })
        });
    }

    /// A result that is made again although nobody has a ref of it: a task needs it.
    pub(super) fn expect_unreferenced(&mut self, id: ObjectId) {
        self.objects.entry(id).or_insert_with(|| Object::new(None));
    }

    /// An object that a task needs, and that will never be there.
    pub(super) fn expect_failed(&mut self, address: RefAddress, error: Value) {
        let foreign = (address.owner != self.me.process).then_some((address.owner, address.owner_node));
        let object = self.objects.entry(address.object).or_insert_with(|| Object::new(foreign));
        (object.value, object.here) = (Some(error.into()), true);
    }

    /// Whether an object is known and has no value.
    pub(super) fn is_awaited(&self, id: ObjectId) -> bool {
        self.objects.get(&id).is_some_and(|object| object.value.is_none())
    }

    /// The value is lost, and comes again.
    pub(super) fn forget_value(&mut self, id: ObjectId) {
        if let Some(object) = self.objects.get_mut(&id) {
            (object.value, object.here, object.private) = (None, false, false);
        }
    }

    /// A task ran again: where its result was before, other than on this node and where it is now, it is freed.
    pub(super) fn free_replaced(&mut self, id: ObjectId, new: &Value) {
        let value = self.objects.get(&id).and_then(|object| object.value.as_ref());
        let Some(old) = value.and_then(|value| value.in_store.clone()) else { return };
        let is_there =
            |node: &Bytes| new.in_store.as_ref().is_some_and(|place| place.node_ids.contains(node));
        for node in old.node_ids.iter().filter(|node| node[..] != self.me.node.0 && !is_there(node)) {
            if let Some(address) = self.node_address(node) {
                self.effects.push(Effect::FreeAt { address, objects: vec![id] });
            }
        }
    }

    /// Stores a large argument under an object that lives as long as its task.
    pub(super) fn on_put_argument(&mut self, id: ObjectId, value: &Value) {
        let mut object = Object::new(None);
        object.here = true;
        object.pins = 1;
        self.announce_sealed(value);
        let captured = self.capture(value);
        object.value = Some(Arc::new(value.clone()));
        object.set_captured(captured);
        self.objects.insert(id, object);
    }

    /// Tells the node of a file that this process has sealed.
    pub(super) fn announce_sealed(&mut self, value: &Value) {
        if let Some(location) = &value.in_store {
            // An object without a node lies on the disk of this one.
            let sealed = v1::ObjectSealed {
                object_id: location.object_id.clone(),
                size: location.size,
                spilled: location.spilled,
            };
            self.tell_node(process_to_node::Message::Sealed(sealed));
        }
    }

    /// A task's result that is to come, with one ref.
    pub(super) fn expect_object(&mut self, id: ObjectId) {
        let mut object = Object::new(None);
        object.refs = 1;
        self.objects.insert(id, object);
    }

    /// The object has its value.
    pub(super) fn set_value(&mut self, id: ObjectId, value: Value) {
        let here = self.is_here(&value);
        let Some(object) = self.objects.get_mut(&id) else { return self.free_stored(&value) };
        let value = Arc::new(detached(value));
        if object.is_plain() && value.contained.is_empty() {
            object.value = Some(value);
            object.here = here;
            if object.watchers.is_empty() && object.refs > 0 {
                return;
            }
        } else {
            self.set_object_paused(id, false);
            let captured = self.capture(&value);
            if let Some(object) = self.objects.get_mut(&id) {
                object.value = Some(value);
                object.here = here;
                let before = object.set_captured(captured);
                self.release_captured(before);
            }
        }
        self.object_changed(id);
        self.free_if_unused(id);
    }

    pub(super) fn is_here(&self, value: &Value) -> bool {
        value
            .in_store
            .as_ref()
            .is_none_or(|location| location.node_ids.iter().any(|node| node[..] == self.me.node.0))
    }

    /// Tells everyone whom the object's new state concerns.
    pub(super) fn object_changed(&mut self, id: ObjectId) {
        let Some(object) = self.objects.get_mut(&id) else { return };
        let Some(value) = object.value.clone() else { return };
        let here = object.here;
        let failed = is_error(&value);
        let mut kept = Vec::new();
        for watcher in std::mem::take(&mut object.watchers) {
            match watcher {
                Watcher::Wait(waiter) if !self.on_waited(waiter, here) => kept.push(watcher),
                Watcher::Wait(_) => {}
                Watcher::Dependent(task) => self.on_dependency(task, failed.then(|| Value::clone(&value))),
                Watcher::Remote(conn, request_id) => {
                    self.show(id);
                    self.answer_get(conn, request_id, Value::clone(&value));
                }
                Watcher::Callback(call) => self.effects.push(Effect::Call(call)),
            }
        }
        if !kept.is_empty() {
            if let Some(object) = self.objects.get_mut(&id) {
                object.watchers.append(&mut kept);
            }
            self.pull_object(id, &value);
        }
    }

    fn answer_get(&mut self, conn: ConnId, request_id: u64, value: Value) {
        let hold = self.hold_refs(conn, std::slice::from_ref(&value));
        let reply = ObjectReply { request_id, value: Some(value), hold, ..ObjectReply::default() };
        self.send(conn, peer_message::Message::Object(reply));
    }

    /// Adds a watcher; asks the owner when the object is another process's.
    pub(super) fn add_watcher(&mut self, id: ObjectId, watcher: Watcher) {
        self.unfold_result(id);
        let Some(object) = self.objects.get_mut(&id) else { return };
        object.watchers.push(watcher);
        if object.value.is_some() {
            self.object_changed(id);
        } else if let Some((owner, owner_node)) = object.foreign.as_deref().copied().filter(|_| !object.asked)
        {
            object.asked = true;
            self.ask_owner(id, owner, owner_node, Vec::new());
        }
    }

    /// Tells the owner of a foreign object on which nodes it is lost; it has it made again, or says why not.
    pub(super) fn ask_owner_again(&mut self, id: ObjectId, lost_on: Vec<Bytes>) {
        if let Some((owner, owner_node)) =
            self.objects.get(&id).and_then(|object| object.foreign.as_deref().copied())
        {
            self.ask_owner(id, owner, owner_node, lost_on);
        }
    }

    fn ask_owner(&mut self, id: ObjectId, owner: ProcessId, owner_node: NodeId, lost_on: Vec<Bytes>) {
        let conn = self.conn_to(owner, owner_node, None);
        let request_id = self.request_id();
        self.fetches.insert(request_id, (conn, id));
        let get = GetObject { request_id: request_id.0, object_id: id.to_bytes(), lost_on };
        self.send(conn, peer_message::Message::Get(get));
    }

    /// Another process wants an object of ours.
    pub(super) fn on_get_object(&mut self, conn: ConnId, get: &GetObject) {
        let asked = ObjectId::try_from(&get.object_id).ok();
        asked.into_iter().for_each(|id| self.unfold_result(id));
        let known = asked.filter(|id| self.objects.contains_key(id));
        let Some(id) = known else {
            let value = error_value(
                SystemErrorKind::Forgotten,
                "the object's owner no longer knows it: it was freed after its last ref there was dropped",
            );
            return self.answer_get(conn, get.request_id, value);
        };
        if !get.lost_on.is_empty() {
            let nodes: Vec<_> = get.lost_on.iter().map(|node| self.node_name_of(node)).collect();
            let sentence = format!("object {id} is lost: it was on {}", nodes.join(" and "));
            self.on_value_lost(id, &get.lost_on, &sentence);
        }
        if self.objects.get(&id).is_some_and(|object| object.paused) {
            self.send_pause_state(conn, get.request_id, true);
        }
        self.on_read(id);
        self.add_watcher(id, Watcher::Remote(conn, get.request_id));
    }

    /// The owner of a foreign object answers, or says that its task is paused.
    pub(super) fn on_object_reply(&mut self, reply: ObjectReply) {
        if self.on_call_argument_reply(&reply) {
            return;
        }
        let request_id = RequestId(reply.request_id);
        let Some(&(_, id)) = self.fetches.get(&request_id) else { return };
        let value = match reply.value {
            Some(value) => value,
            None if reply.error.is_empty() => return self.set_object_paused(id, reply.paused),
            None => error_value(SystemErrorKind::ObjectLost, reply.error),
        };
        self.fetches.remove(&request_id);
        // Nobody wants it any more, and what its owner stored is not ours to free.
        if self.objects.contains_key(&id) {
            self.set_value(id, value);
        }
    }

    /// Forgets the object when nothing needs it any more, and frees what it has in the store if it is ours. Those inside it follow one
    /// by one, not by recursion: such a chain may be long.
    pub(super) fn free_if_unused(&mut self, id: ObjectId) {
        let mut next = Some(id);
        let mut others = Vec::new();
        while let Some(id) = next {
            if let Some(object) = self.forget_if_unused(id) {
                for inner in object.into_captured() {
                    self.uncapture(inner);
                    others.push(inner);
                }
            }
            next = others.pop();
        }
    }

    fn forget_if_unused(&mut self, id: ObjectId) -> Option<Object> {
        let object = self.objects.get(&id)?;
        // A pending result of ours is awaited, so that its bytes can be freed; an owner that was asked will answer.
        let awaited = if object.is_foreign() { self.borrows.is_asking(id) } else { object.value.is_none() };
        if object.is_needed() || awaited {
            return None;
        }
        let object = self.objects.remove(&id)?;
        self.on_forgotten(id);
        match (object.foreign.as_deref(), &object.value) {
            (None, Some(_)) if object.private => self.recyclable.push(id),
            (None, Some(value)) => {
                self.free_stored(value);
                if value.in_store.is_some() {
                    self.on_result_forgotten(id);
                }
            }
            (Some((owner, _)), _) => self.give_back_grants(id, *owner, &object),
            (None, None) => {}
        }
        Some(object)
    }

    /// Frees a result that will not be sent. Its node has not heard of it, so it is announced first.
    pub fn free_unsent(&mut self, value: &Value) {
        self.announce_sealed(value);
        self.free_stored(value);
    }

    /// Frees a stored value on all nodes that have it.
    pub(super) fn free_stored(&mut self, value: &Value) {
        let Some(location) = &value.in_store else { return };
        let Ok(id) = ObjectId::try_from(&location.object_id) else { return };
        // This node may hold a pulled copy even if the value was made elsewhere.
        self.tell_node(process_to_node::Message::Free(FreeObjectsRequest {
            object_ids: vec![location.object_id.clone()],
        }));
        for node in location.node_ids.iter().filter(|node| node[..] != self.me.node.0) {
            if let Some(address) = self.node_address(node) {
                self.effects.push(Effect::FreeAt { address, objects: vec![id] });
            }
        }
    }

    fn node_name_of(&self, node: &[u8]) -> String {
        let mut infos = self.view.nodes.iter().filter_map(|view| view.info.as_ref());
        let found = infos.find(|info| info.node_id[..] == *node).map(|info| info.name.clone());
        found.unwrap_or_else(|| "a node that is gone".to_owned())
    }

    /// `HOST:PORT` of a node's single port.
    pub(super) fn node_address(&self, node: &[u8]) -> Option<String> {
        self.view
            .nodes
            .iter()
            .filter_map(|view| view.info.as_ref())
            .find(|info| info.node_id[..] == *node)
            .map(|info| info.peer_address.clone())
    }
}
