//! Tasks of a series in a worker: how a slot's thread works them off without the reactor.
//!
//! The thread takes one after the other from its [`Stretch`], and leaves small results there. Nobody else need know which of them runs.
//! As soon as somebody does (a debugger has stopped it, it waits for an object, it is cancelled, it runs for long), the reactor *settles*
//! the slot ([`State::settle_slot`]): the results go, the task that runs becomes the slot's own, and the rest waits in its queue.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use manta_object_store::layout;
use manta_proto::{
    ids::{JobId, LeaseId, TaskId},
    v1::{OutputMark, SeriesDone, TaskArgument, TaskSeries, TaskSpec, peer_message},
};
use parking_lot::Mutex;
use prost::Message;

use super::{Queued, Running, Slot, Waiting};
use crate::{
    FunctionId, NewValue, TaskFunction,
    reactor::{
        ConnId, LONG_TASK, State,
        series::{RESULT_BYTES_MAX, SeriesId, TASKS_MAX},
    },
};

/// Results are kept no longer than this for others to join them, while the thread goes on with the next task.
const KEEP_RESULTS: Duration = Duration::from_micros(200);
/// Reading the clock takes longer than a task that does nothing. After tasks that took less than this each,
const SHORT_TASK: Duration = Duration::from_micros(2);
/// up to so many go by between two readings. One of them that is slow is settled when the reactor finds that it runs for long.
const UNTIMED_MAX: usize = 8;
/// So many bytes of results are not kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Tasks that came in one message.
pub(crate) struct Sent {
    series: SeriesId,
    first: usize,
    /// What they have in common, with their lease.
    spec: TaskSpec,
    pub name: Arc<str>,
    pub function: TaskFunction,
    pub job_id: JobId,
    /// Where the arguments of each end; nothing when there are none.
    ends: Vec<usize>,
    arguments: Bytes,
}

impl Sent {
    /// `None` when the message is no such thing.
    pub fn read(message: TaskSeries) -> Option<(LeaseId, usize, Self)> {
        let lease = LeaseId::try_from(&message.lease_id).ok()?;
        let series = SeriesId::from_wire(&message.base_id)?;
        let (first, count) = (message.first as usize, message.count as usize);
        let ends: Vec<usize> = message
            .lengths
            .iter()
            .scan(0, |end, length| {
                *end += *length as usize;
                Some(*end)
            })
            .collect();
        let fits = ends.is_empty() || (ends.len() == count && ends.last() == Some(&message.arguments.len()));
        if count == 0 || first + count > TASKS_MAX || !fits {
            return None;
        }
        let mut spec = TaskSpec::decode(message.shared).ok()?;
        (spec.lease_id, spec.parent_task_id) = (message.lease_id, message.parent_task_id);
        let function = match <[u8; 16]>::try_from(&spec.function_id[..]) {
            Ok(function) => TaskFunction::Python(FunctionId(function)),
            Err(_) => TaskFunction::Named(spec.function_name.as_str().into()),
        };
        let (name, job_id) =
            (spec.name.as_str().into(), JobId::try_from(&spec.job_id).unwrap_or(JobId([0; 16])));
        let sent = Self { series, first, spec, name, function, job_id, ends, arguments: message.arguments };
        Some((lease, first + count, sent))
    }

    pub fn task(&self, index: usize) -> TaskId {
        self.series.task(index)
    }

    /// The number of a task of the series.
    pub fn index_of(&self, task: TaskId) -> Option<usize> {
        let (series, index) = SeriesId::of(task);
        (series == self.series).then_some(index)
    }

    pub fn cross_language(&self) -> bool {
        self.spec.cross_language
    }

    pub fn arguments_of(&self, index: usize) -> Vec<TaskArgument> {
        let place = index - self.first;
        let Some(&end) = self.ends.get(place) else { return Vec::new() };
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        // What its owner encoded. It is read as the rest of a message, so nothing else can be in it.
        TaskSpec::decode(self.arguments.slice(start..end)).map(|spec| spec.arguments).unwrap_or_default()
    }

