//! A worker's slots: each runs one task at a time and has a short queue of those that its owner sent ahead.

mod host;
mod stretch;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use manta_proto::{
    ids::{LeaseId, ObjectId, TaskId},
    v1::{
        LeaseBlocked, StoreLocation, TaskDone, TaskEnded, TaskSpec, TasksReturned, Value, peer_message,
        process_to_node, task_argument,
    },
};

use super::{ConnId, FastMap, LONG_TASK, State, cancel, objects::error_value};
use crate::{SystemErrorKind, object_ref::RefAddress, parking::Parking};

pub(crate) use host::ACTOR_SLOT;
use stretch::Part;
pub(crate) use stretch::{Left, Stretch};

/// Slots of one worker at most; a node assigns as many as it has CPUs.
const SLOTS_MAX: usize = 4096;
/// Tasks that may wait for the message that assigns their lease to a slot.
const EARLY_TASKS_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    of_lease: FastMap<LeaseId, u32>,
    early: Vec<(ConnId, LeaseId, Box<TaskSpec>)>,
    new_slots: VecDeque<u32>,
    new_slot: Arc<parking_lot::Condvar>,
    exit: Option<String>,
    creating: Option<host::Creating>,
    host: Option<host::Host>,
}

#[derive(Default)]
struct Slot {
    queue: VecDeque<Waiting>,
    running: Option<Running>,
    /// Its thread works these off, and knows itself which of them runs.
    stretch: Option<Arc<Stretch>>,
    /// It runs its last task, or has: its worker is to end.
    retiring: bool,
    parking: Arc<Parking>,
}

/// What waits in a slot's queue.
enum Waiting {
    Task(Queued),
    Part(Part),
}

impl Waiting {
    fn conn(&self) -> ConnId {
        match self {
            Self::Task(queued) => queued.conn,
            Self::Part(part) => part.conn,
        }
    }

    fn as_task(&mut self) -> Option<&mut Queued> {
        match self {
            Self::Task(queued) => Some(queued),
            Self::Part(_) => None,
        }
    }
}

struct Queued {
    conn: ConnId,
    lease: LeaseId,
    task: TaskId,
    spec: Box<TaskSpec>,
    /// Arguments that are still on their way from other nodes.
    missing: u32,
    /// Those that are on no node any more, and why.
    lost: Option<LostArguments>,
}

impl Queued {
    fn new(conn: ConnId, lease: LeaseId, task: TaskId, spec: Box<TaskSpec>, missing: usize) -> Self {
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        Self { conn, lease, task, spec, missing, lost: None }
    }
}

/// Stored arguments of a task that its worker did not find.
struct LostArguments {
    objects: Vec<ObjectId>,
    sentence: String,
}

/// Where a task's argument lies, as its owner said.
fn location_of(spec: &TaskSpec, id: ObjectId) -> Option<&StoreLocation> {
    let mut stored = spec.arguments.iter().filter_map(|argument| match &argument.value {
        Some(task_argument::Value::Inline(value)) => value.in_store.as_ref(),
        _ => None,
    });
    stored.find(|location| location.object_id == id.0[..])
}

pub(super) struct Running {
    pub(super) conn: ConnId,
    lease: LeaseId,
    pub(super) task: TaskId,
    attempt: u32,
    since: Instant,
    /// Waits of this task that are under way: several of its threads may wait.
    blocked: u32,
    paused_by_debugger: bool,
    /// A debug session has it in its list, also while it runs on.
    was_paused_by_debugger: bool,
    paused_waits: u32,
    /// Its failure in one line, once it is known.
    error: String,
    /// Its failure is not to be retried.
    is_final: bool,
    /// Refs inside its arguments, which its owner keeps alive until it ends.
    pub(super) contained: Vec<RefAddress>,
}

