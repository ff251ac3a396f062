//! The node's edges: sockets, processes, timers. They give events to the core and carry out its effects; they decide nothing.

pub mod agent;
pub mod debug_files;
pub mod driver;
pub mod environment;
pub mod files;
pub mod head_link;
pub mod local;
pub mod logs;
pub mod memory;
pub mod objects;
pub mod packages;
pub mod peer_client;
pub mod peer_server;
pub mod process;
pub mod programs;
pub mod questions;
pub mod stacks;
mod starting;
pub mod transfer;
pub mod venv;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use manta_object_store::{ObjectStore, SpillFolder};
use manta_proto::{
    ids::ProcessId,
    limits::CHANNEL_MESSAGES_MAX,
    token::Token,
    v1::{
        LeaseReply, LeaseReturn, NodeToHead, NodeToProcess, ObjectList, TaskOutput, WorkerFateReply,
        node_to_head, node_to_process,
    },
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::AbortHandle,
};
use tonic::Status;

use crate::{
    core::{Core, Effect, Exit, ReplyId},
    host::Host,
    limits::LOAD_INTERVAL,
    machine,
};

/// Messages that wait for a process or for the head before something has to give.
const QUEUE_MAX: usize = CHANNEL_MESSAGES_MAX * 64;

/// What all edges share.
pub struct Shared {
    state: Mutex<State>,
    pub token: Token,
    pub host: Arc<Host>,
    pub session_dir: PathBuf,
    pub local_socket: PathBuf,
    pub store: ObjectStore,
    /// Objects for which the store has no room.
    pub spilled: SpillFolder,
    pub peers: peer_client::Peers,
    pub logs: logs::Logs,
    pub packages: packages::Packages,
    pub programs: programs::Programs,
    pub debug_files: debug_files::DebugFiles,
    /// Tells files of this machine from others.
    pub machine_id: String,
    /// Woken when the node is to end.
    pub exit: Notify,
    /// Woken when a worker's process is gone.
    pub worker_gone: Notify,
}

struct State {
    core: Core,
    processes: HashMap<ProcessId, ProcessEdge>,
    workers: HashMap<ProcessId, process::Handle>,
    /// Workers whose program is on its way.
    preparing: HashMap<ProcessId, AbortHandle>,
    drivers: HashMap<String, process::Handle>,
    questions: HashMap<u64, questions::Open>,
    /// Who waits for a worker's own stacks.
    dumps: HashMap<ProcessId, Vec<oneshot::Sender<String>>>,
    /// Who waits for a process's objects.
    object_lists: HashMap<ProcessId, Vec<oneshot::Sender<ObjectList>>>,
    agents: HashMap<ProcessId, mpsc::Sender<Bytes>>,
    head: Option<mpsc::Sender<NodeToHead>>,
    lease_replies: HashMap<ReplyId, oneshot::Sender<LeaseReply>>,
    fate_replies: HashMap<ReplyId, oneshot::Sender<WorkerFateReply>>,
    room_replies: HashMap<ReplyId, oneshot::Sender<bool>>,
    replies: u64,
    load_timer_runs: bool,
    load_sent: Instant,
}

struct ProcessEdge {
    sender: mpsc::Sender<Result<NodeToProcess, Status>>,
    outputs_lost: u64,
}

/// What follows at once from an effect.
type FollowUp = Box<dyn FnOnce(&mut Core)>;

/// The parts of [`Shared`] that the node makes.
pub struct Parts {
    pub core: Core,
    pub token: Token,
    pub session_dir: PathBuf,
    pub local_socket: PathBuf,
    pub store: ObjectStore,
    pub spilled: SpillFolder,
    pub host: Arc<Host>,
}

