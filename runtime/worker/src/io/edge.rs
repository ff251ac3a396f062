//! Carries out effects, and keeps the reactor's timer.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use manta_proto::{
    connect::{self, AuthorizedChannel},
    frame::{self, FrameError},
    ids::{LeaseId, ObjectId, TaskId},
    token::Token,
    v1::{
        FreeObjectsRequest, PeerMessage, ProcessToNode, TaskArgument, TaskDone, TaskEvents,
        node_peer_client::NodePeerClient, peer_message, process_to_node,
    },
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::peer_link::{self, Outbox};
use crate::{
    reactor::{ConnId, Effect, EncodedTask, FastMap},
    shared::Shared,
};

/// When the I/O thread looks for what was not worth a wake-up, while there is much of it. It is the least that its timer can do.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long a connection to another node may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The I/O thread's own state.
pub(super) struct Edge {
    pub shared: Arc<Shared>,
    pub token: Token,
    /// `None` once this process has said its last word.
    to_node: RefCell<Option<mpsc::UnboundedSender<ProcessToNode>>>,
    outboxes: RefCell<FastMap<ConnId, Rc<Outbox>>>,
    channels: RefCell<HashMap<String, AuthorizedChannel>>,
    timer: Cell<Option<Instant>>,
    rearm: Notify,
    spare: RefCell<Vec<Effect>>,
}

impl Edge {
    pub fn new(shared: Arc<Shared>, to_node: mpsc::UnboundedSender<ProcessToNode>, token: Token) -> Self {
        Self {
            shared,
            token,
            to_node: RefCell::new(Some(to_node)),
            outboxes: RefCell::default(),
            channels: RefCell::default(),
            timer: Cell::new(None),
            rearm: Notify::new(),
            spare: RefCell::default(),
        }
    }