impl Running {
    fn new(conn: ConnId, lease: LeaseId, task: TaskId, spec: &TaskSpec, since: Instant) -> Self {
        let attempt = spec.attempt;
        let values = spec.arguments.iter().filter_map(|argument| match &argument.value {
            Some(task_argument::Value::Inline(value)) => Some(value),
            _ => None,
        });
        let contained = values.flat_map(|value| &value.contained).filter_map(RefAddress::from_ref).collect();
        Self {
            conn,
            lease,
            task,
            attempt,
            since,
            blocked: 0,
            paused_by_debugger: false,
            was_paused_by_debugger: false,
            paused_waits: 0,
            error: String::new(),
            is_final: false,
            contained,
        }
    }

    fn is_paused(&self) -> bool {
        self.paused_by_debugger || self.paused_waits > 0
    }
}

/// What a slot's thread gets from [`State::pop_task`].
pub(crate) enum Popped {
    /// Run this; its stored arguments are on this node.
    Task(Box<TaskSpec>),
    /// Work these off.
    Stretch(Arc<Stretch>),
    /// Nothing is there: wait here.
    Wait(Arc<Parking>),
    /// The worker's time is over.
    Exit(String),
}

impl Slots {
    pub fn wake_all(&self) {
        self.new_slot.notify_all();
        for slot in &self.slots {
            slot.parking.notify_all();
        }
        self.host.iter().for_each(host::Host::wake_all);
    }
}

#[cfg(test)]
impl Slots {
    pub fn leftovers(&self) -> Vec<String> {
        let queued: usize = self.slots.iter().map(|slot| slot.queue.len()).sum();
        let running =
            self.slots.iter().filter(|slot| slot.running.is_some() || slot.stretch.is_some()).count();
        let counts = [
            (queued, "queued"),
            (running, "running"),
            (self.early.len(), "early"),
            (self.of_lease.len(), "leased slots"),
        ];
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }
}

impl State {
    /// The node has given one of this worker's slots to an owner.
    pub(super) fn on_slot_assigned(&mut self, lease: LeaseId, slot: u32) {
        let index = slot as usize;
        if index >= SLOTS_MAX {
            return;
        }
        while self.slots.slots.len() <= index {
            let number = u32::try_from(self.slots.slots.len()).unwrap_or(u32::MAX);
            self.slots.slots.push(Slot::default());
            self.slots.new_slots.push_back(number);
            self.slots.new_slot.notify_one();
        }
        self.slots.of_lease.insert(lease, slot);
        self.slots.slots[index].retiring = false;
        let early = std::mem::take(&mut self.slots.early);
        for (conn, of_lease, task) in early {
            if of_lease == lease {
                self.queue_task(conn, slot, lease, task);
            } else {
                self.slots.early.push((conn, of_lease, task));
            }
        }
    }

    /// The node has taken a slot back; what its owner had sent ahead returns to it.
    pub(super) fn on_slot_released(&mut self, lease: LeaseId) {
        if let Some(slot) = self.slots.of_lease.remove(&lease) {
            self.return_queued(slot);
        }
    }

    /// The node ends this worker.
    pub(super) fn on_exit(&mut self, cause: String) {
        self.slots.exit = Some(cause);
        self.slots.wake_all();
    }

    /// An owner sent a task.
    pub(super) fn on_push(&mut self, conn: ConnId, spec: Box<TaskSpec>) {
        if !spec.actor_id.is_empty() && spec.creation.is_none() {
            return self.on_call_pushed(conn, spec);
        }
        let (Ok(lease), Ok(_)) = (LeaseId::try_from(&spec.lease_id), TaskId::try_from(&spec.task_id)) else {
            return;
        };
        match self.slots.of_lease.get(&lease) {
            Some(&slot) => self.queue_task(conn, slot, lease, spec),
            // The owner was faster than the node's message, which is on its way.
            None if self.slots.early.len() < EARLY_TASKS_MAX => self.slots.early.push((conn, lease, spec)),
            None => self
                .send(conn, peer_message::Message::Returned(TasksReturned { task_ids: vec![spec.task_id] })),
        }
    }

