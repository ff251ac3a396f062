//! What the head keeps of the cluster's tasks, for people who ask: the newest attempts, up to a limit.
//!
//! It must never be needed to run a task: owners tell what they like when they have the time, and what does not fit is counted.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use manta_proto::{
    ids::{JobId, NodeId, ProcessId, TaskId},
    v1::{
        Resources, TaskEvent, TaskEvents,
        task_event::{State, Type},
    },
};

/// Attempts that are kept; the oldest that have ended go first.
pub(crate) const TASKS_KEPT_MAX: usize = 100_000;
/// Of a task's name.
const NAME_CHARS_MAX: usize = 200;
/// Of a task's error.
const ERROR_CHARS_MAX: usize = 1_100;

/// One attempt of a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskRecord {
    pub id: TaskId,
    pub attempt: u32,
    pub state: State,
    pub name: String,
    pub language: String,
    pub r#type: Type,
    /// The actor that it makes or calls, in hexadecimal digits.
    pub actor: String,
    pub job: Option<JobId>,
    pub owner: Option<ProcessId>,
    pub parent: Option<TaskId>,
    pub node: Option<NodeId>,
    pub node_name: String,
    pub worker: Option<ProcessId>,
    pub worker_pid: u32,
    pub submitted_unix_us: u64,
    pub started_unix_us: Option<u64>,
    pub ended_unix_us: Option<u64>,
    pub error: String,
    pub resources: Resources,
    /// Objects that it waits for.
    pub waits_for: Vec<String>,
    /// So many tasks more are as this one, but for their ids, which count up from its own. They are listed one by one.
    pub more: u8,
}

impl TaskRecord {
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Finished | State::Failed)
    }

    fn count(&self) -> usize {
        1 + usize::from(self.more)
    }
}

/// Where a task runs, in words.
pub(crate) struct Place {
    pub node_name: String,
    pub worker_pid: u32,
}

/// How many tasks there were, all told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub submitted: u64,
    pub finished: u64,
    pub failed: u64,
    /// Attempts that ended and were never in the table.
    pub not_recorded: u64,
    /// Attempts that were in the table and had to make room.
    pub evicted: u64,
}

/// The table.
pub(crate) struct TaskTable {
    records: BTreeMap<u64, TaskRecord>,
    places: HashMap<(TaskId, u32), u64>,
    live: BTreeSet<u64>,
    ended: VecDeque<u64>,
    live_of_owner: HashMap<ProcessId, (JobId, u64)>,
    /// Attempts in all records.
    kept: usize,
    next: u64,
    /// The newest time that an owner has named.
    newest_unix_us: u64,
    kept_max: usize,
    pub totals: Totals,
}

