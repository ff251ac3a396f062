//! The arguments of tasks that are refs: they are awaited before a task is sent, and again when they are lost meanwhile.

use bytes::Bytes;
use manta_proto::{
    ids::{ObjectId, TaskId},
    v1::{TaskArgument, TaskDone, Value, task_argument, task_event},
};

use super::{NewArgument, Stage, Task};
use crate::{
    SystemErrorKind,
    object_ref::RefAddress,
    reactor::{
        State, Watcher,
        actors::Role,
        objects::{error_value, is_error},
    },
};

/// So often a task is sent anew because its worker did not find an argument.
pub(in crate::reactor) const ARGUMENTS_LOST_MAX: u32 = 16;
/// Missing arguments that the cluster is told of.
const WAITS_SHOWN_MAX: usize = 8;

impl Task {
    /// The objects among its arguments.
    pub fn refs(&self) -> impl Iterator<Item = RefAddress> {
        self.arguments.iter().filter_map(|argument| match argument {
            NewArgument::Ref { address, .. } => Some(*address),
            NewArgument::Value(_) => None,
        })
    }

    /// One more than the arguments that are refs, until all are being watched.
    pub(super) fn all_missing(&self) -> u32 {
        1 + u32::try_from(self.refs().count()).unwrap_or(u32::MAX - 1)
    }
}

impl State {
    /// Awaits what a task needs, of which nothing is being watched yet.
    pub(super) fn await_arguments(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.stage = Stage::Waiting;
        (task.started, task.place, task.failed_argument) = (None, None, None);
        task.missing = task.all_missing();
        for address in task.refs().collect::<Vec<_>>() {
            if self.objects.get(&address.object).is_some_and(|object| object.paused) {
                self.change_dependency_pause(id, true);
            }
            self.add_watcher(address.object, Watcher::Dependent(id));
        }
        self.on_dependency(id, None);
    }

    /// One of the things that the task waits for is there, or has failed.
    pub(in crate::reactor) fn on_dependency(&mut self, id: TaskId, failed: Option<Value>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.missing -= 1;
        if task.failed_argument.is_none() {
            task.failed_argument = failed;
        }
        if task.missing > 0 {
            return;
        }
        match task.failed_argument.take() {
            Some(error) => self.complete(id, vec![error], true),
            None => self.enqueue(id, false),
        }
    }

    /// Whether a task that had its arguments can still be sent with them. Else it awaits them once more: one was lost, and is made again
    /// or has failed.
    pub(in crate::reactor) fn has_arguments(&mut self, id: TaskId) -> bool {
        let Some(task) = self.tasks.get(&id) else { return false };
        let is_there = |address: RefAddress| {
            let value = self.objects.get(&address.object).and_then(|object| object.value.as_ref());
            value.is_some_and(|value| !is_error(value))
        };
        if task.refs().all(is_there) {
            return true;
        }
        if task.reported != task_event::State::Nil {
            self.note_task(id);
        }
        self.await_arguments(id);
        false
    }

    /// The arguments with the values of refs, all of which are known by now.
    pub(super) fn resolve_arguments(&self, id: TaskId) -> Vec<TaskArgument> {
        let Some(task) = self.tasks.get(&id) else { return Vec::new() };
        let resolve = |argument: &NewArgument| match argument {
            NewArgument::Value(argument) => argument.clone(),
            NewArgument::Ref { keyword, address } => {
                let value = self.value(address.object).map_or_else(
                    || {
                        let sentence = format!("object {} vanished while a task needed it", address.object);
                        error_value(SystemErrorKind::Internal, sentence)
                    },
                    |value| Value::clone(&value),
                );
                TaskArgument { keyword: keyword.clone(), value: Some(task_argument::Value::Inline(value)) }
            }
        };
        task.arguments.iter().map(resolve).collect()
    }

    /// A task that had ended runs once more, because what it made is lost. It has taken one of its retries for that.
    pub(in crate::reactor) fn run_kept_again(&mut self, id: TaskId, mut task: Box<Task>) {
        for address in task.refs().collect::<Vec<_>>() {
            self.pin(address);
            task.pinned.push(address.object);
        }
        task.made_again = true;
        self.begin_attempt(id, task);
        self.await_arguments(id);
    }

    /// A worker did not find stored arguments of the task, which has not started: they are made again, and it waits for them. `false`
    /// if the worker said nothing of the kind, or the task is to fail for it.
    pub(super) fn await_lost_arguments(&mut self, id: TaskId, done: &TaskDone) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        // An actor's worker asks for the arguments of calls itself.
        let is_call = matches!(task.actor, Some(Role::Call(..)));
        let is_over = task.cancelled || task.arguments_lost >= ARGUMENTS_LOST_MAX;
        if done.lost_arguments.is_empty() || is_call || is_over {
            return false;
        }
        task.arguments_lost += 1;
        if let Some(Role::Creation(actor)) = task.actor {
            self.give_worker_back(actor);
        }
        let said = done.results.first().and_then(crate::convert::system_error_of);
        for object in done.lost_arguments.iter().filter_map(|id| ObjectId::try_from(id).ok()) {
            let sentence =
                said.as_ref().map_or_else(|| format!("object {object} is lost"), |said| said.message.clone());
            self.on_value_lost(object, &done.lost_on, &sentence);
        }
        self.on_task_paused(id, false);
        if let Some(task) = self.tasks.remove(&id) {
            self.begin_attempt(id, task);
        }
        self.await_arguments(id);
        true
    }

    /// Objects that a task waits for, as far as they are not there.
    pub(in crate::reactor) fn waits_for(&self, task: &Task) -> Vec<Bytes> {
        if task.stage != Stage::Waiting {
            return Vec::new();
        }
        let missing =
            task.refs().map(|address| address.object).filter(|object| self.value(*object).is_none());
        missing.take(WAITS_SHOWN_MAX).map(|object| object.to_bytes()).collect()
    }
}
