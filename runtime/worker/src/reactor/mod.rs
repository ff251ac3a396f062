//! The reactor: all decisions of a driver or worker about tasks, leases, objects, slots and peers.
//!
//! Events come in as `on_*` calls, effects go out through [`State::take_effects`]. It never reads a clock ([`State::now`] is set by
//! the caller), never does input or output, and never drops an [`crate::ObjectRef`], whose drop would call in again.

mod actors;
mod borrows;
mod cancel;
mod effect;
mod events;
mod ids;
mod inventory;
mod leases;
mod lineage;
mod node;
mod objects;
mod output;
mod pauses;
mod peers;
pub(crate) mod programs;
mod pulls;
mod queue;
mod rooms;
mod series;
mod slots;
mod streams;
mod tasks;
#[cfg(test)]
mod tests;
mod unhandled;
mod waits;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_proto::{
    ids::{LeaseId, NodeId, ObjectId, ProcessId, TaskId},
    token::Token,
    v1::{ClusterView, JobConfig, Value, process_to_node},
};

pub(crate) use actors::{ActorAddress, NewActor, Question};
pub(crate) use cancel::Cancellation;
pub(crate) use effect::Effect;
pub(crate) use events::EventBatch;
pub(crate) use ids::{ClassId, ConnId, FastMap, FastSet, PutIds, RequestId, TaskIds, WaiterId};
pub(crate) use leases::ClassKey;
pub(crate) use objects::Watcher;
pub(crate) use queue::Range;
pub(crate) use rooms::Unread;
pub(crate) use series::{
    ARGUMENTS_BYTES_MAX as SERIES_ARGUMENTS_BYTES_MAX, Appended, Dropped, Front, SeriesId, SeriesTemplate,
};
pub(crate) use slots::{ACTOR_SLOT, Left, Popped, Stretch};
pub(crate) use tasks::{ClassOf, EncodedTask, NewArgument, Submission};
pub(crate) use waits::{Awaited, Known, Wait};

use crate::FunctionId;

/// A task that runs longer lets go of those that wait behind it.
const LONG_TASK: Duration = Duration::from_millis(5);
/// So many events wait for the I/O thread to look by itself before it is woken.
const LAZY_MAX: usize = 64;
/// A lease without work goes back after this.
const IDLE_LEASE: Duration = Duration::from_millis(100);

/// Who this process is, known once its node has welcomed it.
pub(crate) struct Identity {
    pub process: ProcessId,
    pub node: NodeId,
    pub node_name: String,
    pub session_dir: PathBuf,
    /// Where the processes of this node have their peer sockets.
    pub peer_dir: PathBuf,
    pub head_address: String,
    pub token: Token,
}

pub(crate) struct State {
    pub me: Identity,
    /// The caller's clock, set before each event.
    pub now: Instant,
    pub job: Option<JobConfig>,
    pub view: ClusterView,
    /// Why this process is no longer part of a cluster.
    pub gone: Option<String>,
    pub functions: FastMap<FunctionId, (String, Bytes)>,
    next_number: u64,

    objects: FastMap<ObjectId, objects::Object>,
    waiters: FastMap<WaiterId, waits::Waiter>,
    /// The newest number of a look at many objects.
    looks: u64,
    fetches: FastMap<RequestId, (ConnId, ObjectId)>,
    pulls: FastMap<ObjectId, pulls::Pull>,
    borrows: borrows::Borrows,
    unhandled: unhandled::Unhandled,
    rooms: rooms::Rooms,
    lineage: lineage::Lineage,
    /// Freed objects whose files this process may write again.
    recyclable: Vec<ObjectId>,

    tasks: FastMap<TaskId, Box<tasks::Task>>,
    series: series::AllSeries,
    classes: Vec<leases::Class>,
    class_ids: std::collections::HashMap<Arc<leases::ClassKey>, ids::ClassId>,
    dirty_classes: Vec<ids::ClassId>,
    completions: VecDeque<(TaskId, Vec<Value>, bool)>,
    pause_changes: VecDeque<(ObjectId, bool)>,
    leases: FastMap<LeaseId, leases::Lease>,
    lease_requests: FastMap<RequestId, ids::ClassId>,
    fates: FastMap<RequestId, peers::FateQuestion>,

    conns: FastMap<ConnId, peers::Conn>,
    conn_of: FastMap<ProcessId, ConnId>,

    actors: actors::Actors,
    slots: slots::Slots,
    streams: streams::Streams,
    outputs: output::OutputCounts,
    events: events::Events,

    effects: Vec<Effect>,
    timer: Option<Instant>,
    /// The timer of which the I/O thread knows, or is being told.
    told_timer: Option<Instant>,
    /// Whether the I/O thread has been told of effects that it has not taken yet.
    signalled: bool,
    /// Events since then whose effects may wait a moment.
    lazy: usize,
    /// None came for a while, or a thread waits for what came of them.
    is_quiet: bool,
}

/// When effects are to be carried out, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Soon, by the I/O thread, which looks by itself or has been told.
    CanWait,
    /// By the I/O thread, which is to be woken.
    Wake,
    /// By the calling thread, as far as it can.
    Now,
}

/// What is to be known of the effects that were taken.
pub(crate) struct Taken {
    /// Some of them could have waited: more of that kind is to be expected.
    pub could_wait: bool,
    /// The I/O thread has to look at the timer.
    pub has_earlier_timer: bool,
}