impl TaskTable {
    pub fn new(kept_max: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            places: HashMap::new(),
            live: BTreeSet::new(),
            ended: VecDeque::new(),
            live_of_owner: HashMap::new(),
            kept: 0,
            next: 1,
            newest_unix_us: 0,
            kept_max,
            totals: Totals::default(),
        }
    }

    /// An owner tells of its tasks. `place` puts a node and a worker into words; `job_runs` says whether the job has not ended.
    pub fn on_events(
        &mut self,
        batch: TaskEvents,
        job_runs: bool,
        place: impl Fn(Option<NodeId>, Option<ProcessId>) -> Place,
    ) {
        self.newest_unix_us = self.newest_unix_us.max(batch.sent_unix_us);
        self.totals.submitted += batch.submitted;
        self.totals.finished += batch.finished;
        self.totals.failed += batch.failed;
        self.totals.not_recorded += batch.not_recorded;
        let owner = ProcessId::try_from(&batch.owner_id).ok();
        let job = JobId::try_from(&batch.job_id).ok();
        if let (Some(owner), Some(job)) = (owner, job) {
            if job_runs && batch.live > 0 {
                self.live_of_owner.insert(owner, (job, batch.live));
            } else {
                self.live_of_owner.remove(&owner);
            }
        }
        for event in batch.events {
            let Some(mut record) = record(event, batch.sent_unix_us) else { continue };
            let Place { node_name, worker_pid } = place(record.node, record.worker);
            (record.job, record.owner) = (job, owner);
            (record.node_name, record.worker_pid) = (node_name, worker_pid);
            if !job_runs && !record.has_ended() {
                end(&mut record, JOB_ENDED, batch.sent_unix_us);
            }
            self.put(record);
        }
    }

    fn put(&mut self, mut record: TaskRecord) {
        let key = (record.id, record.attempt);
        let number = match self.places.get(&key) {
            Some(number) => {
                let before = &self.records[number];
                if before.has_ended() && !record.has_ended() {
                    return;
                }
                if record.worker_pid == 0 {
                    record.worker_pid = before.worker_pid;
                }
                *number
            }
            None => {
                self.make_room(record.count());
                self.kept += record.count();
                let number = self.next;
                self.next += record.count() as u64;
                self.places.insert(key, number);
                number
            }
        };
        if !record.has_ended() {
            self.live.insert(number);
        } else if self.live.remove(&number) || !self.records.contains_key(&number) {
            self.ended.push_back(number);
        }
        self.records.insert(number, record);
    }

    fn make_room(&mut self, count: usize) {
        while self.kept > 0 && self.kept + count > self.kept_max {
            let Some(oldest) =
                self.ended.pop_front().or_else(|| self.records.first_key_value().map(|(number, _)| *number))
            else {
                return;
            };
            self.live.remove(&oldest);
            if let Some(record) = self.records.remove(&oldest) {
                self.places.remove(&(record.id, record.attempt));
                self.kept -= record.count();
                self.totals.evicted += record.count() as u64;
            }
        }
    }

    /// A job has ended, and with it what it still had under way.
    pub fn on_job_ended(&mut self, job: JobId) {
        self.live_of_owner.retain(|_, (of, _)| *of != job);
        self.end_live(JOB_ENDED, |record| record.job == Some(job));
    }

    /// A process has ended, and with it the tasks that it owned.
    pub fn on_process_ended(&mut self, process: ProcessId) {
        self.live_of_owner.remove(&process);
        self.end_live(OWNER_ENDED, |record| record.owner == Some(process));
    }

    fn end_live(&mut self, error: &str, is_meant: impl Fn(&TaskRecord) -> bool) {
        let records = &self.records;
        let meant: Vec<u64> =
            self.live.iter().copied().filter(|number| records.get(number).is_some_and(&is_meant)).collect();
        for number in meant {
            self.live.remove(&number);
            self.ended.push_back(number);
            if let Some(record) = self.records.get_mut(&number) {
                end(record, error, self.newest_unix_us);
            }
        }
    }

    /// Calls `each` with all attempts and their numbers, the newest first, older than `before`.
    pub fn newest_first(&self, before: Option<u64>, mut each: impl FnMut(u64, &TaskRecord)) {
        let end = before.unwrap_or(u64::MAX);
        for (number, record) in self.records.range(..end).rev() {
            if record.more == 0 {
                each(*number, record);
                continue;
            }
            let mut one = TaskRecord { more: 0, ..record.clone() };
            let count = end.saturating_sub(*number).min(record.count() as u64);
            for index in (0..count).rev() {
                one.id.0[15] = record.id.0[15].saturating_add(u8::try_from(index).unwrap_or(u8::MAX));
                each(*number + index, &one);
            }
        }
    }

    /// Tasks that have not ended, as their owners count them.
    pub fn live_count(&self) -> u64 {
        self.live_of_owner.values().map(|(_, live)| live).sum()
    }
}

const JOB_ENDED: &str = "its job ended before it did";
const OWNER_ENDED: &str = "the process that had submitted it ended before it did";

