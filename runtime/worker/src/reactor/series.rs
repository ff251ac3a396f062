//! Series: tasks that are submitted again and again are kept, sent and answered together.
//!
//! Up to 256 tasks of one template, which differ in nothing but their ids and arguments, are one series: a few bytes for each, ids that
//! count up, one message for all that go to a worker at a time, and one for all that it has run. Whatever else happens to one of them (it
//! fails, is cancelled or stopped, its worker is lost, somebody takes its result as an argument), it *leaves* the series first
//! ([`State::unfold`]): then it is a task and an object as any other, and the rest of the reactor need not know of series.
//!
//! Tasks are appended, and the refs of results counted, without the reactor's lock ([`Front`]). The reactor takes in what was appended as
//! soon as anybody has its lock. When no ref is left of a whole series, it is told, and forgets the values.

mod all;
mod counts;
mod front;
mod marks;
mod values;
mod waits;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_proto::{
    ids::{LeaseId, ObjectId, TaskId},
    v1::{SeriesDone, TaskDone, TaskSeries, peer_message},
};

use super::{
    ConnId, EncodedTask, FastMap, State, WaiterId, Watcher, events::Place, ids::ClassId, objects::Object,
    queue::Range, tasks::Task,
};
use crate::FunctionId;
pub(super) use all::AllSeries;
pub(crate) use counts::{Dropped, RefCounts};
pub(crate) use front::{Appended, Front};
use marks::Marks;
pub(crate) use values::SeriesValue;
use values::{Results, Values};

/// Tasks of one series: as many as the last byte of an id can number.
pub(crate) const TASKS_MAX: usize = 256;
/// A task with more bytes of arguments is one by itself.
pub(crate) const ARGUMENTS_BYTES_MAX: usize = 1024;
/// A larger result makes its task leave the series, so that its memory is its own.
pub(crate) const RESULT_BYTES_MAX: usize = 1024;

/// What the ids of a series' tasks have in common: all but the last byte, which is 0 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SeriesId(TaskId);

impl SeriesId {
    /// A series of its own, from a random id.
    pub fn new(random: TaskId) -> Self {
        Self::of(random).0
    }

    /// The series that a task belongs to, if there is one, and its number there.
    pub fn of(task: TaskId) -> (Self, usize) {
        let mut base = task;
        let index = std::mem::take(&mut base.0[15]);
        (Self(base), usize::from(index))
    }

    pub fn task(self, index: usize) -> TaskId {
        let mut task = self.0;
        task.0[15] = u8::try_from(index).unwrap_or(u8::MAX);
        task
    }

    /// What a task gives.
    pub fn result(self, index: usize) -> ObjectId {
        ObjectId::of(self.task(index), 0)
    }

    pub fn from_wire(bytes: &Bytes) -> Option<Self> {
        TaskId::try_from(bytes).ok().map(Self::new)
    }

    pub fn to_bytes(self) -> Bytes {
        self.0.to_bytes()
    }
}

/// What the tasks of a series have in common.
pub(crate) struct SeriesTemplate {
    pub class: ClassId,
    pub function: Option<FunctionId>,
    pub name: Arc<str>,
    /// A `TaskSpec` without ids and arguments.
    pub shared: Bytes,
    pub max_retries: u32,
    pub retry_exceptions: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No worker has it.
    Queued,
    /// The worker of a lease has it, by its place in [`Series::leases`].
    Sent(u8),
    /// Its result is there.
    Done,
    /// It is over, and nobody has a ref of its result.
    Gone,
    /// It is a task or an object of its own.
    Left,
}

struct Entry {
    stage: Stage,
    /// Where its arguments end among those of all.
    arguments_end: u32,
    /// The place of its result among those of the series.
    value: Option<u32>,
}

impl Entry {
    fn is_pending(&self) -> bool {
        matches!(self.stage, Stage::Queued | Stage::Sent(_))
    }
}

pub(super) struct Series {
    template: SeriesTemplate,
    parent: Option<TaskId>,
    submitted: Instant,
    front: Arc<Front>,
    entries: Vec<Entry>,
    arguments: Vec<u8>,
    leases: Vec<(LeaseId, Place)>,
    values: Values,
    waiters: Vec<(WaiterId, Marks)>,
    looked: (u64, Marks),
    /// No more tasks are submitted to it.
    closed: bool,
    /// Tasks that are not over.
    pending: usize,
    /// Tasks that it need not know any more.
    over: usize,
    /// All before this one are such.
    swept: usize,
}