    /// Serves wake-ups and timers until the process leaves.
    pub async fn run(self: &Rc<Self>, stopped: &mut oneshot::Receiver<()>) {
        loop {
            let timer = self.timer.get();
            let due = async {
                match timer {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = self.rearm.notified() => {}
                () = due => {
                    let mut state = self.shared.lock();
                    // It may have been the time to look for what was not worth a wake-up.
                    if state.next_timer().is_some_and(|timer| timer <= state.now) {
                        state.on_timer();
                    }
                }
                // Dropped without a word: nobody uses this process's part in the cluster any more.
                _ = &mut *stopped => {
                    self.shared.lock().send_events();
                    self.flush();
                    // The node reads to the end of the stream, and then ends its own.
                    self.to_node.take();
                    return;
                }
            }
            self.flush();
        }
    }

    /// Whether this process leaves of its own accord.
    pub fn is_leaving(&self) -> bool {
        self.to_node.borrow().is_none()
    }

    /// Carries out what the reactor wants by now.
    pub fn flush(self: &Rc<Self>) {
        let mut effects = self.spare.take();
        let timer = {
            let mut state = self.shared.lock();
            let busy = state.take_effects(&mut effects);
            let timer = state.next_timer();
            if self.shared.set_polling(busy) {
                let soon = state.now + LOOK_AGAIN;
                Some(timer.map_or(soon, |timer| timer.min(soon)))
            } else {
                timer
            }
        };
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        self.spare.replace(effects);
        if timer != self.timer.replace(timer) {
            self.rearm.notify_one();
        }
    }

    fn carry_out(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Send { conn, message } => self.send(conn, message),
            Effect::Push { conn, id, task, lease, attempt, arguments } => {
                self.push(conn, &Push { id, task: &task, lease, attempt, arguments: &arguments });
            }
            Effect::Dial { conn, process, socket, relay } => {
                let outbox = self.add_outbox(conn);
                let dial = peer_link::Dial { conn, process, socket, relay };
                tokio::task::spawn_local(peer_link::dial(Rc::clone(self), dial, outbox));
            }
            Effect::Close { conn } => self.remove_outbox(conn),
            Effect::ToNode(message) => self.tell_node(*message),
            Effect::Events(batch) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let sent_unix_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
                let message = TaskEvents { sent_unix_us, ..batch.into_message() };
                self.tell_node(process_to_node::Message::TaskEvents(message));
            }
            Effect::FreeAt { address, objects } => {
                tokio::task::spawn_local(free_at(Rc::clone(self), address, objects));
            }
            Effect::TrimStore => self.shared.store.trim(),
            Effect::Call(call) => call(),
            Effect::Debug(dap) => self.shared.deliver_debug(dap),
            Effect::Interrupt(task) => self.shared.interrupt(task),
            Effect::AllowTracer(pid) => allow_tracer(pid),
            Effect::DumpStacks => self.shared.dump_stacks(),
        }
    }

    fn tell_node(&self, message: process_to_node::Message) {
        // A node that is gone is noticed by the reader of its stream.
        if let Some(to_node) = &*self.to_node.borrow() {
            let _ = to_node.send(ProcessToNode { message: Some(message) });
        }
    }

    fn send(&self, conn: ConnId, message: peer_message::Message) {
        let Some(outbox) = self.outboxes.borrow().get(&conn).cloned() else { return };
        let message = PeerMessage { message: Some(message) };
        if let Err(error) = outbox.append(|buffer| frame::write(buffer, &message)) {
            self.send_instead(&outbox, message, &error);
        }
    }

    /// Sends a failure in place of results that are too large for a message together.
    fn send_instead(&self, outbox: &Outbox, message: PeerMessage, error: &FrameError) {
        let Some(peer_message::Message::Done(done)) = message.message else {
            tracing::error!("a message to a peer was dropped: {error}");
            return;
        };
        let sentence = format!("the results of a task could not be sent: {error}");
        let results = vec![crate::convert::system_error(crate::SystemErrorKind::Internal, sentence)];
        let message = PeerMessage {
            message: Some(peer_message::Message::Done(TaskDone { results, failed: true, ..done })),
        };
        if let Err(error) = outbox.append(|buffer| frame::write(buffer, &message)) {
            tracing::error!("a message to a peer was dropped: {error}");
        }
    }

    fn push(&self, conn: ConnId, push: &Push<'_>) {
        let Some(outbox) = self.outboxes.borrow().get(&conn).cloned() else { return };
        if let Err(error) = outbox.append(|buffer| push.write(buffer)) {
            self.shared.with(|state| state.on_push_failed(push.id, &error.to_string()));
        }
    }

    pub fn add_outbox(&self, conn: ConnId) -> Rc<Outbox> {
        let outbox = Rc::new(Outbox::default());
        self.outboxes.borrow_mut().insert(conn, Rc::clone(&outbox));
        outbox
    }

    fn remove_outbox(&self, conn: ConnId) {
        if let Some(outbox) = self.outboxes.borrow_mut().remove(&conn) {
            outbox.close();
        }
    }

    /// A connection has ended.
    pub fn lost(self: &Rc<Self>, conn: ConnId, cause: &str) {
        self.remove_outbox(conn);
        self.shared.lock().on_conn_lost(conn, cause);
        self.flush();
    }

    /// Hands a peer's messages to the reactor, all under one lock.
    pub fn deliver(self: &Rc<Self>, conn: ConnId, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let mut messages = Vec::new();
        let mut result = Ok(());
        loop {
            match frame::read(buffer) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if !messages.is_empty() {
            let mut state = self.shared.lock();
            for message in messages {
                state.on_message(conn, message);
            }
            drop(state);
            self.flush();
        }
        result
    }

    /// The channel to another node's port; one for all uses.
    pub async fn channel(&self, address: &str) -> Result<AuthorizedChannel, connect::ConnectError> {
        if let Some(channel) = self.channels.borrow().get(address) {
            return Ok(channel.clone());
        }
        let channel = connect::tcp(address, &self.token, CONNECT_LIMIT).await?;
        self.channels.borrow_mut().insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// Forgets a channel that failed, so that the next use connects anew.
    pub fn forget_channel(&self, address: &str) {
        self.channels.borrow_mut().remove(address);
    }
}

/// A task on its way to a worker.
struct Push<'a> {
    id: TaskId,
    task: &'a EncodedTask,
    lease: LeaseId,
    attempt: u32,
    arguments: &'a [TaskArgument],
}

