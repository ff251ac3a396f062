//! Lineage: tasks that have ended and whose stored results can be made again, because they can run again.
//!
//! A task is kept as long as one of its stored results is, or another kept task has one among its arguments. Small arguments stay with it,
//! and large ones that were given as values. Those that were given as refs and are in the store do not: they are made again in their turn,
//! when that is possible. A call of an actor is made again by that actor, if it is still there.

use std::collections::VecDeque;

use bytes::Bytes;
use manta_proto::{
    ids::{ObjectId, TaskId},
    v1::Value,
};

use super::{FastMap, State, actors::Role, objects::error_value, tasks::Task};
use crate::SystemErrorKind;

/// Bytes of kept tasks; above, the older half is forgotten.
const BYTES_MAX: usize = 256 * 1024 * 1024;
/// What a task takes beside its arguments, roughly.
const TASK_BYTES: usize = 512;

struct Kept {
    task: Box<Task>,
    bytes: usize,
    /// Its stored results that are still known.
    results: u32,
    /// Kept tasks that have results of it among their arguments.
    dependents: u32,
}

#[derive(Default)]
pub(super) struct Lineage {
    kept: FastMap<TaskId, Kept>,
    /// By their age. Holds some that are gone.
    order: VecDeque<TaskId>,
    bytes: usize,
    has_evicted: bool,
}

#[cfg(test)]
impl Lineage {
    pub fn len(&self) -> usize {
        self.kept.len()
    }
}

impl State {
    /// The name of a task that has ended, where it is kept.
    pub(super) fn kept_name(&self, id: TaskId) -> String {
        self.lineage.kept.get(&id).map(|kept| kept.task.name.to_string()).unwrap_or_default()
    }

    /// A task has ended well: it is kept if it has stored results, and lets go of what it had pinned.
    pub(super) fn keep_lineage(&mut self, id: TaskId, mut task: Box<Task>) {
        let pinned = task.take_pinned();
        let objects = task.num_returns.max(1 + task.all_items());
        let results = (0..objects).filter(|index| self.is_stored(ObjectId::of(id, *index))).count();
        if results == 0 || matches!(task.role(), Some(Role::Creation(_))) {
            return self.unpin_all(pinned);
        }
        let (kept, freed): (Vec<_>, Vec<_>) =
            pinned.into_iter().partition(|object| task.owns(*object) || self.is_small_own(*object));
        let bytes = TASK_BYTES
            + task.encoded_bytes()
            + kept.iter().map(|object| self.value_bytes(*object)).sum::<usize>();
        task.set_pinned(kept);
        for producer in self.producers(&task) {
            if let Some(producer) = self.lineage.kept.get_mut(&producer) {
                producer.dependents += 1;
            }
        }
        self.unpin_all(freed);
        let results = u32::try_from(results).unwrap_or(u32::MAX);
        self.lineage.bytes += bytes;
        self.lineage.kept.insert(id, Kept { task, bytes, results, dependents: 0 });
        self.lineage.order.push_back(id);
        if self.lineage.bytes > BYTES_MAX {
            self.evict_older_half();
        }
    }

    fn evict_older_half(&mut self) {
        self.lineage.has_evicted = true;
        while self.lineage.bytes > BYTES_MAX / 2 {
            let Some(oldest) = self.lineage.order.pop_front() else { return };
            self.forget_kept(oldest);
        }
    }

    /// The tasks that made stored arguments of a task.
    fn producers(&self, task: &Task) -> Vec<TaskId> {
        let own = task.refs().filter(|address| address.owner == self.me.process);
        own.map(|address| address.object.task()).collect()
    }

    fn is_stored(&self, id: ObjectId) -> bool {
        self.objects
            .get(&id)
            .and_then(|object| object.value.as_ref())
            .is_some_and(|value| value.in_store.is_some())
    }