    fn queue_task(&mut self, conn: ConnId, slot: u32, lease: LeaseId, spec: Box<TaskSpec>) {
        let Ok(task) = TaskId::try_from(&spec.task_id) else { return };
        let away = self.arguments_elsewhere(&spec);
        let missing = away.len();
        let Some(entry) = self.slots.slots.get_mut(slot as usize).filter(|slot| !slot.retiring) else {
            return;
        };
        entry.queue.push_back(Waiting::Task(Queued::new(conn, lease, task, spec, missing)));
        if entry.queue.len() == 1 {
            entry.parking.notify_one();
        }
        let (busy, halted) = (entry.running.is_some() || entry.stretch.is_some(), entry.is_halted());
        let since = entry.running_since().unwrap_or(self.now);
        for location in away {
            if let Ok(id) = ObjectId::try_from(&location.object_id) {
                self.pull_argument(id, &location, slot, task);
            }
        }
        if halted {
            self.return_queued(slot);
        } else if busy || missing == 0 {
            self.arm(since + LONG_TASK);
        }
    }

    /// The stored arguments of a task that have to be brought to this node.
    fn arguments_elsewhere(&self, spec: &TaskSpec) -> Vec<StoreLocation> {
        let away = spec.arguments.iter().filter_map(|argument| match &argument.value {
            Some(task_argument::Value::Inline(value)) if !self.is_here(value) => value.in_store.clone(),
            _ => None,
        });
        away.collect()
    }

    /// A stored argument of a queued task has come to this node, or is lost.
    pub(super) fn on_argument_here(&mut self, slot: u32, task: TaskId, id: ObjectId, lost: Option<&str>) {
        if slot == ACTOR_SLOT {
            return self.on_call_argument_here(task, id, lost);
        }
        let Some(entry) = self.slots.slots.get_mut(slot as usize) else { return };
        let mut tasks = entry.queue.iter_mut().filter_map(Waiting::as_task);
        if let Some(queued) = tasks.find(|queued| queued.task == task) {
            queued.missing = queued.missing.saturating_sub(1);
            if let Some(sentence) = lost {
                let nothing = || LostArguments { objects: Vec::new(), sentence: sentence.to_owned() };
                queued.lost.get_or_insert_with(nothing).objects.push(id);
            }
            entry.parking.notify_one();
        }
    }

    /// The next task of a slot whose arguments are all here.
    pub fn pop_task(&mut self, slot: u32) -> Popped {
        self.settle_slot(slot);
        loop {
            if let Some(cause) = self.slots.exit.clone().or_else(|| self.gone.clone()) {
                return Popped::Exit(cause);
            }
            // A Python worker asks before its node has assigned the slot.
            while self.slots.slots.len() <= slot as usize {
                self.slots.slots.push(Slot::default());
            }
            let now = self.now;
            let entry = &mut self.slots.slots[slot as usize];
            let has_next = match entry.queue.front() {
                Some(Waiting::Task(queued)) => queued.missing == 0,
                Some(Waiting::Part(_)) => true,
                None => false,
            };
            if entry.retiring || !has_next {
                return Popped::Wait(Arc::clone(&entry.parking));
            }
            let Queued { conn, lease, task, spec, lost, .. } = match entry.queue.pop_front() {
                Some(Waiting::Task(queued)) => queued,
                Some(Waiting::Part(part)) => return Popped::Stretch(self.begin_stretch(slot, part)),
                None => continue,
            };
            if let Some(lost) = lost {
                self.send_arguments_lost(conn, &spec, &lost);
                continue;
            }
            let waiting = !entry.queue.is_empty();
            entry.running = Some(Running::new(conn, lease, task, &spec, now));
            if waiting {
                self.arm(now + LONG_TASK);
            }
            self.note_creation(conn, lease, task, &spec);
            return Popped::Task(spec);
        }
    }

    /// The task did not start: its owner may have its arguments made again.
    fn send_arguments_lost(&mut self, conn: ConnId, spec: &TaskSpec, lost: &LostArguments) {
        let error = error_value(SystemErrorKind::ObjectLost, &*lost.sentence);
        let locations = lost.objects.iter().filter_map(|id| location_of(spec, *id));
        let lost_on = locations.flat_map(|location| location.node_ids.iter().cloned()).collect();
        let lost_arguments = lost.objects.iter().map(|id| id.to_bytes()).collect();
        let done = TaskDone { lost_arguments, lost_on, ..cancel::done(spec, vec![error], true, 0) };
        self.send(conn, peer_message::Message::Done(done));
    }