impl Push<'_> {
    /// Writes one frame with `PeerMessage { push: TaskSpec }`, whose fields come from several parts: a protobuf message may be written
    /// in pieces, one after the other, and its fields in any order.
    fn write(&self, buffer: &mut BytesMut) -> Result<(), FrameError> {
        use bytes::BufMut;
        use prost::encoding::{self, WireType, encoded_len_varint, key_len, message, uint32};

        const PUSH_FIELD: u32 = 3;
        const TASK_ID_FIELD: u32 = 1;
        const ATTEMPT_FIELD: u32 = 2;
        const LEASE_FIELD: u32 = 3;
        const ARGUMENTS_FIELD: u32 = 7;
        const PARENT_FIELD: u32 = 10;
        /// An id with its field's key and length.
        const ID_FIELD_BYTES: usize = 18;

        let put_id = |field, id: &[u8; 16], buffer: &mut BytesMut| {
            encoding::encode_key(field, WireType::LengthDelimited, buffer);
            buffer.put_u8(16);
            buffer.put_slice(id);
        };
        let EncodedTask { shared, arguments, parent } = self.task;
        let ids = 2 + usize::from(parent.is_some());
        let attempt = if self.attempt == 0 { 0 } else { uint32::encoded_len(ATTEMPT_FIELD, &self.attempt) };
        let spec = shared.len()
            + arguments.len()
            + ids * ID_FIELD_BYTES
            + attempt
            + self.arguments.iter().map(|one| message::encoded_len(ARGUMENTS_FIELD, one)).sum::<usize>();
        let length = key_len(PUSH_FIELD) + encoded_len_varint(spec as u64) + spec;
        if length > manta_proto::limits::MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLarge(length));
        }
        buffer.reserve(length + 4);
        #[expect(clippy::cast_possible_truncation, reason = "checked against the limit above")]
        buffer.put_u32_le(length as u32);
        encoding::encode_key(PUSH_FIELD, WireType::LengthDelimited, buffer);
        encoding::encode_varint(spec as u64, buffer);
        buffer.put_slice(shared);
        buffer.put_slice(arguments);
        put_id(TASK_ID_FIELD, &self.id.0, buffer);
        put_id(LEASE_FIELD, &self.lease.0, buffer);
        if let Some(parent) = parent {
            put_id(PARENT_FIELD, &parent.0, buffer);
        }
        if self.attempt != 0 {
            uint32::encode(ATTEMPT_FIELD, &self.attempt, buffer);
        }
        for argument in self.arguments {
            message::encode(ARGUMENTS_FIELD, argument, buffer);
        }
        Ok(())
    }
}

async fn free_at(edge: Rc<Edge>, address: String, objects: Vec<ObjectId>) {
    let freed = async {
        let channel = edge.channel(&address).await.map_err(|error| error.to_string())?;
        let object_ids = objects.iter().map(|id| id.to_bytes()).collect();
        let result = NodePeerClient::new(channel).free_objects(FreeObjectsRequest { object_ids }).await;
        result.map_err(|status| status.message().to_owned())
    };
    if let Err(cause) = freed.await {
        // The node frees what its jobs left behind when they end.
        tracing::warn!("objects on the node at {address} could not be freed: {cause}");
        edge.forget_channel(&address);
    }
}

/// Lets the debug agent trace this process where the kernel asks for permission (Yama).
fn allow_tracer(pid: u32) {
    // SAFETY: PR_SET_PTRACER takes a process id and touches no memory of this process.
    let result = unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::c_ulong::from(pid), 0, 0, 0) };
    // A kernel without Yama answers EINVAL, and needs no permission.
    if result != 0 {
        tracing::debug!("PR_SET_PTRACER was not taken: {}", std::io::Error::last_os_error());
    }
}

#[cfg(test)]
mod tests {
    use manta_proto::v1::TaskSpec;
    use prost::Message;

    use super::*;

    #[test]
    fn a_task_in_parts_is_read_as_one() {
        let argument = |keyword: &str| TaskArgument { keyword: keyword.into(), ..TaskArgument::default() };
        for (parent, attempt) in [(None, 0), (Some(TaskId([4; 16])), 300)] {
            let shared = TaskSpec { name: "f".into(), num_returns: 2, ..TaskSpec::default() };
            let own = TaskSpec { arguments: vec![argument("a")], ..TaskSpec::default() };
            let task = EncodedTask {
                shared: shared.encode_to_vec().into(),
                arguments: own.encode_to_vec().into(),
                parent,
            };
            let (id, lease) = (TaskId([1; 16]), LeaseId([2; 16]));
            let push = Push { id, task: &task, lease, attempt, arguments: &[argument("b")] };
            let mut buffer = BytesMut::new();
            push.write(&mut buffer).unwrap();
            push.write(&mut buffer).unwrap();
            let expected = TaskSpec {
                task_id: id.to_bytes(),
                lease_id: lease.to_bytes(),
                parent_task_id: parent.map(TaskId::to_bytes).unwrap_or_default(),
                attempt,
                arguments: vec![argument("a"), argument("b")],
                ..shared
            };
            for _ in 0..2 {
                let message = frame::read(&mut buffer).unwrap().unwrap();
                assert_eq!(message.message, Some(peer_message::Message::Push(Box::new(expected.clone()))));
            }
            assert!(buffer.is_empty());
        }
    }
}
