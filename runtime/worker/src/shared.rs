//! What the threads of this process share: the reactor under its lock, and the wake-up of the I/O thread.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_object_store::{ObjectStore, SpillFolder};
use manta_proto::{
    frame::FrameError,
    ids::{ActorId, NodeId, ObjectId, TaskId},
    v1::StoreLocation,
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::{
    OutputHandler, TaskOutputLine,
    io::{Incoming, IoThread, Outgoing, OutputGate, Sending},
    reactor::{PutIds, SeriesId, State, TaskIds, Unread, Urgency},
};

/// Receives DAP messages for this worker's engine.
pub(crate) type DebugHandler = Box<dyn Fn(Bytes) + Send + Sync>;

/// Raises in the thread that runs a task.
pub(crate) type InterruptHandler = Box<dyn Fn(TaskId) + Send + Sync>;

/// Says where the threads of this process are, as JSON; called on a thread of its own.
pub(crate) type StackHandler = Arc<dyn Fn() -> String + Send + Sync>;

/// An object may leave the store again between its arrival and its being mapped.
const READ_TRIES: usize = 100;
/// DAP messages that wait for an engine that is being loaded.
const EARLY_DEBUG_MESSAGES_MAX: usize = 1024;

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Tells the I/O thread that there are effects or dropped refs.
    pub wake: Notify,
    /// Ids of refs that were dropped, possibly by a thread that holds the reactor's lock.
    drops: Mutex<Vec<ObjectId>>,
    /// The same for handles of actors.
    actor_drops: Mutex<Vec<ActorId>>,
    series_changes: Mutex<Vec<(SeriesId, SeriesChange)>>,
    has_drops: AtomicBool,
    polling: AtomicBool,
    pub task_ids: Mutex<TaskIds>,
    pub put_ids: Mutex<PutIds>,
    pub node: NodeId,
    pub store: ObjectStore,
    /// Objects for which the store has no room.
    pub spilled: SpillFolder,
    pub on_output: Option<OutputHandler>,
    debug: Mutex<DebugInbox>,
    interrupts: Mutex<Option<InterruptHandler>>,
    stacks: Mutex<Option<StackHandler>>,
    output: Arc<OutputGate>,
    arrivals: Condvar,
    pub io: Mutex<Option<IoThread>>,
    pub outgoing: Outgoing,
    pub incoming: Incoming,
}

/// What the reactor has to hear of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeriesChange {
    /// Tasks were appended.
    Grown,
    /// Nothing more is appended.
    Closed,
    /// None of its results has a ref.
    Unreferenced,
}

/// The engine's handler, or the messages that came before it was set.
enum DebugInbox {
    Early(VecDeque<Bytes>),
    Handler(DebugHandler),
}

impl Shared {
    pub fn new(
        state: State,
        store: ObjectStore,
        spilled: SpillFolder,
        on_output: Option<OutputHandler>,
        output: Arc<OutputGate>,
    ) -> std::io::Result<Self> {
        let node = state.me.node;
        Ok(Self {
            node,
            state: Mutex::new(state),
            wake: Notify::new(),
            drops: Mutex::new(Vec::new()),
            actor_drops: Mutex::new(Vec::new()),
            series_changes: Mutex::default(),
            has_drops: AtomicBool::new(false),
            polling: AtomicBool::new(false),
            task_ids: Mutex::new(TaskIds::new()),
            put_ids: Mutex::new(PutIds::new()),
            store,
            spilled,
            on_output,
            debug: Mutex::new(DebugInbox::Early(VecDeque::new())),
            interrupts: Mutex::new(None),
            stacks: Mutex::new(None),
            output,
            arrivals: Condvar::new(),
            io: Mutex::new(None),
            outgoing: Outgoing::new(),
            incoming: Incoming::new()?,
        })
    }

    /// Shows the user something that is this process's own to say.
    pub fn say(&self, sentence: String) {
        if let Some(handler) = &self.on_output {
            handler(TaskOutputLine {
                task_name: String::new(),
                pid: 0,
                node_name: String::new(),
                stderr: true,
                text: sentence + "\n",
            });
        }
    }

