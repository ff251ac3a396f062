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
    ids::ObjectId,
    token::Token,
    v1::{FreeObjectsRequest, ProcessToNode, TaskEvents, node_peer_client::NodePeerClient, process_to_node},
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{outgoing::Sending, peer_link};
use crate::{
    reactor::{ConnId, Effect},
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
    channels: RefCell<HashMap<String, AuthorizedChannel>>,
    timer: Cell<Option<Instant>>,
    rearm: Notify,
}

impl Edge {
    pub fn new(shared: Arc<Shared>, to_node: mpsc::UnboundedSender<ProcessToNode>, token: Token) -> Self {
        Self {
            shared,
            token,
            to_node: RefCell::new(Some(to_node)),
            channels: RefCell::default(),
            timer: Cell::new(None),
            rearm: Notify::new(),
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
        let outgoing = &self.shared.outgoing;
        let mut turn = outgoing.turn();
        let mut effects = std::mem::take(&mut turn.left);
        let timer = {
            let mut state = self.shared.lock();
            let busy = state.take_effects(&mut effects).could_wait;
            let timer = state.next_timer();
            if self.shared.set_polling(busy) {
                let soon = state.now + LOOK_AGAIN;
                Some(timer.map_or(soon, |timer| timer.min(soon)))
            } else {
                timer
            }
        };
        let mut sending = Sending::new(outgoing);
        let mut calls = Vec::new();
        for effect in effects.drain(..) {
            match sending.carry_out(effect) {
                Some(Effect::Call(call)) => calls.push(call),
                Some(Effect::Say(text)) => {
                    let shared = Arc::clone(&self.shared);
                    calls.push(Box::new(move || shared.say(text)));
                }
                Some(effect) => self.carry_out(effect),
                None => {}
            }
        }
        sending.flush();
        let failed = sending.failed;
        turn.left = effects;
        drop(turn);
        self.shared.on_push_failed(failed);
        calls.into_iter().for_each(|call| call());
        if timer != self.timer.replace(timer) {
            self.rearm.notify_one();
        }
    }

    fn carry_out(self: &Rc<Self>, effect: Effect) {
        match effect {
            // A message to a peer, and what is called outside of the turn, never come here.
            Effect::Send { .. } | Effect::Push { .. } | Effect::Call(_) | Effect::Say(_) => {}
            Effect::Dial { conn, process, socket, relay } => {
                let outbox = self.shared.outgoing.add(conn);
                let dial = peer_link::Dial { conn, process, socket, relay };
                tokio::task::spawn_local(peer_link::dial(Rc::clone(self), dial, outbox));
            }
            Effect::Close { conn } => self.shared.outgoing.remove(conn),
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

    /// A connection has ended.
    pub fn lost(self: &Rc<Self>, conn: ConnId, cause: &str) {
        self.shared.outgoing.remove(conn);
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

/// Lets the debug agent debug this process: by ptrace where the kernel asks for permission (Yama), and through the guard of a native
/// worker where the system refuses ptrace.
fn allow_tracer(pid: u32) {
    if let Err(error) = manta_guard::allow_tracer(pid) {
        tracing::debug!("the debug agent (pid {pid}) could not be let in: {error}");
    }
}