    /// The task as one that came by itself.
    pub fn spec(&self, index: usize) -> Box<TaskSpec> {
        let (task_id, arguments) = (self.task(index).to_bytes(), self.arguments_of(index));
        Box::new(TaskSpec { task_id, arguments, ..self.spec.clone() })
    }
}

/// Some of them, that wait in a slot's queue.
pub(in crate::reactor) struct Part {
    pub conn: ConnId,
    pub lease: LeaseId,
    pub sent: Arc<Sent>,
    pub first: usize,
    pub end: usize,
}

impl Part {
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        (self.first..self.end).map(|index| self.sent.task(index))
    }

    /// Them as tasks that came one by one.
    pub fn into_queued(self) -> impl DoubleEndedIterator<Item = Queued> {
        let Self { conn, lease, sent, first, end } = self;
        (first..end).map(move |index| Queued::new(conn, lease, sent.task(index), sent.spec(index), 0))
    }
}

/// What a slot's thread works off.
pub(crate) struct Stretch {
    conn: ConnId,
    lease: LeaseId,
    pub sent: Arc<Sent>,
    work: Mutex<Work>,
}

struct Work {
    next: usize,
    end: usize,
    running: Option<(usize, Instant)>,
    results: Results,
    /// When the clock was last read between two tasks.
    at: Instant,
    /// Tasks that were done since, and how many may be.
    untimed: usize,
    untimed_max: usize,
    /// Since when results are kept.
    kept_since: Instant,
    /// The reactor has taken the rest.
    settled: bool,
}

impl Work {
    fn new(first: usize, end: usize, now: Instant) -> Self {
        Self {
            next: first,
            end,
            running: None,
            results: Results::from(first),
            at: now,
            untimed: 0,
            untimed_max: 0,
            kept_since: now,
            settled: false,
        }
    }

    /// The clock was read between two tasks.
    fn on_time(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        let done = std::mem::take(&mut self.untimed) + 1;
        let is_short = passed < SHORT_TASK * u32::try_from(done).unwrap_or(u32::MAX);
        self.untimed_max = if is_short { UNTIMED_MAX.min(2 * self.untimed_max + 1) } else { 0 };
        self.results.run += passed;
        self.at = now;
    }
}

/// Results of tasks that followed each other.
struct Results {
    first: usize,
    count: usize,
    format: i32,
    /// Of each, unless all are the same.
    lengths: Vec<u32>,
    data: BytesMut,
    run: Duration,
}

impl Results {
    fn from(first: usize) -> Self {
        Self { first, count: 0, format: 0, lengths: Vec::new(), data: BytesMut::new(), run: Duration::ZERO }
    }

    /// Whether the value can be told along with those that are there.
    fn takes(&self, index: usize, format: i32) -> bool {
        self.count == 0 || (self.first + self.count == index && self.format == format)
    }

    fn add(&mut self, index: usize, value: &NewValue<'_>, format: i32) {
        let start = self.data.len();
        let length = value.stored_len();
        self.data.resize(start + length, 0);
        layout::encode(&mut self.data[start..], value.inband, value.buffers);
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        if self.count == 0 {
            (self.first, self.format) = (index, format);
        } else if self.lengths.is_empty() {
            let (known, new) = self.data.split_at(start);
            if known == new {
                self.data.truncate(start);
            } else {
                // They differ from here on.
                let (one, known) = (number(start), known.to_vec());
                let last = self.data.split_off(start);
                (1..self.count).for_each(|_| self.data.extend_from_slice(&known));
                self.data.extend_from_slice(&last);
                self.lengths = vec![one; self.count];
                self.lengths.push(number(length));
            }
        } else {
            self.lengths.push(number(length));
        }
        self.count += 1;
    }
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It goes with others.
    Kept,
    /// It is time to send what is there.
    Due,
    /// It is for the reactor.
    Refused,
}

