//! What this process tells the cluster about the tasks that it owns, for `manta list tasks` and its like.
//!
//! It must never cost a task more than a few nanoseconds: tasks are noted by their id as they are submitted and recorded when they
//! end, both bounded, and everything else is looked up twice a second. What there is no room for is counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_proto::{
    ids::{NodeId, ProcessId, TaskId},
    v1::{self, TaskEvent, TaskEvents, Value, task_event, value},
};

use super::{ClassKey, Effect, FastSet, State, actors::Role, queue::Range, series, tasks::Task};
use crate::SystemError;

/// Between two batches.
const INTERVAL: Duration = Duration::from_millis(500);
/// Events that a process may send at once after a quiet time.
const BURST: usize = 10_000;
/// Of these, so many are kept for tasks that failed.
const KEPT_FOR_FAILURES: usize = 2_000;
/// Events that a process may send a second in the long run.
const PER_SECOND: usize = 1_000;
/// Submitted tasks that are noted between two batches.
const NOTED_MAX: usize = 10_000;
/// A series whose tasks have not ended by then is taken apart for those who list them.
const SERIES_TIME: Duration = Duration::from_millis(50);
/// Characters of an error.
const ERROR_CHARS_MAX: usize = 1_000;

/// An attempt that has ended, as it was then: what the cluster is told of it is made when the batch goes, outside of the reactor.
pub(crate) struct Ended {
    id: TaskId,
    attempt: u32,
    failed: bool,
    name: Arc<str>,
    class: Arc<ClassKey>,
    parent: Option<TaskId>,
    role: Option<Role>,
    place: Option<Place>,
    error: String,
    waits_for: Vec<Bytes>,
    times: Times,
}

/// Tasks of a series that have ended well together.
pub(crate) struct EndedTogether {
    range: Range,
    name: Arc<str>,
    class: Arc<ClassKey>,
    parent: Option<TaskId>,
    place: Place,
    times: Times,
}

/// What goes to the node at one time.
pub(crate) struct EventBatch {
    ended: Vec<Ended>,
    together: Vec<EndedTogether>,
    /// All the rest.
    message: TaskEvents,
    at: Instant,
}

impl EventBatch {
    /// The message for the node; the edge has the clock that it lacks.
    pub fn into_message(self) -> TaskEvents {
        let Self { ended, together, mut message, at } = self;
        let mut events: Vec<TaskEvent> = ended.into_iter().map(|ended| ended.into_event(at)).collect();
        events.extend(together.into_iter().map(|ended| ended.into_event(at)));
        events.append(&mut message.events);
        TaskEvents { events, ..message }
    }
}

impl Ended {
    fn into_event(self, at: Instant) -> TaskEvent {
        let state = if self.failed { task_event::State::Failed } else { task_event::State::Finished };
        let described = Described {
            id: self.id,
            attempt: self.attempt,
            name: &self.name,
            class: &self.class,
            parent: self.parent,
            role: self.role,
            place: self.place,
            times: self.times,
        };
        TaskEvent { error: self.error, waits_for: self.waits_for, ..described.event(state, at) }
    }
}

impl EndedTogether {
    fn into_event(self, at: Instant) -> TaskEvent {
        let described = Described {
            id: self.range.series.task(self.range.first),
            attempt: 0,
            name: &self.name,
            class: &self.class,
            parent: self.parent,
            role: None,
            place: Some(self.place),
            times: self.times,
        };
        // At most 256 tasks are a series.
        let more = u32::try_from(self.range.len() - 1).unwrap_or(0);
        TaskEvent { more, ..described.event(task_event::State::Finished, at) }
    }
}

/// What is told of a task in whatever state.
struct Described<'a> {
    id: TaskId,
    attempt: u32,
    name: &'a str,
    class: &'a ClassKey,
    parent: Option<TaskId>,
    role: Option<Role>,
    place: Option<Place>,
    times: Times,
}

impl Described<'_> {
    fn event(&self, state: task_event::State, at: Instant) -> TaskEvent {
        let ClassKey { language, resources, .. } = self.class;
        let amounts = resources.iter().map(|(name, amount)| (name.to_string(), *amount)).collect();
        let bytes = |id: Option<[u8; 16]>| id.map(|id| Bytes::copy_from_slice(&id)).unwrap_or_default();
        let (r#type, actor) = match self.role {
            None => (task_event::Type::NormalTask, None),
            Some(Role::Creation(actor)) => (task_event::Type::ActorCreationTask, Some(actor)),
            Some(Role::Call(actor, _)) => (task_event::Type::ActorTask, Some(actor)),
        };
        TaskEvent {
            r#type: r#type.into(),
            actor_id: bytes(actor.map(|actor| actor.0)),
            task_id: self.id.to_bytes(),
            attempt: self.attempt,
            state: state.into(),
            name: self.name.to_owned(),
            language: language.as_str().to_owned(),
            parent_task_id: bytes(self.parent.map(|parent| parent.0)),
            node_id: bytes(self.place.map(|place| place.node.0)),
            worker_id: bytes(self.place.map(|place| place.worker.0)),
            resources: Some(v1::Resources { amounts }),
            submitted_us_ago: us_ago(at, self.times.submitted),
            started_us_ago: self.times.started.map(|started| us_ago(at, started)),
            ended_us_ago: self.times.ended.map(|ended| us_ago(at, ended)),
            ..TaskEvent::default()
        }
    }
}