fn end(record: &mut TaskRecord, error: &str, at_unix_us: u64) {
    record.state = State::Failed;
    error.clone_into(&mut record.error);
    record.ended_unix_us = Some(at_unix_us);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn record(event: TaskEvent, sent_unix_us: u64) -> Option<TaskRecord> {
    let at = |ago: u64| sent_unix_us.saturating_sub(ago);
    let (state, r#type) = (event.state(), event.r#type());
    Some(TaskRecord {
        id: TaskId::try_from(&event.task_id).ok()?,
        attempt: event.attempt,
        state,
        name: cut(event.name, NAME_CHARS_MAX),
        r#type,
        actor: hex(&event.actor_id),
        language: cut(event.language, NAME_CHARS_MAX),
        job: None,
        owner: None,
        parent: TaskId::try_from(&event.parent_task_id).ok(),
        node: NodeId::try_from(&event.node_id).ok(),
        node_name: String::new(),
        worker: ProcessId::try_from(&event.worker_id).ok(),
        worker_pid: 0,
        submitted_unix_us: at(event.submitted_us_ago),
        started_unix_us: event.started_us_ago.map(at),
        ended_unix_us: event.ended_us_ago.map(at),
        error: cut(event.error, ERROR_CHARS_MAX),
        resources: event.resources.unwrap_or_default(),
        waits_for: event.waits_for.iter().map(|id| hex(id)).collect(),
        // Ids that the last byte cannot count are no series.
        more: event
            .task_id
            .last()
            .map_or(0, |first| u8::try_from(event.more).unwrap_or(0).min(u8::MAX - first)),
    })
}

fn cut(mut text: String, chars_max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
        text.push_str(" [cut]");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(byte: u8, state: State) -> TaskEvent {
        let ended = matches!(state, State::Finished | State::Failed);
        TaskEvent {
            task_id: TaskId([byte; 16]).to_bytes(),
            state: state.into(),
            name: format!("task {byte}"),
            submitted_us_ago: 30,
            ended_us_ago: ended.then_some(10),
            ..TaskEvent::default()
        }
    }

    fn tell(table: &mut TaskTable, job_runs: bool, events: Vec<TaskEvent>) {
        let batch = TaskEvents {
            owner_id: ProcessId([7; 16]).to_bytes(),
            job_id: JobId([8; 16]).to_bytes(),
            sent_unix_us: 1000,
            events,
            ..TaskEvents::default()
        };
        table.on_events(batch, job_runs, |_, _| Place { node_name: "node-1".into(), worker_pid: 4711 });
    }

    fn records(table: &TaskTable) -> Vec<(u64, TaskRecord)> {
        let mut records = Vec::new();
        table.newest_first(None, |number, record| records.push((number, record.clone())));
        records
    }

    fn states(table: &TaskTable) -> Vec<(u8, State)> {
        records(table).into_iter().map(|(_, record)| (record.id.0[0], record.state)).collect()
    }

    #[test]
    fn a_task_has_one_record_an_attempt_and_an_end_is_final() {
        let mut table = TaskTable::new(10);
        tell(&mut table, true, vec![event(1, State::Running), event(2, State::Finished)]);
        tell(
            &mut table,
            true,
            vec![event(1, State::Failed), TaskEvent { attempt: 1, ..event(1, State::Running) }],
        );
        tell(&mut table, true, vec![event(1, State::Running)]);
        assert_eq!(states(&table), [(1, State::Running), (2, State::Finished), (1, State::Failed)]);
        let records = records(&table);
        let (_, last) = records.last().unwrap();
        assert_eq!((last.submitted_unix_us, last.ended_unix_us), (970, Some(990)));
    }

    #[test]
    fn what_ended_first_makes_room_and_is_counted() {
        let mut table = TaskTable::new(2);
        tell(
            &mut table,
            true,
            vec![event(1, State::Running), event(2, State::Finished), event(3, State::Running)],
        );
        assert_eq!(states(&table), [(3, State::Running), (1, State::Running)]);
        // None has ended: the oldest goes, and may come back.
        tell(&mut table, true, vec![event(4, State::Running), event(1, State::Finished)]);
        assert_eq!(states(&table), [(1, State::Finished), (4, State::Running)]);
        assert_eq!(table.totals.evicted, 3);
        assert_eq!(table.places.len(), 2);
        assert_eq!(table.live.len() + table.ended.len(), 2);
    }

    #[test]
    fn tasks_of_a_series_that_ended_together_are_listed_one_by_one() {
        let mut table = TaskTable::new(10);
        tell(
            &mut table,
            true,
            vec![event(1, State::Running), TaskEvent { more: 4, ..event(2, State::Finished) }],
        );
        let ids: Vec<_> = records(&table).iter().map(|(number, record)| (*number, record.id.0[15])).collect();
        assert_eq!(ids, [(6, 6), (5, 5), (4, 4), (3, 3), (2, 2), (1, 1)]);
        let mut rest = Vec::new();
        table.newest_first(Some(4), |number, record| rest.push((number, record.id.0[15])));
        assert_eq!(rest, ids[3..], "a page ends in the middle of them");
        tell(&mut table, true, vec![TaskEvent { more: 5, ..event(8, State::Finished) }]);
        assert_eq!((records(&table).len(), table.totals.evicted), (7, 5), "they go together");
        // More than the last byte of an id can count.
        tell(&mut table, true, vec![TaskEvent { more: 9, ..event(254, State::Finished) }]);
        assert_eq!(records(&table)[0].1.id.0[15], 255);
    }

    #[test]
    fn what_was_under_way_ends_with_its_job_or_its_owner() {
        let mut table = TaskTable::new(10);
        tell(&mut table, true, vec![event(1, State::Running), event(2, State::Finished)]);
        table.on_job_ended(JobId([9; 16]));
        assert_eq!(states(&table), [(2, State::Finished), (1, State::Running)]);
        table.on_job_ended(JobId([8; 16]));
        assert_eq!(states(&table), [(2, State::Finished), (1, State::Failed)]);
        // A late word of a worker of that job.
        tell(&mut table, false, vec![event(3, State::Running)]);
        assert_eq!(records(&table)[0].1.error, JOB_ENDED);
        tell(&mut table, true, vec![event(4, State::Running)]);
        table.on_process_ended(ProcessId([7; 16]));
        assert_eq!(records(&table)[0].1.error, OWNER_ENDED);
        assert_eq!(table.live_count(), 0);
    }
}