    /// A slot's thread has taken a task, and did not find an argument.
    pub fn on_argument_lost(&mut self, slot: u32, spec: Box<TaskSpec>, argument: ObjectId, sentence: &str) {
        let Ok(task) = TaskId::try_from(&spec.task_id) else { return };
        if slot == ACTOR_SLOT {
            return self.on_call_argument_lost(task, spec, argument, sentence);
        }
        let Some(running) = self.take_running(slot, task) else { return };
        self.slots.creating.take_if(|creating| creating.task == task);
        if running.was_paused_by_debugger {
            self.tell_task_ended(task);
        }
        let lost = LostArguments { objects: vec![argument], sentence: sentence.to_owned() };
        self.send_arguments_lost(running.conn, &spec, &lost);
    }

    pub(super) fn send_done(
        &mut self,
        conn: ConnId,
        spec: &TaskSpec,
        results: Vec<Value>,
        failed: bool,
        run_us: u64,
    ) {
        self.send(conn, peer_message::Message::Done(cancel::done(spec, results, failed, run_us)));
    }

    /// A slot's thread has run a task.
    pub fn on_finished(&mut self, slot: u32, task: TaskId, results: Vec<Value>, failed: bool) {
        for value in &results {
            self.announce_sealed(value);
        }
        // What this task submitted may end with its job in the next moment.
        self.send_news();
        self.on_creation_finished(task, failed);
        self.end_source(task);
        let running = if slot == ACTOR_SLOT { self.take_call(task) } else { self.take_running(slot, task) };
        if running.as_ref().is_some_and(|running| running.was_paused_by_debugger) {
            self.tell_task_ended(task);
        }
        match running {
            Some(mut running) if self.conns.contains_key(&running.conn) => {
                let run_us = u64::try_from((self.now - running.since).as_micros()).unwrap_or(u64::MAX);
                let (attempt, printed) = (running.attempt, self.output_marks());
                let (task_id, error, r#final) =
                    (task.to_bytes(), std::mem::take(&mut running.error), running.is_final);
                let retiring = self.slots.slots.get(slot as usize).is_some_and(|slot| slot.retiring);
                let (borrowed, unsettled) = self.refs_kept(&running);
                let hold = self.hold_refs(running.conn, &results);
                let done = TaskDone {
                    task_id,
                    attempt,
                    results,
                    failed,
                    run_us,
                    printed,
                    error,
                    r#final,
                    retiring,
                    borrowed,
                    unsettled,
                    hold,
                    ..TaskDone::default()
                };
                self.send(running.conn, peer_message::Message::Done(done));
            }
            // Nobody waits for the results: their owner is gone.
            _ => results.iter().for_each(|value| self.free_stored(value)),
        }
    }

    /// Whether the slot has more to run, so that a result of it may wait a moment.
    pub fn has_more(&self, slot: u32) -> bool {
        match (slot, &self.slots.host) {
            (ACTOR_SLOT, Some(host)) => host.has_queued(),
            _ => self.slots.slots.get(slot as usize).is_some_and(|slot| {
                !slot.queue.is_empty() || slot.stretch.as_ref().is_some_and(|stretch| stretch.has_more())
            }),
        }
    }

    /// What a task fails with, in one line, for those who cannot read its error value. `on_finished` is to follow.
    pub fn on_failing(&mut self, slot: u32, task: TaskId, error: &str) {
        if let Some(running) = self.running(slot, task) {
            error.clone_into(&mut running.error);
        }
    }

    fn take_running(&mut self, slot: u32, task: TaskId) -> Option<Running> {
        self.settle_slot(slot);
        self.slots.slots.get_mut(slot as usize)?.running.take_if(|running| running.task == task)
    }

    /// A thread of a running task begins or ends to wait for objects. An actor keeps what it holds.
    pub(super) fn on_blocked(&mut self, slot: u32, task: TaskId, blocked: bool) {
        if slot == ACTOR_SLOT {
            return;
        }
        let Some(running) = self.running(slot, task) else { return };
        let before = running.blocked > 0;
        running.blocked = if blocked { running.blocked + 1 } else { running.blocked.saturating_sub(1) };
        let after = running.blocked > 0;
        if before != after {
            let lease_id = running.lease.to_bytes();
            self.tell_node(process_to_node::Message::Blocked(LeaseBlocked { lease_id, blocked: after }));
            if after {
                self.return_queued(slot);
            }
        }
    }

    /// A running task waits for a paused one, or no longer does: to its owner it is as if it were paused itself.
    pub(super) fn on_wait_paused(&mut self, slot: u32, task: TaskId, paused: bool) {
        self.change_pause(slot, task, |running| {
            running.paused_waits =
                if paused { running.paused_waits + 1 } else { running.paused_waits.saturating_sub(1) };
        });
    }

    /// The debugger stopped a task of this worker, or let it run on.
    pub(super) fn on_debugger_paused(&mut self, task: TaskId, paused: bool) {
        self.settle_slots();
        let found = self
            .slots
            .slots
            .iter()
            .position(|slot| slot.running.as_ref().is_some_and(|running| running.task == task));
        let is_call = self.running(ACTOR_SLOT, task).is_some();
        let found = if is_call { Some(ACTOR_SLOT) } else { found.and_then(|slot| u32::try_from(slot).ok()) };
        let Some(slot) = found else {
            if paused {
                // It was resumed and has ended before this message was read.
                self.tell_task_ended(task);
            }
            return;
        };
        self.change_pause(slot, task, |running| {
            running.paused_by_debugger = paused;
            running.was_paused_by_debugger |= paused;
        });
        if paused {
            self.return_queued(slot);
        }
    }

    /// Debug sessions list the tasks that they paused until they hear of their end.
    fn tell_task_ended(&mut self, task: TaskId) {
        let ended = TaskEnded { task_id: task.to_bytes(), ..TaskEnded::default() };
        self.tell_node(process_to_node::Message::TaskEnded(ended));
    }

    fn change_pause(&mut self, slot: u32, task: TaskId, change: impl FnOnce(&mut Running)) {
        let Some(running) = self.running(slot, task) else { return };
        let before = running.is_paused();
        change(running);
        let (after, conn) = (running.is_paused(), running.conn);
        if before != after {
            self.send_task_paused(conn, task, after);
        }
    }

    fn running(&mut self, slot: u32, task: TaskId) -> Option<&mut Running> {
        if slot == ACTOR_SLOT {
            return self.slots.host.as_mut()?.running(task);
        }
        self.settle_slot(slot);
        self.slots.slots.get_mut(slot as usize)?.running.as_mut().filter(|running| running.task == task)
    }

    /// Gives the tasks that wait behind long ones back to their owners.
    pub(super) fn return_waiting_tasks(&mut self) {
        for index in 0..self.slots.slots.len() {
            let slot = &self.slots.slots[index];
            if slot.queue.is_empty() && slot.stretch.is_none() {
                continue;
            }
            let since = slot.running_since().unwrap_or(self.now);
            if self.now >= since + LONG_TASK {
                self.return_queued(u32::try_from(index).unwrap_or(u32::MAX));
            } else {
                self.arm(since + LONG_TASK);
            }
        }
    }

    fn return_queued(&mut self, slot: u32) {
        self.settle_slot(slot);
        let Some(entry) = self.slots.slots.get_mut(slot as usize) else { return };
        let mut by_owner: Vec<(ConnId, Vec<bytes::Bytes>)> = Vec::new();
        for waiting in entry.queue.drain(..) {
            let conn = waiting.conn();
            let mut ids = match waiting {
                Waiting::Task(queued) => vec![queued.spec.task_id],
                Waiting::Part(part) => part.tasks().map(TaskId::to_bytes).collect(),
            };
            match by_owner.last_mut().filter(|(last, _)| *last == conn) {
                Some((_, all)) => all.append(&mut ids),
                None => by_owner.push((conn, ids)),
            }
        }
        for (conn, task_ids) in by_owner {
            self.send(conn, peer_message::Message::Returned(TasksReturned { task_ids }));
        }
    }

    /// Takes a task out of its queue that has not started.
    pub(super) fn take_queued(&mut self, conn: ConnId, task: TaskId) -> Option<Box<TaskSpec>> {
        let early =
            |(of, _, spec): &(ConnId, LeaseId, Box<TaskSpec>)| *of == conn && spec.task_id == task.0[..];
        if let Some(position) = self.slots.early.iter().position(early) {
            return Some(self.slots.early.remove(position).2);
        }
        self.settle_slots();
        let waits = |queued: &Queued| queued.task == task && queued.conn == conn;
        for slot in &mut self.slots.slots {
            slot.spread_parts();
            let position =
                slot.queue.iter_mut().position(|waiting| waiting.as_task().is_some_and(|task| waits(task)));
            if let Some(Waiting::Task(queued)) = position.and_then(|position| slot.queue.remove(position)) {
                return Some(queued.spec);
            }
        }
        self.slots.host.as_mut()?.take_queued(waits)
    }

    /// The slot in which a task of this owner runs.
    pub(super) fn slot_of_running(&mut self, conn: ConnId, task: TaskId) -> Option<u32> {
        self.settle_slots();
        let runs = |running: &Running| running.task == task && running.conn == conn;
        if self.running(ACTOR_SLOT, task).is_some_and(|running| runs(running)) {
            return Some(ACTOR_SLOT);
        }
        let position = self.slots.slots.iter().position(|slot| slot.running.as_ref().is_some_and(runs))?;
        u32::try_from(position).ok()
    }

    /// The owner of a running task, and which attempt it is.
    pub(super) fn owner_of_running(&mut self, slot: u32, task: TaskId) -> Option<(ConnId, u32)> {
        let running = self.running(slot, task)?;
        let (conn, attempt) = (running.conn, running.attempt);
        self.conns.contains_key(&conn).then_some((conn, attempt))
    }

    /// The slot starts nothing more: the task that it runs is its last.
    pub fn retire(&mut self, slot: u32) {
        self.settle_slot(slot);
        if let Some(entry) = self.slots.slots.get_mut(slot as usize) {
            entry.retiring = true;
            // Their owner takes them back when it hears of it.
            entry.queue.clear();
        }
    }

    /// A failure of a running task is not one of those that it is to be retried for. `on_finished` is to follow.
    pub fn on_failing_for_good(&mut self, slot: u32, task: TaskId) {
        if let Some(running) = self.running(slot, task) {
            running.is_final = true;
        }
    }

    /// The owner behind a connection is gone: nobody wants what it had sent.
    pub(super) fn on_owner_lost(&mut self, conn: ConnId) {
        self.settle_slots();
        self.slots.early.retain(|(of, ..)| *of != conn);
        for slot in &mut self.slots.slots {
            slot.queue.retain(|waiting| waiting.conn() != conn);
        }
        let mut running: Vec<RefAddress> = Vec::new();
        for slot in &self.slots.slots {
            let of_it = slot.running.iter().filter(|running| running.conn == conn);
            running.extend(of_it.flat_map(|running| &running.contained));
        }
        if let Some(host) = &mut self.slots.host {
            host.drop_queued_of(conn);
            running.extend(host.contained_of(conn));
        }
        self.borrow_all(running);
    }

    /// A slot that has no thread yet, the end of the worker, or the condition to wait on.
    pub fn pop_new_slot(&mut self) -> Result<crate::NextSlot, Arc<parking_lot::Condvar>> {
        if let Some(cause) = self.slots.exit.clone().or_else(|| self.gone.clone()) {
            return Ok(crate::NextSlot::Exit(cause));
        }
        self.slots
            .new_slots
            .pop_front()
            .map(crate::NextSlot::Start)
            .ok_or_else(|| Arc::clone(&self.slots.new_slot))
    }
}