    fn is_small_own(&self, id: ObjectId) -> bool {
        let object = self.objects.get(&id).filter(|object| !object.is_foreign());
        object.and_then(|object| object.value.as_ref()).is_some_and(|value| value.in_store.is_none())
    }

    fn value_bytes(&self, id: ObjectId) -> usize {
        let Some(value) = self.objects.get(&id).and_then(|object| object.value.as_ref()) else { return 0 };
        let stored = value.in_store.as_ref().map_or(0, |location| location.size);
        value.data.len().saturating_add(usize::try_from(stored).unwrap_or(usize::MAX))
    }

    /// An object of ours is no longer known: its task may not be needed any more.
    pub(super) fn on_result_forgotten(&mut self, id: ObjectId) {
        if let Some(kept) = self.lineage.kept.get_mut(&id.task()) {
            kept.results = kept.results.saturating_sub(1);
            if kept.results == 0 && kept.dependents == 0 {
                self.forget_kept(id.task());
            }
        }
    }

    /// Forgets a kept task, and those that were kept for it alone.
    fn forget_kept(&mut self, id: TaskId) {
        let mut ids = vec![id];
        while let Some(id) = ids.pop() {
            let Some(mut kept) = self.lineage.kept.remove(&id) else { continue };
            self.lineage.bytes -= kept.bytes;
            for producer in self.producers(&kept.task) {
                if let Some(other) = self.lineage.kept.get_mut(&producer) {
                    other.dependents = other.dependents.saturating_sub(1);
                    if other.results == 0 && other.dependents == 0 {
                        ids.push(producer);
                    }
                }
            }
            // What is freed by it comes back here on its own.
            let pinned = kept.task.take_pinned();
            self.unpin_all(pinned);
        }
        let order = &mut self.lineage.order;
        if order.len() > 2 * self.lineage.kept.len() + 64 {
            let kept = &self.lineage.kept;
            order.retain(|id| kept.contains_key(id));
        }
    }

    /// A stored value was not found on these nodes. If it is on no other, it is made again, or an error says why it is not; whoever
    /// looked may have been told of an older copy. `false` if it is elsewhere.
    pub fn on_value_lost(&mut self, id: ObjectId, lost_on: &[Bytes], sentence: &str) -> bool {
        let Some(object) = self.objects.get_mut(&id) else { return true };
        let Some(location) = object.value.as_ref().and_then(|value| value.in_store.clone()) else {
            return true;
        };
        if location.node_ids.iter().any(|node| !lost_on.contains(node)) {
            return false;
        }
        if object.is_foreign() {
            object.value = None;
            object.here = false;
            self.ask_owner_again(id, location.node_ids);
            return true;
        }
        self.make_again_or_fail(id, sentence);
        true
    }

    /// Has a lost value of ours made again, or replaced with an error that says why it is not.
    pub(super) fn make_again_or_fail(&mut self, id: ObjectId, sentence: &str) {
        match self.rebuild(id) {
            Ok(()) => self.forget_value(id),
            Err(error) => {
                let value = error.value(sentence);
                self.on_result_forgotten(id);
                self.set_value(id, value);
            }
        }
    }

    /// Runs the task again that makes an object, and those that make its arguments, as far as they are gone.
    fn rebuild(&mut self, id: ObjectId) -> Result<(), Unrebuildable> {
        if let Some(task) = self.tasks.get(&id.task()) {
            let given = id.index().checked_sub(1).is_some_and(|index| self.has_given_item(id.task(), index));
            return if given { Err(Unrebuildable::StillRuns(task.name.to_string())) } else { Ok(()) };
        }
        self.may_rebuild(id)?;
        let mut todo = vec![id.task()];
        while let Some(id) = todo.pop() {
            let Some(Kept { task, bytes, .. }) = self.lineage.kept.remove(&id) else { continue };
            self.lineage.bytes -= bytes;
            for address in task.refs() {
                let (argument, producer) = (address.object, address.object.task());
                let is_own = address.owner == self.me.process;
                if is_own && let Some(kept) = self.lineage.kept.get_mut(&producer) {
                    kept.dependents = kept.dependents.saturating_sub(1);
                }
                if self.objects.contains_key(&argument) || self.tasks.contains_key(&producer) {
                    continue;
                }
                let outcome = if is_own { self.may_rebuild(argument) } else { Err(Unrebuildable::Foreign) };
                match outcome {
                    Ok(()) => {
                        self.expect_unreferenced(argument);
                        todo.push(producer);
                    }
                    Err(error) => {
                        let value = error.value(&format!(
                            "object {argument}, an argument of the task that runs again, is gone"
                        ));
                        self.expect_failed(address, value);
                    }
                }
            }
            self.run_kept_again(id, task);
        }
        Ok(())
    }