impl Shared {
    pub fn new(parts: Parts) -> Arc<Self> {
        let node_id = parts.core.id();
        Arc::new(Self {
            peers: peer_client::Peers::new(parts.token.clone(), node_id),
            logs: logs::Logs::new(parts.session_dir.join("logs")),
            packages: packages::Packages::default(),
            programs: programs::Programs::default(),
            debug_files: debug_files::DebugFiles::new(&parts.session_dir),
            machine_id: machine::machine_id(),
            token: parts.token,
            host: parts.host,
            session_dir: parts.session_dir,
            local_socket: parts.local_socket,
            store: parts.store,
            spilled: parts.spilled,
            exit: Notify::new(),
            worker_gone: Notify::new(),
            state: Mutex::new(State {
                core: parts.core,
                processes: HashMap::new(),
                workers: HashMap::new(),
                preparing: HashMap::new(),
                drivers: HashMap::new(),
                questions: HashMap::new(),
                dumps: HashMap::new(),
                object_lists: HashMap::new(),
                agents: HashMap::new(),
                head: None,
                lease_replies: HashMap::new(),
                fate_replies: HashMap::new(),
                room_replies: HashMap::new(),
                replies: 0,
                load_timer_runs: false,
                load_sent: Instant::now(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the core.
    pub fn read<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        look(&self.lock().core)
    }

    /// Gives the core an event and carries out what follows.
    pub fn with<T>(self: &Arc<Self>, event: impl FnOnce(&mut Core) -> T) -> T {
        let mut state = self.lock();
        let answer = event(&mut state.core);
        self.settle(&mut state);
        answer
    }

    fn settle(self: &Arc<Self>, state: &mut State) {
        loop {
            let effects = state.core.take_effects();
            if effects.is_empty() {
                break;
            }
            let mut follow_ups: Vec<FollowUp> = Vec::new();
            for effect in effects {
                follow_ups.extend(self.apply(state, effect));
            }
            for follow_up in follow_ups {
                follow_up(&mut state.core);
            }
        }
        self.report_load(state);
    }

    fn report_load(self: &Arc<Self>, state: &mut State) {
        if state.load_timer_runs || state.head.is_none() {
            return;
        }
        let since = state.load_sent.elapsed();
        if since >= LOAD_INTERVAL {
            self.send_load(state);
        } else {
            state.load_timer_runs = true;
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(LOAD_INTERVAL.saturating_sub(since)).await;
                let mut state = shared.lock();
                state.load_timer_runs = false;
                shared.send_load(&mut state);
            });
        }
    }

    fn send_load(&self, state: &mut State) {
        if let Some(load) = state.core.changed_load() {
            state.load_sent = Instant::now();
            self.send_to_head(state, NodeToHead { message: Some(node_to_head::Message::Load(load)) });
        }
    }

    /// Once a second, whether anything changed or not.
    pub fn heartbeat(&self) {
        let mut state = self.lock();
        let load = state.core.load();
        self.send_to_head(&mut state, NodeToHead { message: Some(node_to_head::Message::Load(load)) });
    }

    pub fn set_head(&self, sender: Option<mpsc::Sender<NodeToHead>>) {
        self.lock().head = sender;
    }

    fn send_to_head(&self, state: &mut State, message: NodeToHead) {
        let Some(head) = &state.head else { return };
        if matches!(message.message, Some(node_to_head::Message::Output(_)))
            && head.capacity() < QUEUE_MAX / 2
        {
            tracing::warn!("the head reads too slowly; a printed line is not passed on");
            return;
        }
        if matches!(message.message, Some(node_to_head::Message::TaskEvents(_)))
            && head.capacity() < QUEUE_MAX / 4
        {
            tracing::warn!("the head reads too slowly; lists of tasks will miss some");
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = head.try_send(message) {
            tracing::error!("the head stopped reading; its connection is made anew");
            state.head = None;
        }
    }

    fn apply(self: &Arc<Self>, state: &mut State, effect: Effect) -> Option<FollowUp> {
        match effect {
            Effect::ToProcess(process, message) => state.tell_process(process, message),
            Effect::Close(process) => drop(state.processes.remove(&process)),
            Effect::ToHead(message) => self.send_to_head(state, message),
            Effect::StartWorker { worker, job } => return Some(self.prepare_worker(state, worker, job)),
            Effect::MakeEnvironment { key, config } => environment::start(Arc::clone(self), key, *config),
            Effect::StartDriver { job, sys_path, working_dir, env } => {
                let head_address = state.core.me.head_address.clone();
                let place = driver::Place { sys_path, working_dir, env, head_address };
                return Some(self.start_driver(state, &job, place));
            }
            Effect::EndDriver(id) => {
                if let Some(handle) = state.drivers.get(&id) {
                    handle.end();
                }
            }
            Effect::KillWorker(worker) | Effect::EndWorker(worker)
                if state.preparing.contains_key(&worker) =>
            {
                return state.give_up_preparing(worker);
            }
            Effect::KillWorker(worker) => {
                if let Some(handle) = state.workers.get(&worker) {
                    process::signal(handle.pid(), nix::sys::signal::Signal::SIGKILL);
                }
            }
            Effect::EndWorker(worker) => {
                if let Some(handle) = state.workers.get(&worker) {
                    handle.end();
                }
            }
            Effect::AskLease { ask, node, address, request } => {
                peer_client::ask_lease(Arc::clone(self), ask, node, address, *request);
            }
            Effect::ReturnLease { address, lease, node, worker_unusable, orderly } => {
                let (lease_id, node_id) = (lease.to_bytes(), node.to_bytes());
                let returned = LeaseReturn { lease_id, node_id, worker_unusable, orderly };
                peer_client::return_lease(Arc::clone(self), address, lease, returned);
            }
            Effect::AnswerLease(id, reply) => {
                if let Some(sender) = state.lease_replies.remove(&id) {
                    return undelivered(sender.send(reply));
                }
            }
            Effect::AskFate { process, address, request } => {
                peer_client::ask_fate(Arc::clone(self), process, address, request);
            }
            Effect::AnswerFate(id, reply) => {
                // Who asked may have gone in the meantime.
                let _gone = state.fate_replies.remove(&id).map(|sender| sender.send(reply));
            }
            Effect::Timer(timer, delay) => {
                // A timer keeps nothing alive.
                let shared = Arc::downgrade(self);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    if let Some(shared) = shared.upgrade() {
                        shared.with(|core| core.on_timer(timer));
                    }
                });
            }
            Effect::StartAgent { worker, pid, line } => {
                return Some(self.start_agent(state, worker, pid, line));
            }
            Effect::ToAgent(worker, dap) => {
                if let Some(Err(mpsc::error::TrySendError::Full(_))) =
                    state.agents.get(&worker).map(|agent| agent.try_send(dap))
                {
                    tracing::error!(%worker, "a debug agent stopped reading; it is ended");
                    state.agents.remove(&worker);
                }
            }
            Effect::StopAgent(worker) => drop(state.agents.remove(&worker)),
            Effect::FindDebugFile { target, file } => debug_files::find(Arc::clone(self), target, file),
            Effect::Exit { cause } => {
                tracing::info!(cause, "this node ends");
                self.exit.notify_one();
            }
            about_objects => return self.apply_to_objects(state, about_objects),
        }
        None
    }

    /// What is about objects and the room for them.
    fn apply_to_objects(self: &Arc<Self>, state: &mut State, effect: Effect) -> Option<FollowUp> {
        match effect {
            Effect::Pull { object, addresses } => transfer::pull(Arc::clone(self), object, addresses),
            Effect::MoveObjects { heir, address, objects, others } => {
                peer_client::move_objects(Arc::clone(self), heir, address, objects, others);
            }
            Effect::TellMoved { address, moves } => {
                peer_client::tell_moves(Arc::clone(self), address, moves);
            }
            Effect::DeleteObjects(objects) => {
                for object in objects {
                    if let Err(error) = self.store.delete(object) {
                        tracing::warn!(%object, %error, "an object could not be removed");
                    }
                }
            }
            Effect::DeleteSpilled(objects) => {
                for object in objects {
                    if let Err(error) = self.spilled.delete(object) {
                        tracing::warn!(%object, %error, "a spilled object could not be removed");
                    }
                }
            }
            Effect::SpillObject { object } => transfer::spill(Arc::clone(self), object),
            Effect::Restore { object, size } => transfer::restore(Arc::clone(self), object, size),
            Effect::TakeRoom { asker, bytes } => {
                let taken = self.store.usage().map_or(Ok(()), |usage| usage.take(bytes));
                return Some(Box::new(move |core| core.on_room_taken(asker, bytes, taken)));
            }
            Effect::GiveRoom(bytes) => self.give_room(bytes),
            Effect::AnswerRoom(id, granted) => {
                let unheard =
                    state.room_replies.remove(&id).is_none_or(|sender| sender.send(granted).is_err());
                if unheard && granted {
                    tracing::debug!("nobody waits any more for the room that was made");
                }
            }
            Effect::FindMapped { missing } => {
                transfer::find_mapped(Arc::clone(self), state.core.attached_pids(), missing);
            }
            Effect::FreeOnPeers { addresses, objects } => {
                peer_client::free_objects(self, addresses, &objects);
            }
            other => tracing::error!(?other, "an effect that nobody carries out"),
        }
        None
    }

    /// What a worker's task printed, which it sends by itself, goes into its log as well.
    pub fn log_output(&self, worker: ProcessId, output: &TaskOutput) {
        let logs = self.lock().workers.get(&worker).and_then(process::Handle::logs);
        if let Some(logs) = logs {
            logs.take(&self.logs, output);
        }
    }

    /// A worker has said where its threads are.
    pub fn stacks_arrived(&self, worker: ProcessId, stacks: &str) {
        for asker in self.lock().dumps.remove(&worker).unwrap_or_default() {
            // Who asked may have had no time left.
            let _gone = asker.send(stacks.to_owned());
        }
    }

    fn start_agent(
        self: &Arc<Self>,
        state: &mut State,
        worker: ProcessId,
        pid: u32,
        line: PathBuf,
    ) -> FollowUp {
        match agent::start(self, worker, pid, line) {
            Ok((agent_pid, sender)) => {
                state.agents.insert(worker, sender);
                Box::new(move |core| core.on_agent_started(worker, agent_pid))
            }
            Err(error) => {
                let cause = format!("the debug agent cannot be started: {error}");
                Box::new(move |core| core.on_agent_ended(worker, &cause))
            }
        }
    }

    pub fn give_room(&self, bytes: u64) {
        if let Some(usage) = self.store.usage() {
            usage.give(bytes);
        }
    }

    /// Waits until there is room in the store, which is taken then; `false` when none can be made.
    pub async fn wait_for_room(self: &Arc<Self>, bytes: u64) -> bool {
        let (id, receiver) = {
            let mut state = self.lock();
            let (sender, receiver) = oneshot::channel();
            let id = state.next_reply();
            state.room_replies.insert(id, sender);
            (id, receiver)
        };
        self.with(|core| core.on_room_wanted(crate::core::RoomAsker::Edge(id), bytes));
        receiver.await.unwrap_or(false)
    }

    /// A worker's process was reaped.
    pub fn worker_exited(self: &Arc<Self>, worker: ProcessId, pid: u32, exit: &Exit) {
        let mut state = self.lock();
        state.workers.remove(&worker);
        state.dumps.remove(&worker);
        self.host.forget_group(pid);
        // What it had said before its end may not be read yet; its connection's end sweeps then.
        if !state.processes.contains_key(&worker) {
            self.sweep(pid);
        }
        state.core.on_worker_exited(worker, exit);
        self.settle(&mut state);
        drop(state);
        self.worker_gone.notify_waiters();
        self.worker_gone.notify_one();
    }

    pub fn attach(&self, process: ProcessId, sender: mpsc::Sender<Result<NodeToProcess, Status>>) -> bool {
        let mut state = self.lock();
        let free = !state.processes.contains_key(&process);
        if free {
            state.processes.insert(process, ProcessEdge { sender, outputs_lost: 0 });
        }
        free
    }

    pub fn detach(&self, process: ProcessId) {
        let mut state = self.lock();
        state.processes.remove(&process);
        state.object_lists.remove(&process);
    }

    pub fn agent_ended(self: &Arc<Self>, worker: ProcessId, cause: &str) {
        let mut state = self.lock();
        state.agents.remove(&worker);
        state.core.on_agent_ended(worker, cause);
        self.settle(&mut state);
    }

    pub fn expect_lease(&self) -> (ReplyId, oneshot::Receiver<LeaseReply>) {
        let mut state = self.lock();
        let (sender, receiver) = oneshot::channel();
        let id = state.next_reply();
        state.lease_replies.insert(id, sender);
        (id, receiver)
    }

    pub fn expect_fate(&self) -> (ReplyId, oneshot::Receiver<WorkerFateReply>) {
        let mut state = self.lock();
        let (sender, receiver) = oneshot::channel();
        let id = state.next_reply();
        state.fate_replies.insert(id, sender);
        (id, receiver)
    }
}

/// The asking node's connection ended before its lease was there: the lease goes back.
fn undelivered(sent: Result<(), LeaseReply>) -> Option<FollowUp> {
    use manta_proto::{ids::LeaseId, v1::lease_reply::Result::Granted};
    let Some(Granted(grant)) = sent.err()?.result else { return None };
    let lease = LeaseId::try_from(&grant.lease_id).ok()?;
    Some(Box::new(move |core| core.on_lease_returned(lease, false)))
}

impl State {
    fn next_reply(&mut self) -> ReplyId {
        self.replies += 1;
        ReplyId(self.replies)
    }

    fn tell_process(&mut self, process: ProcessId, message: NodeToProcess) {
        let Some(edge) = self.processes.get_mut(&process) else { return };
        if let Some(node_to_process::Message::Output(output)) = &message.message {
            if edge.sender.capacity() < QUEUE_MAX / 2 {
                edge.outputs_lost += 1;
                return;
            }
            if edge.outputs_lost > 0 {
                let text = format!(
                    "[{} printed lines are missing here: the driver read too slowly]\n",
                    edge.outputs_lost
                );
                edge.outputs_lost = 0;
                let notice = TaskOutput { stderr: true, text, ..output.clone() };
                let notice = NodeToProcess { message: Some(node_to_process::Message::Output(notice)) };
                // The room was looked at above.
                let _sent = edge.sender.try_send(Ok(notice));
            }
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = edge.sender.try_send(Ok(message)) {
            tracing::error!(%process, "a process stopped reading; its connection is closed");
            self.processes.remove(&process);
        }
    }
}

/// What a process is sent.
pub type ToProcess = Result<NodeToProcess, Status>;

pub fn process_queue() -> (mpsc::Sender<ToProcess>, mpsc::Receiver<ToProcess>) {
    mpsc::channel(QUEUE_MAX)
}

pub fn head_queue() -> (mpsc::Sender<NodeToHead>, mpsc::Receiver<NodeToHead>) {
    mpsc::channel(QUEUE_MAX)
}
