//! The attempts of a task: what ends one, and whether there is another.

use manta_proto::{
    ids::TaskId,
    v1::{Value, task_event},
};

use super::{RETRIES_UNLIMITED, Stage, Task};
use crate::{
    SystemErrorKind,
    reactor::{State, actors::Role, cancel::cancelled, objects::error_value},
};

impl State {
    /// Puts a task in as one that has not been sent in its next attempt.
    pub(super) fn begin_attempt(&mut self, id: TaskId, mut task: Box<Task>) {
        task.attempt += 1;
        task.reported = task_event::State::Nil;
        task.error = Box::default();
        (task.items, task.items_before) = (0, task.all_items());
        self.tasks.insert(id, task);
        self.note_task(id);
    }

    /// Ends an attempt with its failure, and begins the next.
    pub(super) fn run_again(&mut self, id: TaskId, failure: Option<&Value>) {
        if let Some(task) = self.tasks.remove(&id) {
            let lost = || {
                error_value(SystemErrorKind::WorkerDied, "the worker that ran it ended; the task runs again")
            };
            self.record_end(id, &task, Some(failure.unwrap_or(&lost())), &task.error);
            self.begin_attempt(id, task);
        }
        self.on_task_paused(id, false);
        self.enqueue(id, true);
    }

    /// The worker gave a task back without having started it, or its connection ended before it could.
    pub(in crate::reactor) fn requeue(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get(&id).filter(|task| task.cancelled) {
            let error = cancelled(&task.name);
            return self.complete(id, vec![error], true);
        }
        self.enqueue(id, true);
    }

    /// The worker died while it ran the task. `true` if the task will not run again, so that its worker's fate has to be asked for.
    pub(in crate::reactor) fn on_worker_lost(&mut self, id: TaskId) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        if task.may_run_again() {
            self.run_again(id, None);
            return false;
        }
        task.stage = Stage::AwaitingFate;
        true
    }

    /// Ends a task whose worker died.
    pub(in crate::reactor) fn fail_for_fate(&mut self, id: TaskId, kind: SystemErrorKind, fate: &str) {
        let Some(task) = self.tasks.get(&id).filter(|task| task.stage == Stage::AwaitingFate) else { return };
        match task.actor {
            Some(Role::Call(actor, _)) => return self.fail_lost_call(id, actor, fate),
            // Its actor was told already.
            Some(Role::Creation(_)) => return,
            None if task.cancelled => {
                let error = cancelled(&task.name);
                return self.complete(id, vec![error], true);
            }
            None => {}
        }
        let attempts = task.attempt + 1;
        let tried =
            if attempts == 1 { String::new() } else { format!(" It was the last of {attempts} attempts.") };
        let sentence = format!("the worker that ran task '{}' ended: {fate}.{tried}", task.name);
        self.complete(id, vec![error_value(kind, sentence)], true);
    }

    /// The task runs again because its worker was killed to free memory, which counts as no retry.
    pub(in crate::reactor) fn give_retry_back(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id)
            && task.retries_left != RETRIES_UNLIMITED
        {
            task.retries_left += 1;
        }
    }

    /// The worker of a task that had no retry left was killed to free memory.
    pub(in crate::reactor) fn end_out_of_memory(&mut self, id: TaskId, fate: &str) {
        let Some(task) = self.tasks.get(&id).filter(|task| task.stage == Stage::AwaitingFate) else { return };
        match task.actor {
            Some(_) => self.fail_for_fate(id, SystemErrorKind::WorkerDied, fate),
            None if task.cancelled => self.fail_for_fate(id, SystemErrorKind::WorkerDied, fate),
            None if task.retriable => self.run_again(id, None),
            None => {
                let sentence = format!("task '{}' ran out of memory: {fate}.", task.name);
                self.complete(id, vec![error_value(SystemErrorKind::OutOfMemory, sentence)], true);
            }
        }
    }

    /// An actor's creation task has ended well: it is kept apart, with what it needs to run again.
    pub(in crate::reactor) fn retire_creation(&mut self, id: TaskId) -> Option<Box<Task>> {
        let task = self.tasks.remove(&id)?;
        self.record_end(id, &task, None, "");
        Some(task)
    }

    /// Makes an actor anew: its creation task had ended well, or was under way.
    pub(in crate::reactor) fn make_again(&mut self, id: TaskId, made: Option<Box<Task>>) {
        let Some(task) = made else { return self.run_again(id, None) };
        self.begin_attempt(id, task);
        self.enqueue(id, true);
    }

    /// An actor is dead: its creation task will not run again.
    pub(in crate::reactor) fn drop_creation(&mut self, id: TaskId, made: Option<Box<Task>>, error: Value) {
        match made {
            Some(task) => self.unpin_all(task.pinned),
            None => self.complete(id, vec![error], true),
        }
    }
}