    fn may_rebuild(&mut self, id: ObjectId) -> Result<(), Unrebuildable> {
        let Some(kept) = self.lineage.kept.get(&id.task()) else {
            return Err(match self.lineage.has_evicted {
                _ if id.is_put() => Unrebuildable::Put,
                true => Unrebuildable::Evicted,
                false => Unrebuildable::NoTask,
            });
        };
        let (name, role) = (kept.task.name.to_string(), kept.task.role());
        if let Some(Role::Call(actor, _)) = role
            && !self.can_be_called(actor)
        {
            return Err(Unrebuildable::ActorGone(name));
        }
        let Some(kept) = self.lineage.kept.get_mut(&id.task()) else { return Err(Unrebuildable::NoTask) };
        if kept.task.may_run_again() {
            return Ok(());
        }
        Err(match kept.task.attempt {
            0 if role.is_some() => Unrebuildable::CallDisabled(name),
            0 => Unrebuildable::Disabled(name),
            attempt => Unrebuildable::UsedUp(name, attempt + 1),
        })
    }
}

/// Why a lost value is not made again.
enum Unrebuildable {
    Put,
    NoTask,
    Foreign,
    Disabled(String),
    CallDisabled(String),
    StillRuns(String),
    ActorGone(String),
    UsedUp(String, u32),
    Evicted,
}

impl Unrebuildable {
    fn value(self, sentence: &str) -> Value {
        let (kind, why) = match self {
            Self::Put => (
                SystemErrorKind::ReconstructionFailed,
                "It was made by put(), and only results of tasks are made again".to_owned(),
            ),
            Self::NoTask => (
                SystemErrorKind::ReconstructionFailed,
                "It is not made again, because its task is no longer known".to_owned(),
            ),
            Self::Foreign => (
                SystemErrorKind::ReconstructionFailed,
                "It belongs to another process, and this one had let go of it".to_owned(),
            ),
            Self::Disabled(name) => (
                SystemErrorKind::ReconstructionFailed,
                format!("It is not made again, because the task '{name}' has max_retries=0"),
            ),
            Self::CallDisabled(name) => (
                SystemErrorKind::ReconstructionFailed,
                format!("It is not made again, because the call '{name}' has max_task_retries=0"),
            ),
            Self::StillRuns(name) => (
                SystemErrorKind::ReconstructionFailed,
                format!("It is not made again, because the generator '{name}' has given it and still runs"),
            ),
            Self::ActorGone(name) => (
                SystemErrorKind::ReconstructionFailed,
                format!("It is not made again, because the actor of the call '{name}' is gone"),
            ),
            Self::UsedUp(name, attempts) => (
                SystemErrorKind::ReconstructionAttempts,
                format!(
                    "It is not made again, because the task '{name}' ran {attempts} times, which are all that its max_retries allows"
                ),
            ),
            Self::Evicted => (
                SystemErrorKind::ReconstructionEvicted,
                format!(
                    "It is not made again, because its task was forgotten: no more than {BYTES_MAX} bytes of tasks are kept"
                ),
            ),
        };
        let sentence = sentence.trim_end_matches('.');
        error_value(kind, format!("{sentence}. {why}"))
    }
}