impl Stretch {
    fn new(part: Part, now: Instant) -> Self {
        let Part { conn, lease, sent, first, end } = part;
        Self { conn, lease, sent, work: Mutex::new(Work::new(first, end, now)) }
    }

    /// The next task, by its number; `None` when the reactor has to be asked.
    pub fn take(&self) -> Option<usize> {
        let mut work = self.work.lock();
        if work.settled || work.running.is_some() || work.next == work.end {
            return None;
        }
        let index = work.next;
        work.next += 1;
        work.running = Some((index, work.at));
        Some(index)
    }

    /// The task has gone well. The clock is read now and then.
    pub fn leave(&self, index: usize, value: &NewValue<'_>, clock: impl FnOnce() -> Instant) -> Left {
        let format = value.format.to_wire() as i32;
        let mut work = self.work.lock();
        let Some((_, since)) = work.running.filter(|(running, _)| !work.settled && *running == index) else {
            return Left::Refused;
        };
        let is_small = value.stored_len() <= RESULT_BYTES_MAX && value.contained.is_empty();
        if !is_small || !work.results.takes(index, format) {
            return Left::Refused;
        }
        if work.results.count == 0 {
            work.kept_since = since;
        }
        work.results.add(index, value, format);
        work.running = None;
        let is_last = work.next == work.end;
        if work.untimed < work.untimed_max && !is_last && work.results.data.len() < KEPT_BYTES_MAX {
            work.untimed += 1;
            return Left::Kept;
        }
        work.on_time(clock());
        let is_due =
            is_last || work.at - work.kept_since >= KEEP_RESULTS || work.results.data.len() >= KEPT_BYTES_MAX;
        if is_due { Left::Due } else { Left::Kept }
    }

    /// Since when its task runs, if one does.
    pub fn since(&self) -> Option<Instant> {
        self.work.lock().running.map(|(_, since)| since)
    }

    pub fn has_more(&self) -> bool {
        let work = self.work.lock();
        work.next < work.end
    }

    fn take_results(&self, work: &mut Work) -> Option<SeriesDone> {
        let Results { first, count, format, lengths, data, run } =
            std::mem::replace(&mut work.results, Results::from(work.next));
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        (count > 0).then(|| SeriesDone {
            base_id: self.sent.series.to_bytes(),
            first: number(first),
            count: number(count),
            format,
            lengths,
            data: data.freeze(),
            run_us: u64::try_from(run.as_micros()).unwrap_or(u64::MAX),
            printed: Vec::new(),
        })
    }
}

impl State {
    /// An owner sent tasks of a series.
    pub(in crate::reactor) fn on_series_pushed(&mut self, conn: ConnId, message: TaskSeries) {
        let Some((lease, end, sent)) = Sent::read(message) else { return };
        let part = Part { conn, lease, first: sent.first, end, sent: Arc::new(sent) };
        match self.slots.of_lease.get(&lease) {
            Some(&slot) => self.queue_part(slot, part),
            // The owner was faster than the node's message: they wait one by one.
            None => part.into_queued().for_each(|queued| self.on_push(conn, queued.spec)),
        }
    }

    fn queue_part(&mut self, slot: u32, part: Part) {
        let now = self.now;
        let Some(entry) = self.slots.slots.get_mut(slot as usize).filter(|slot| !slot.retiring) else {
            return;
        };
        entry.queue.push_back(Waiting::Part(part));
        if entry.queue.len() == 1 {
            entry.parking.notify_one();
        }
        let since = entry.running_since().unwrap_or(now);
        if entry.is_halted() {
            return self.return_queued(slot);
        }
        self.arm(since + LONG_TASK);
    }