impl Series {
    fn arguments_of(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].arguments_end as usize);
        self.arguments.get(start..self.entries[index].arguments_end as usize).unwrap_or_default()
    }

    fn value_of(&self, index: usize) -> Option<&SeriesValue> {
        self.values.get(self.entries[index].value?)
    }

    fn lease_place(&mut self, lease: LeaseId, place: Place) -> u8 {
        let known = self.leases.iter().position(|(known, _)| *known == lease);
        let index = known.unwrap_or_else(|| {
            self.leases.push((lease, place));
            self.leases.len() - 1
        });
        // Each lease has at least one of 256 tasks, which are sent once.
        u8::try_from(index).unwrap_or(u8::MAX)
    }

    fn is_over(&self) -> bool {
        self.closed && self.over == self.entries.len()
    }
}

impl State {
    /// Begins a series without tasks.
    pub fn begin_series(
        &mut self,
        id: SeriesId,
        template: SeriesTemplate,
        parent: Option<TaskId>,
    ) -> Arc<Front> {
        let front = Arc::new(Front::new());
        let series = Series {
            template,
            parent,
            submitted: self.now,
            front: Arc::clone(&front),
            entries: Vec::with_capacity(TASKS_MAX),
            arguments: Vec::new(),
            leases: Vec::new(),
            values: Values::default(),
            waiters: Vec::new(),
            looked: (0, Marks::default()),
            closed: false,
            pending: 0,
            over: 0,
            swept: 0,
        };
        self.series.by_id.insert(id, series);
        front
    }

    /// Takes in what was appended to a series; a full one is closed.
    pub fn grow_series(&mut self, id: SeriesId) {
        let Some(series) = self.series.by_id.get_mut(&id) else { return };
        let mut new = series.front.take();
        let (first, before) = (series.entries.len(), series.arguments.len());
        series.arguments.append(&mut new.arguments);
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        let entry = |end| Entry { stage: Stage::Queued, arguments_end: before + end, value: None };
        series.entries.extend(new.ends.into_iter().map(entry));
        let range = Range { series: id, first, end: series.entries.len() };
        series.closed |= range.end == TASKS_MAX;
        if range.len() == 0 {
            return;
        }
        series.pending += range.len();
        self.series.pending += range.len();
        let class = series.template.class;
        self.classes[class.0].queue.push_range(range);
        self.note_series_submitted(range.len());
        self.lazy += range.len();
        self.mark_dirty(class);
    }

    /// Nothing more is appended to the series.
    pub fn close_series(&mut self, id: SeriesId) {
        self.grow_series(id);
        if let Some(series) = self.series.by_id.get_mut(&id) {
            series.closed = true;
            self.forget_series_if_over(id);
        }
    }

    fn forget_series_if_over(&mut self, id: SeriesId) {
        if self.series.by_id.get(&id).is_some_and(Series::is_over) {
            self.series.by_id.remove(&id);
        }
    }

    /// So many tasks of a range can be sent, from the first on: what follows has left the series.
    pub(super) fn sendable(&self, range: Range) -> usize {
        let Some(series) = self.series.by_id.get(&range.series) else { return 0 };
        let entries = &series.entries[range.first..range.end];
        entries.iter().take_while(|entry| entry.stage == Stage::Queued).count()
    }

    /// Sends queued tasks to the worker of a lease.
    pub(super) fn push_series(&mut self, range: Range, lease: LeaseId, conn: ConnId, place: Place) {
        let Some(series) = self.series.by_id.get_mut(&range.series) else { return };
        let place = series.lease_place(lease, place);
        let all = series.arguments.len();
        let mut lengths = Vec::new();
        let start =
            range.first.checked_sub(1).map_or(0, |before| series.entries[before].arguments_end) as usize;
        let mut end = start;
        for entry in &mut series.entries[range.first..range.end] {
            entry.stage = Stage::Sent(place);
            if all > 0 {
                lengths.push(entry.arguments_end - u32::try_from(end).unwrap_or(u32::MAX));
            }
            end = entry.arguments_end as usize;
        }
        let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let message = TaskSeries {
            base_id: range.series.to_bytes(),
            first: number(range.first),
            count: number(range.len()),
            lease_id: lease.to_bytes(),
            shared: series.template.shared.clone(),
            parent_task_id: series.parent.map(TaskId::to_bytes).unwrap_or_default(),
            lengths,
            arguments: Bytes::copy_from_slice(&series.arguments[start..end]),
        };
        let function = series.template.function;
        if let Some(function) = function {
            self.send_function(conn, function);
        }
        self.send(conn, peer_message::Message::Series(message));
    }