/// What waits for the next batch.
pub(super) struct Events {
    noted: Vec<TaskId>,
    ended: Vec<Ended>,
    together: Vec<EndedTogether>,
    room: usize,
    refilled: Option<Instant>,
    submitted: u64,
    finished: u64,
    failed: u64,
    not_recorded: u64,
    due: Option<Instant>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            noted: Vec::new(),
            ended: Vec::new(),
            together: Vec::new(),
            room: BURST,
            refilled: None,
            submitted: 0,
            finished: 0,
            failed: 0,
            not_recorded: 0,
            due: None,
        }
    }
}

/// When something happened to a task.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub submitted: Instant,
    pub started: Option<Instant>,
    pub ended: Option<Instant>,
}

/// Where a task was sent.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub node: NodeId,
    pub worker: ProcessId,
}

impl Events {
    fn take_room(&mut self, kept: usize) -> bool {
        let free = self.room > kept;
        self.room -= usize::from(free);
        free
    }

    fn refill(&mut self, now: Instant) {
        let since = self.refilled.replace(now).map_or(Duration::ZERO, |before| now - before);
        let more = usize::try_from(since.as_millis()).unwrap_or(usize::MAX).saturating_mul(PER_SECOND) / 1000;
        self.room = self.room.saturating_add(more).min(BURST);
    }

    /// Tasks that may still be told of, but for those that fail.
    fn room_for_others(&self) -> usize {
        self.room.saturating_sub(KEPT_FOR_FAILURES)
    }

    fn has_news(&self) -> bool {
        !self.noted.is_empty() || !self.ended.is_empty() || self.submitted + self.finished + self.failed > 0
    }
}

impl State {
    /// A task was submitted, or one that the cluster knows of has changed.
    pub(super) fn note_task(&mut self, id: TaskId) {
        if self.events.noted.len() < NOTED_MAX {
            self.events.noted.push(id);
        }
        self.arm_events();
    }

    pub(super) fn note_submitted(&mut self, id: TaskId) {
        self.events.submitted += 1;
        self.note_task(id);
    }

    pub(super) fn note_series_submitted(&mut self, count: usize) {
        self.events.submitted += count as u64;
        self.arm_events();
    }

    /// Tasks of a series have ended well: `ended` of a range, of which the others had left the series.
    pub(super) fn record_series_end(&mut self, range: Range, ended: usize, task: series::Ended) {
        self.events.finished += ended as u64;
        // Which of them had left is not worth the search.
        if ended == range.len() && self.events.take_room(KEPT_FOR_FAILURES) {
            self.events.together.push(EndedTogether {
                range,
                name: task.name,
                class: Arc::clone(self.key_of(task.class)),
                parent: task.parent,
                place: task.place,
                times: Times {
                    submitted: task.submitted,
                    started: self.now.checked_sub(task.run),
                    ended: Some(self.now),
                },
            });
        } else {
            self.events.not_recorded += ended as u64;
        }
        self.arm_events();
    }

    /// Tasks of this process that have not ended.
    pub(super) fn pending_tasks(&self) -> usize {
        self.tasks.len() + self.series.pending()
    }

    /// Tasks of series that do not end soon are told of one by one.
    fn note_pending_of_series(&mut self) {
        let room = NOTED_MAX.saturating_sub(self.events.noted.len()).min(self.events.room_for_others());
        let left = self.unfold_pending(SERIES_TIME, room);
        self.events.noted.extend(left);
    }

    fn arm_events(&mut self) {
        if self.events.due.is_none() {
            let due = self.now + INTERVAL;
            self.events.due = Some(due);
            self.arm(due);
        }
    }