    /// The reactor, with its clock set and dropped refs taken into account.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.now = Instant::now();
        // Mostly there are none, and reading is cheap.
        if self.has_drops.load(Ordering::SeqCst) && self.has_drops.swap(false, Ordering::SeqCst) {
            let dropped = std::mem::take(&mut *self.drops.lock());
            for id in dropped {
                state.on_ref_dropped(id);
            }
            let dropped = std::mem::take(&mut *self.actor_drops.lock());
            for id in dropped {
                state.on_actor_handle_dropped(id);
            }
            let changed = std::mem::take(&mut *self.series_changes.lock());
            for (id, change) in changed {
                match change {
                    SeriesChange::Grown => state.grow_series(id),
                    SeriesChange::Closed => state.close_series(id),
                    SeriesChange::Unreferenced => state.sweep_series(id),
                }
            }
        }
        for id in state.take_recyclable() {
            let recycled = self.store.recycle(id);
            state.on_recycled(id, recycled);
        }
        state
    }

    /// Waits for an answer that the reactor will have.
    fn wait_for<T>(&self, mut answer: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = self.lock();
        self.wake_if_needed(&mut state);
        loop {
            if let Some(answer) = answer(&mut state) {
                return answer;
            }
            let changed = state.rooms_changed();
            changed.wait(&mut state);
        }
    }

    /// Waits until the node has made room in the store, which is then taken; `false` when it cannot.
    pub fn wait_for_room(&self, bytes: u64) -> bool {
        let request = self.with(|state| state.on_need_room(bytes));
        self.wait_for(|state| state.take_room(request))
    }

    /// The bytes of a stored object, which may have to come from another node or from disk; the error says why that cannot be.
    pub fn read_stored(&self, location: &StoreLocation) -> Result<Bytes, Unread> {
        let id = ObjectId::try_from(&location.object_id).map_err(|error| Unread::lost(&error))?;
        for _ in 0..READ_TRIES {
            if let Some(bytes) = self.store.open(id).map_err(|error| Unread::lost(&error))? {
                return Ok(bytes);
            }
            // It is on disk, or has left this node to make room.
            let request = self.with(|state| state.on_need_object(id, location));
            if self.wait_for(|state| state.take_fetched(request))? {
                return self.spilled.read(id).map_err(|error| Unread::lost(&error));
            }
        }
        Err(Unread::lost(&format_args!(
            "object {id} leaves this node's object store as often as it comes, because too little fits into it"
        )))
    }

    /// Does something with the reactor on a thread that is not the I/O thread, which then carries out the effects.
    pub fn with<R>(&self, action: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = action(&mut state);
        let wake = state.needs_wake();
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        result
    }

    /// Only looks at the reactor: what is pending stays so.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock())
    }

    /// As [`Shared::with`], for what may wait a moment. While much of it happens, the I/O thread looks by itself, which spares it and
    /// this thread a wake-up each time.
    pub fn with_lazily<R>(&self, action: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = action(&mut state);
        let urgency = state.urgency(self.is_polling());
        drop(state);
        self.see_to(urgency);
        result
    }

    /// Has effects carried out, as far as they may not wait.
    pub fn see_to(&self, urgency: Urgency) {
        match urgency {
            Urgency::CanWait => {}
            Urgency::Wake => self.wake.notify_one(),
            Urgency::Now => self.send_now(),
        }
    }

    /// Sends what there is for peers on the calling thread, which must hold no lock. What it cannot do, or somebody else is at, is the
    /// I/O thread's.
    pub fn send_now(&self) {
        if self.outgoing.is_inherited() {
            return;
        }
        let turn = self.outgoing.try_turn().filter(|turn| turn.left.is_empty());
        let Some(mut turn) = turn else { return self.wake.notify_one() };
        let mut effects = std::mem::take(&mut turn.left);
        let taken = self.lock().take_effects(&mut effects);
        let mut sending = Sending::new(&self.outgoing);
        let mut pending = effects.drain(..);
        let first_left = pending.by_ref().find_map(|effect| sending.carry_out(effect));
        let left: Vec<_> = first_left.into_iter().chain(pending).collect();
        sending.flush();
        let failed = sending.failed;
        let wake = !left.is_empty() || taken.has_earlier_timer;
        turn.left = if left.is_empty() { effects } else { left };
        drop(turn);
        self.on_push_failed(failed);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Tasks did not fit messages.
    pub fn on_push_failed(&self, failed: Vec<(TaskId, FrameError)>) {
        for (task, error) in failed {
            self.with(|state| state.on_push_failed(task, &error.to_string()));
        }
    }

    /// Whether the I/O thread will look in a moment without being woken.
    pub fn is_polling(&self) -> bool {
        self.polling.load(Ordering::SeqCst)
    }

    /// The I/O thread, which holds the reactor's lock, says whether it will look by itself. It will in any case when a ref was dropped
    /// by somebody who relied on it.
    pub fn set_polling(&self, busy: bool) -> bool {
        self.polling.store(busy, Ordering::SeqCst);
        let polling = busy || self.has_drops.load(Ordering::SeqCst);
        self.polling.store(polling, Ordering::SeqCst);
        polling
    }

    /// Wakes the I/O thread for effects that the holder of the lock has caused.
    pub fn wake_if_needed(&self, state: &mut State) {
        if state.needs_wake() {
            self.wake.notify_one();
        }
    }

    /// A ref was dropped; taken into account soon, since the caller may hold the lock.
    pub fn ref_dropped(&self, id: ObjectId) {
        self.drops.lock().push(id);
        self.tell_dropped();
    }

    fn tell_dropped(&self) {
        if !self.has_drops.swap(true, Ordering::SeqCst) && !self.is_polling() {
            self.wake.notify_one();
        }
    }

    /// A series has changed; taken into account soon, since the caller may hold the lock.
    pub fn series_changed(&self, id: SeriesId, change: SeriesChange) {
        self.series_changes.lock().push((id, change));
        self.tell_dropped();
    }

    /// A handle of an actor was dropped.
    pub fn actor_dropped(&self, id: ActorId) {
        self.actor_drops.lock().push(id);
        if !self.has_drops.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Hands a DAP message to the engine, or keeps it until there is one.
    pub fn deliver_debug(&self, dap: Bytes) {
        match &mut *self.debug.lock() {
            DebugInbox::Handler(handler) => handler(dap),
            DebugInbox::Early(early) if early.len() < EARLY_DEBUG_MESSAGES_MAX => early.push_back(dap),
            DebugInbox::Early(_) => {
                tracing::error!(
                    "a message for the debug engine was dropped, because the engine is not there and too many wait"
                );
            }
        }
    }

    pub fn set_debug_handler(&self, handler: DebugHandler) {
        let mut inbox = self.debug.lock();
        if let DebugInbox::Early(early) = &mut *inbox {
            early.drain(..).for_each(&handler);
        }
        *inbox = DebugInbox::Handler(handler);
    }

    pub fn set_interrupt_handler(&self, handler: InterruptHandler) {
        *self.interrupts.lock() = Some(handler);
    }

    /// Interrupts a task, in languages that can be.
    pub fn interrupt(&self, task: TaskId) {
        if let Some(handler) = &*self.interrupts.lock() {
            handler(task);
        }
    }

    pub fn set_stack_handler(&self, handler: StackHandler) {
        *self.stacks.lock() = Some(handler);
    }

    /// Has the binding say where its threads are. It may have to wait for the language, which the caller must not.
    pub fn dump_stacks(self: &Arc<Self>) {
        let Some(handler) = self.stacks.lock().clone() else { return };
        let shared = Arc::clone(self);
        let dumper = std::thread::Builder::new().name("manta-stacks".to_owned()).spawn(move || {
            let stacks = handler();
            shared.with(|state| {
                state.push_effect(crate::reactor::Effect::ToNode(Box::new(
                    manta_proto::v1::process_to_node::Message::Stacks(stacks),
                )));
            });
        });
        if let Err(error) = dumper {
            tracing::warn!(%error, "a thread for this process's stacks cannot be started");
        }
    }

    /// A piece of output joined another that has not left yet.
    pub fn leave_output(&self) {
        self.output.leave();
    }

    /// Output of a task came and was handed on.
    pub fn output_arrived(&self, worker_id: &Bytes, sequence: u64) {
        self.state.lock().on_output_arrived(worker_id, sequence);
        self.arrivals.notify_all();
    }

    /// Waits until what finished tasks printed has come.
    pub fn wait_for_output(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.state.lock();
        while state.gone.is_none() && !state.has_all_output() {
            if self.arrivals.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }

    /// Waits until there is room for one piece of output, or the process has left its cluster.
    pub fn enter_output(&self) {
        self.output.enter(|| self.state.lock().gone.is_some());
    }
}