    /// A worker has run tasks of a series.
    pub(super) fn on_series_done(&mut self, done: &SeriesDone) {
        self.on_output_marks(&done.printed);
        let (first, count) = (done.first as usize, done.count as usize);
        let Some(id) = SeriesId::from_wire(&done.base_id) else { return };
        if count == 0 || first + count > TASKS_MAX {
            return;
        }
        let range = Range { series: id, first, end: first + count };
        let run_us = done.run_us / u64::from(done.count);
        let values = Results::new(done);
        let mut left = Vec::new();
        match self.series.by_id.get_mut(&id) {
            Some(series) => {
                let Some((lease, ended)) = series.take_results(range, &values, &mut left) else { return };
                self.series.pending -= ended;
                self.on_series_ended(range, lease, ended, run_us);
            }
            None => left.extend(first..range.end),
        }
        for index in left {
            let done = TaskDone {
                task_id: id.task(index).to_bytes(),
                results: vec![values.of(index - first).into_value()],
                run_us,
                ..TaskDone::default()
            };
            self.on_done(done);
        }
        self.forget_series_if_over(id);
    }

    /// Tasks of a range have ended well, those that had not left their series; what follows from that for all of them.
    fn on_series_ended(&mut self, range: Range, lease: Option<usize>, ended: usize, run_us: u64) {
        let Some(series) = self.series.by_id.get_mut(&range.series) else { return };
        let mut told = Vec::new();
        series.waiters.retain_mut(|(waiter, marks)| {
            told.push((*waiter, marks.remove_range(range.first, range.end)));
            !marks.is_empty()
        });
        if let Some((lease, place)) = lease.and_then(|lease| series.leases.get(lease).copied()) {
            let task = Ended {
                parent: series.parent,
                name: Arc::clone(&series.template.name),
                class: series.template.class,
                submitted: series.submitted,
                place,
                run: Duration::from_micros(run_us),
            };
            self.record_series_end(range, ended, task);
            self.on_lease_series_done(lease, range, run_us);
        }
        for (waiter, count) in told {
            self.on_waited_for(waiter, count);
        }
    }

    /// A task leaves its series: from now on it and its result are as all others. Those that belong to none stay as they are.
    pub(super) fn unfold(&mut self, task: TaskId) {
        let (id, index) = SeriesId::of(task);
        let Some(series) = self.series.by_id.get_mut(&id) else { return };
        let Some(entry) = series.entries.get_mut(index) else { return };
        if matches!(entry.stage, Stage::Gone | Stage::Left) {
            return;
        }
        let was_pending = entry.is_pending();
        let stage = std::mem::replace(&mut entry.stage, Stage::Left);
        let value = entry.value.take().and_then(|place| series.values.take(place));
        series.over += 1;
        let has_refs = series.front.counts.leave(index);
        if has_refs || was_pending {
            let mut object = Object::result(u32::from(has_refs), value.map(SeriesValue::into_value));
            for (waiter, marks) in &mut series.waiters {
                if marks.remove(index) {
                    object.watchers.push(Watcher::Wait(*waiter));
                }
            }
            series.waiters.retain(|(_, marks)| !marks.is_empty());
            self.objects.insert(ObjectId::of(task, 0), object);
        }
        if was_pending {
            series.pending -= 1;
            self.series.pending -= 1;
            let place = match stage {
                Stage::Sent(lease) => series.leases.get(usize::from(lease)).copied(),
                _ => None,
            };
            let encoded = EncodedTask {
                shared: series.template.shared.clone(),
                arguments: Bytes::copy_from_slice(series.arguments_of(index)),
                parent: series.parent,
            };
            let task_of_its_own = Task::of_series(&series.template, encoded, series.submitted, place);
            self.tasks.insert(task, Box::new(task_of_its_own));
        }
        if self.series.by_id.get(&id).is_some_and(|series| series.front.counts.has_none()) {
            self.sweep_series(id);
        }
    }