    /// An attempt of a task has ended; `error` is the first of its results when it failed.
    pub(super) fn record_end(&mut self, id: TaskId, task: &Task, error: Option<&Value>, sentence: &str) {
        let failed = error.is_some();
        if failed {
            self.events.failed += 1;
        } else {
            self.events.finished += 1;
        }
        // What the cluster believes to be running has its end told in any case; it was counted when it was told of.
        let known = task.reported != task_event::State::Nil;
        if !known && !self.events.take_room(if failed { 0 } else { KEPT_FOR_FAILURES }) {
            self.events.not_recorded += 1;
            return self.arm_events();
        }
        let started = task.started.or_else(|| task.place.and(Some(self.now)));
        self.events.ended.push(Ended {
            id,
            attempt: task.attempt,
            failed,
            name: Arc::clone(&task.name),
            class: Arc::clone(self.class_key(task)),
            parent: task.parent(),
            role: task.role(),
            place: task.place,
            error: error.map(|value| error_sentence(value, sentence)).unwrap_or_default(),
            waits_for: self.waits_for(task),
            times: Times { submitted: task.submitted, started, ended: Some(self.now) },
        });
        self.arm_events();
    }

    /// The batch, when its time has come.
    pub(super) fn send_due_events(&mut self) {
        match self.events.due {
            Some(due) if due <= self.now => self.send_events(),
            Some(due) => self.arm(due),
            None => {}
        }
    }

    /// Sends what there is to say about tasks, if there is anything.
    pub(super) fn send_news(&mut self) {
        if self.events.has_news() {
            self.send_events();
        }
    }

    /// Sends what there is to say, now.
    pub fn send_events(&mut self) {
        self.events.due = None;
        self.events.refill(self.now);
        self.note_pending_of_series();
        self.note_started();
        if !self.events.has_news() {
            return;
        }
        let noted = std::mem::take(&mut self.events.noted);
        let ended = std::mem::take(&mut self.events.ended);
        let together = std::mem::take(&mut self.events.together);
        let live = self.pending_tasks() as u64;
        let mut events = Vec::new();
        let mut seen = FastSet::default();
        for id in noted {
            if seen.insert(id) {
                events.extend(self.changed_event(id));
            }
        }
        let counts = &mut self.events;
        let message = TaskEvents {
            owner_id: self.me.process.to_bytes(),
            job_id: self.job.as_ref().map(|job| job.job_id.clone()).unwrap_or_default(),
            // The edge has a clock.
            sent_unix_us: 0,
            events,
            submitted: std::mem::take(&mut counts.submitted),
            finished: std::mem::take(&mut counts.finished),
            failed: std::mem::take(&mut counts.failed),
            not_recorded: std::mem::take(&mut counts.not_recorded),
            live,
        };
        self.effects.push(Effect::Events(Box::new(EventBatch { ended, together, message, at: self.now })));
        if self.pending_tasks() > 0 {
            self.arm_events();
        }
    }

    /// The first task of each lease is the one that runs: nobody says so, to spare the message.
    fn note_started(&mut self) {
        let fronts: Vec<TaskId> = self.running_fronts().collect();
        for id in fronts {
            let now = self.now;
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            task.started.get_or_insert(now);
            if !matches!(task.reported, task_event::State::Running | task_event::State::Paused) {
                self.events.noted.push(id);
            }
        }
        if self.pending_tasks() > 0 {
            self.arm_events();
        }
    }

    /// The present state of a task that has not ended, unless the cluster knows it.
    fn changed_event(&mut self, id: TaskId) -> Option<TaskEvent> {
        let task = self.tasks.get(&id)?;
        let state = task.event_state();
        if state == task.reported {
            return None;
        }
        let known = task.reported != task_event::State::Nil;
        if !known && !self.events.take_room(KEPT_FOR_FAILURES) {
            return None;
        }
        let task = self.tasks.get(&id)?;
        let described = Described {
            id,
            attempt: task.attempt,
            name: &task.name,
            class: self.class_key(task),
            parent: task.parent(),
            role: task.role(),
            place: task.place,
            times: Times { submitted: task.submitted, started: task.started, ended: None },
        };
        let event = TaskEvent { waits_for: self.waits_for(task), ..described.event(state, self.now) };
        self.tasks.get_mut(&id)?.reported = state;
        Some(event)
    }
}

fn us_ago(now: Instant, at: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(at).as_micros()).unwrap_or(u64::MAX)
}

/// One sentence for people.
pub(super) fn error_sentence(value: &Value, sentence: &str) -> String {
    let text = match value.format() {
        value::Format::SystemError => manta_object_store::layout::decode(&value.data)
            .map(|parts| SystemError::decode(&parts.inband).message)
            .unwrap_or_default(),
        _ => sentence.to_owned(),
    };
    let text = if text.is_empty() { "the task failed; its owner has the exception".to_owned() } else { text };
    match text.char_indices().nth(ERROR_CHARS_MAX) {
        Some((cut, _)) => format!("{} [cut]", &text[..cut]),
        None => text,
    }
}
