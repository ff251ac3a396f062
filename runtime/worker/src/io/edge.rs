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
    ids::{ObjectId, TaskId},
    token::Token,
    v1::{
        FreeObjectsRequest, PeerMessage, ProcessToNode, TaskDone, TaskSpec, node_peer_client::NodePeerClient,
        peer_message, process_to_node,
    },
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::peer_link::{self, Outbox};
use crate::{
    reactor::{ConnId, Effect, FastMap},
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
                let tail = TaskSpec { lease_id: lease.to_bytes(), attempt, arguments, ..TaskSpec::default() };
                self.push(conn, id, &task, &tail);
            }
            Effect::Dial { conn, process, socket, relay } => {
                let outbox = self.add_outbox(conn);
                let dial = peer_link::Dial { conn, process, socket, relay };
                tokio::task::spawn_local(peer_link::dial(Rc::clone(self), dial, outbox));
            }
            Effect::Close { conn } => self.remove_outbox(conn),
            Effect::ToNode(mut message) => {
                if let process_to_node::Message::TaskEvents(batch) = &mut message {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    batch.sent_unix_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
                }
                // A node that is gone is noticed by the reader of its stream.
                if let Some(to_node) = &*self.to_node.borrow() {
                    let _ = to_node.send(ProcessToNode { message: Some(message) });
                }
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

    fn push(&self, conn: ConnId, id: TaskId, task: &[u8], tail: &TaskSpec) {
        let Some(outbox) = self.outboxes.borrow().get(&conn).cloned() else { return };
        if let Err(error) = outbox.append(|buffer| write_push(buffer, task, tail)) {
            self.shared.with(|state| state.on_push_failed(id, &error.to_string()));
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

/// Writes one frame with `PeerMessage { push: TaskSpec }`, whose fields come from two parts: a protobuf message may be written in
/// pieces, one after the other.
fn write_push(buffer: &mut BytesMut, task: &[u8], tail: &TaskSpec) -> Result<(), FrameError> {
    use bytes::BufMut;
    use prost::{Message, encoding};

    const PUSH_FIELD: u32 = 3;
    let spec = task.len() + tail.encoded_len();
    let length = encoding::key_len(PUSH_FIELD) + encoding::encoded_len_varint(spec as u64) + spec;
    if length > manta_proto::limits::MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    buffer.reserve(length + 4);
    #[expect(clippy::cast_possible_truncation, reason = "checked against the limit above")]
    buffer.put_u32_le(length as u32);
    encoding::encode_key(PUSH_FIELD, encoding::WireType::LengthDelimited, buffer);
    encoding::encode_varint(spec as u64, buffer);
    buffer.put_slice(task);
    tail.encode_raw(buffer);
    Ok(())
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
    use bytes::Bytes;
    use prost::Message;

    use super::*;

    #[test]
    fn a_task_in_two_parts_is_read_as_one() {
        let task = TaskSpec {
            name: "f".into(),
            task_id: Bytes::from_static(&[1; 16]),
            num_returns: 2,
            ..TaskSpec::default()
        };
        let tail = TaskSpec { lease_id: Bytes::from_static(&[2; 16]), attempt: 3, ..TaskSpec::default() };
        let mut buffer = BytesMut::new();
        write_push(&mut buffer, &task.encode_to_vec(), &tail).unwrap();
        let message = frame::read(&mut buffer).unwrap().unwrap();
        let expected = TaskSpec { lease_id: tail.lease_id, attempt: 3, ..task };
        assert_eq!(message.message, Some(peer_message::Message::Push(expected)));
        assert!(buffer.is_empty());
    }
}