    /// The same of the task that makes an object.
    pub(super) fn unfold_result(&mut self, object: ObjectId) {
        if !self.series.by_id.is_empty() && object.index() == 0 {
            self.unfold(object.task());
        }
    }

    /// Tasks that a task of this process has submitted leave their series.
    pub(super) fn unfold_children(&mut self, parent: TaskId) {
        let of_it = self.series.by_id.iter().filter(|(_, series)| series.parent == Some(parent));
        let ids: Vec<_> = of_it.map(|(id, series)| (*id, series.entries.len())).collect();
        for (id, count) in ids {
            (0..count).for_each(|index| self.unfold(id.task(index)));
        }
    }

    /// Tasks that have not ended for a while leave their series, `most` at most, so that people see them one by one. They come back.
    pub(super) fn unfold_pending(&mut self, older_than: Duration, most: usize) -> Vec<TaskId> {
        let now = self.now;
        let old = self
            .series
            .by_id
            .iter()
            .filter(|(_, series)| series.pending > 0 && now >= series.submitted + older_than);
        let pending = old.flat_map(|(id, series)| {
            let entries = series.entries.iter().enumerate();
            entries.filter(|(_, entry)| entry.is_pending()).map(|(index, _)| id.task(index))
        });
        let tasks: Vec<_> = pending.take(most).collect();
        tasks.iter().for_each(|task| self.unfold(*task));
        tasks
    }

    /// No result of the series has a ref, or none had a moment ago.
    pub fn sweep_series(&mut self, id: SeriesId) {
        let Some(series) = self.series.by_id.get_mut(&id) else { return };
        let is_over = |entry: &Entry| matches!(entry.stage, Stage::Gone | Stage::Left);
        while series.entries.get(series.swept).is_some_and(is_over) {
            series.swept += 1;
        }
        for (index, entry) in series.entries.iter_mut().enumerate().skip(series.swept) {
            if entry.stage == Stage::Done && !series.front.counts.has_refs(index) {
                entry.stage = Stage::Gone;
                entry.value.take().and_then(|place| series.values.take(place));
                series.over += 1;
            }
        }
        self.forget_series_if_over(id);
    }

    /// A ref of a result was dropped by somebody who does not count himself; `false` if it is no result of a series.
    pub(super) fn on_series_ref_dropped(&mut self, object: ObjectId) -> bool {
        let Some((series, index)) = self.series.find_result(object) else { return false };
        series.front.counts.drop_one(index);
        self.sweep_series(SeriesId::of(object.task()).0);
        true
    }

    /// The name of a series' tasks.
    pub(super) fn series_name(&self, task: TaskId) -> Option<&Arc<str>> {
        self.series.find(task).map(|(series, _)| &series.template.name)
    }
}

/// What is told of tasks of a series that have ended.
pub(super) struct Ended {
    pub parent: Option<TaskId>,
    pub name: Arc<str>,
    pub class: ClassId,
    pub submitted: Instant,
    pub place: Place,
    pub run: Duration,
}

impl Series {
    /// Notes the results of a range. Answers with the place of the lease that had them, and how many there were; `None` if the message
    /// does not fit what was sent. Those that have left the series are put into `left`.
    fn take_results(
        &mut self,
        range: Range,
        values: &Results,
        left: &mut Vec<usize>,
    ) -> Option<(Option<usize>, usize)> {
        let (mut lease, mut ended) = (None, 0);
        let mut same = None;
        for (index, entry) in self.entries.get_mut(range.first..range.end)?.iter_mut().enumerate() {
            let place = range.first + index;
            match entry.stage {
                Stage::Sent(of) => {
                    lease = Some(usize::from(of));
                    ended += 1;
                    if self.front.counts.has_refs(place) {
                        let known = same.filter(|_| values.are_same());
                        let value = known.unwrap_or_else(|| self.values.add(values.of(index)));
                        same = Some(value);
                        self.values.share(value);
                        (entry.stage, entry.value) = (Stage::Done, Some(value));
                    } else {
                        entry.stage = Stage::Gone;
                        self.over += 1;
                    }
                }
                Stage::Left => left.push(place),
                Stage::Queued | Stage::Done | Stage::Gone => {}
            }
        }
        self.pending -= ended;
        if self.closed && self.pending == 0 {
            self.arguments = Vec::new();
        }
        Some((lease, ended))
    }
}