impl State {
    pub fn new(me: Identity, job: Option<JobConfig>, view: ClusterView, now: Instant) -> Self {
        Self {
            me,
            now,
            job,
            view,
            gone: None,
            functions: FastMap::default(),
            next_number: 1,
            objects: FastMap::default(),
            waiters: FastMap::default(),
            looks: 0,
            fetches: FastMap::default(),
            pulls: FastMap::default(),
            borrows: borrows::Borrows::default(),
            unhandled: unhandled::Unhandled::default(),
            rooms: rooms::Rooms::default(),
            lineage: lineage::Lineage::default(),
            recyclable: Vec::new(),
            tasks: FastMap::default(),
            series: series::AllSeries::default(),
            classes: Vec::new(),
            class_ids: std::collections::HashMap::new(),
            dirty_classes: Vec::new(),
            completions: VecDeque::new(),
            pause_changes: VecDeque::new(),
            leases: FastMap::default(),
            lease_requests: FastMap::default(),
            fates: FastMap::default(),
            conns: FastMap::default(),
            conn_of: FastMap::default(),
            actors: actors::Actors::default(),
            slots: slots::Slots::default(),
            streams: streams::Streams::default(),
            outputs: output::OutputCounts::default(),
            events: events::Events::default(),
            effects: Vec::new(),
            timer: None,
            told_timer: None,
            signalled: false,
            lazy: 0,
            is_quiet: true,
        }
    }

    /// A number for a connection, request or waiter; never used again.
    fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn request_id(&mut self) -> RequestId {
        RequestId(self.number())
    }

    fn tell_node(&mut self, message: process_to_node::Message) {
        self.effects.push(Effect::ToNode(Box::new(message)));
    }

    /// Adds an effect that a caller outside the reactor wants.
    pub fn push_effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Whether the I/O thread has to be woken for new effects, or an earlier timer; `true` only once until they are taken.
    pub fn needs_wake(&mut self) -> bool {
        let pending = !self.effects.is_empty() || !self.dirty_classes.is_empty() || self.has_earlier_timer();
        let needed = pending && !self.signalled;
        self.signalled |= needed;
        needed
    }

    /// The same for what may wait a moment, when the I/O thread is `polling`: it will look by itself.
    pub fn needs_wake_lazily(&mut self, polling: bool) -> bool {
        self.lazy += 1;
        (!polling || self.lazy >= LAZY_MAX) && self.needs_wake()
    }

    /// What the effects of a submission want. The first after a wait, or after a quiet time, is sent at once by who submits it: nothing
    /// else may follow. Of those that follow all the same, many are sent together.
    pub fn urgency(&mut self, polling: bool) -> Urgency {
        match self.needs_wake_lazily(polling) {
            false => Urgency::CanWait,
            true if std::mem::take(&mut self.is_quiet) => Urgency::Now,
            true => Urgency::Wake,
        }
    }

    fn has_earlier_timer(&self) -> bool {
        self.timer.is_some_and(|timer| self.told_timer.is_none_or(|told| timer < told))
    }

    /// Moves the pending effects to `target`, after the last decisions that wait for the end of a batch.
    pub fn take_effects(&mut self, target: &mut Vec<Effect>) -> Taken {
        self.pump_dirty();
        let has_earlier_timer = self.has_earlier_timer();
        self.told_timer = self.timer;
        self.signalled = false;
        target.append(&mut self.effects);
        let could_wait = std::mem::take(&mut self.lazy) > 0;
        self.is_quiet |= !could_wait;
        Taken { could_wait, has_earlier_timer }
    }

    /// When [`State::on_timer`] wants to be called.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timer
    }

    fn arm(&mut self, at: Instant) {
        self.timer = Some(self.timer.map_or(at, |timer| timer.min(at)));
    }

    /// The time that [`State::next_timer`] named has come.
    pub fn on_timer(&mut self) {
        self.timer = None;
        self.return_idle_leases();
        self.return_waiting_tasks();
        self.ask_due_actors();
        self.forget_departed();
        self.send_due_events();
    }

    /// The connection to the node is lost, or the process leaves: nothing more will come.
    pub fn on_gone(&mut self, cause: String) {
        if self.gone.is_none() {
            self.gone = Some(cause);
        }
        self.slots.wake_all();
        self.wake_rooms();
        for waiter in self.waiters.values() {
            waiter.parking.notify_all();
        }
    }

    /// What is still being kept, in words, so that a test sees that nothing stays behind.
    #[cfg(test)]
    pub fn leftovers(&self) -> Vec<String> {
        let count = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let mut left: Vec<String> = [
            count(self.objects.len(), "objects"),
            count(self.waiters.len(), "waiters"),
            count(self.fetches.len(), "fetches"),
            count(self.pulls.len(), "pulls"),
            count(self.rooms.len(), "rooms"),
            count(self.lineage.len(), "kept"),
            count(self.tasks.len(), "tasks"),
            count(self.leases.len(), "leases"),
            count(self.lease_requests.len(), "lease requests"),
            count(self.fates.len(), "fates"),
            count(self.completions.len(), "completions"),
            count(self.pause_changes.len(), "pause changes"),
            count(self.streams.len(), "streams"),
        ]
        .into_iter()
        .flatten()
        .collect();
        left.extend(self.objects.iter().map(|(id, object)| object.described(*id)));
        left.extend(self.borrows.leftovers());
        left.extend(self.series.leftovers());
        left.extend(self.slots.leftovers());
        let actors = self.actors.leftovers();
        if actors != [0; 4] {
            left.push(format!("{actors:?} actors, requests, questions, asks"));
        }
        if !left.is_empty() && self.pending_tasks() > 0 {
            left.extend(
                self.classes
                    .iter()
                    .enumerate()
                    .map(|(id, class)| format!("{} of class {id} queued", class.queue.len())),
            );
        }
        left
    }
}