    /// A slot's thread begins to work tasks of a series off.
    pub(super) fn begin_stretch(&mut self, slot: u32, part: Part) -> Arc<Stretch> {
        let stretch = Arc::new(Stretch::new(part, self.now));
        if let Some(entry) = self.slots.slots.get_mut(slot as usize) {
            entry.stretch = Some(Arc::clone(&stretch));
        }
        self.arm(self.now + LONG_TASK);
        stretch
    }

    /// Sends the results that a slot's thread has left, and lets it go on.
    pub fn send_results(&mut self, slot: u32) {
        let Some(stretch) = self.slots.slots.get(slot as usize).and_then(|slot| slot.stretch.clone()) else {
            return;
        };
        let results = {
            let mut work = stretch.work.lock();
            work.kept_since = self.now;
            stretch.take_results(&mut work)
        };
        self.send_series_done(stretch.conn, results);
    }

    fn send_series_done(&mut self, conn: ConnId, results: Option<SeriesDone>) {
        // What these tasks submitted may end with their job in the next moment.
        self.send_news();
        let Some(done) = results else { return };
        let printed: Vec<OutputMark> = self.output_marks();
        self.send(conn, peer_message::Message::SeriesDone(SeriesDone { printed, ..done }));
    }

    /// Takes from a slot's thread what it works off: the task that it runs is the slot's from now on, and the rest is the first in its
    /// queue.
    pub fn settle_slot(&mut self, slot: u32) {
        let Some(entry) = self.slots.slots.get_mut(slot as usize) else { return };
        let Some(stretch) = entry.stretch.take() else { return };
        let mut work = stretch.work.lock();
        work.settled = true;
        let (conn, lease, sent) = (stretch.conn, stretch.lease, &stretch.sent);
        if work.next < work.end {
            let part = Part { conn, lease, sent: Arc::clone(sent), first: work.next, end: work.end };
            entry.queue.push_front(Waiting::Part(part));
        }
        if let Some((index, since)) = work.running {
            let spec = sent.spec(index);
            entry.running = Some(Running::new(conn, lease, sent.task(index), &spec, since));
        }
        let results = stretch.take_results(&mut work);
        drop(work);
        self.send_series_done(conn, results);
    }

    /// The same for all slots.
    pub(in crate::reactor) fn settle_slots(&mut self) {
        for slot in 0..self.slots.slots.len() {
            self.settle_slot(u32::try_from(slot).unwrap_or(u32::MAX));
        }
    }
}

impl Slot {
    /// Since when its task runs, if it has one.
    pub(super) fn running_since(&self) -> Option<Instant> {
        let of_stretch = || self.stretch.as_ref().and_then(|stretch| stretch.since());
        self.running.as_ref().map(|running| running.since).or_else(of_stretch)
    }

    /// Whether its task stands still.
    pub(super) fn is_halted(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.blocked > 0 || running.is_paused())
    }

    /// Has tasks of series wait one by one.
    pub(super) fn spread_parts(&mut self) {
        let spread = |waiting| match waiting {
            Waiting::Task(queued) => vec![Waiting::Task(queued)],
            Waiting::Part(part) => part.into_queued().map(Waiting::Task).collect(),
        };
        if self.queue.iter().any(|waiting| matches!(waiting, Waiting::Part(_))) {
            self.queue = self.queue.drain(..).flat_map(spread).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_read_less_often_only_after_short_tasks() {
        let mut now = Instant::now();
        let mut work = Work::new(0, TASKS_MAX, now);
        let mut after = |work: &mut Work, untimed: usize, passed: Duration| {
            (now, work.untimed) = (now + passed, untimed);
            work.on_time(now);
            work.untimed_max
        };
        let short = SHORT_TASK / 2;
        assert_eq!([0, 1, 3].map(|untimed| after(&mut work, untimed, short)), [1, 3, 7]);
        assert_eq!(after(&mut work, 7, SHORT_TASK * 7), UNTIMED_MAX);
        assert_eq!(after(&mut work, 7, SHORT_TASK * 8), 0);
        assert_eq!(work.results.run, short * 3 + SHORT_TASK * 15);
    }
}
