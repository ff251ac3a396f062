//! The tasks that this process has submitted and owns.

use bytes::Bytes;
use manta_proto::{
    ids::{LeaseId, ObjectId, TaskId},
    v1::{TaskArgument, TaskDone, Value, task_argument},
};

use super::{
    ConnId, Effect, State, Watcher,
    ids::ClassId,
    leases::ClassKey,
    objects::{error_value, is_error},
};
use crate::{FunctionId, SystemErrorKind, object_ref::RefAddress};

/// An argument of a task that has at least one ref among its arguments.
pub(crate) enum NewArgument {
    Value(TaskArgument),
    Ref { keyword: String, address: RefAddress },
}

/// A task, encoded as far as its submitter could.
pub(crate) struct Submission {
    pub id: TaskId,
    pub key: ClassKey,
    pub function: Option<FunctionId>,
    pub name: Box<str>,
    /// The encoded part of the `TaskSpec` that is the same for all attempts.
    pub encoded: Bytes,
    /// All arguments in their order when one of them is a ref; else they are in `encoded`.
    pub arguments: Vec<NewArgument>,
    /// Values of large arguments, which live as long as the task.
    pub stored: Vec<(ObjectId, Value)>,
    /// Refs inside argument values.
    pub contained: Vec<ObjectId>,
    pub num_returns: u32,
    pub max_retries: u32,
    pub retry_exceptions: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Arguments are missing.
    Waiting,
    /// No worker has it.
    Queued,
    /// A worker has it.
    Pushed(LeaseId),
    /// Its worker died, and the node is asked why.
    AwaitingFate,
}

pub(super) struct Task {
    class: ClassId,
    function: Option<FunctionId>,
    pub name: Box<str>,
    encoded: Bytes,
    arguments: Vec<NewArgument>,
    pinned: Vec<ObjectId>,
    pub num_returns: u32,
    attempt: u32,
    retries_left: u32,
    retry_exceptions: bool,
    stage: Stage,
    missing: u32,
    failed_argument: Option<Value>,
    pub paused_at_worker: bool,
    pub paused_dependencies: u32,
}

impl State {
    /// Takes a task in; its results exist from now on, with one ref each.
    pub fn on_submit(&mut self, submission: Submission) {
        let Submission {
            id, key, function, name, encoded, arguments, stored, contained, num_returns, ..
        } = submission;
        for index in 0..num_returns {
            self.expect_object(ObjectId::of(id, index));
        }
        for object in contained {
            self.mark_escaped(object);
        }
        let mut pinned: Vec<ObjectId> = Vec::with_capacity(stored.len());
        for (object, value) in &stored {
            self.on_put_argument(*object, value);
            pinned.push(*object);
        }
        let class = self.class(key);
        let dependencies: Vec<RefAddress> = arguments
            .iter()
            .filter_map(|argument| match argument {
                NewArgument::Ref { address, .. } => Some(*address),
                NewArgument::Value(_) => None,
            })
            .collect();
        for address in &dependencies {
            self.pin(*address);
            pinned.push(address.object);
        }
        let task = Task {
            class,
            function,
            name,
            encoded,
            arguments,
            pinned,
            num_returns,
            attempt: 0,
            retries_left: submission.max_retries,
            retry_exceptions: submission.retry_exceptions,
            stage: Stage::Waiting,
            // One more than the arguments, until all are being watched.
            missing: 1 + u32::try_from(dependencies.len()).unwrap_or(u32::MAX - 1),
            failed_argument: None,
            paused_at_worker: false,
            paused_dependencies: 0,
        };
        self.tasks.insert(id, task);
        for address in dependencies {
            if self.objects.get(&address.object).is_some_and(|object| object.paused) {
                self.change_dependency_pause(id, true);
            }
            self.add_watcher(address.object, Watcher::Dependent(id));
        }
        self.on_dependency(id, None);
    }

    /// One of the things that the task waits for is there, or has failed.
    pub(super) fn on_dependency(&mut self, id: TaskId, failed: Option<Value>) {
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

    fn enqueue(&mut self, id: TaskId, first: bool) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.stage = Stage::Queued;
        let class = task.class;
        let queue = &mut self.classes[class.0].queue;
        if first {
            queue.push_front(id);
        } else {
            queue.push_back(id);
        }
        self.mark_dirty(class);
    }

    /// Sends a queued task to the worker of a lease.
    pub(super) fn push_task(&mut self, id: TaskId, lease: LeaseId, conn: ConnId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.stage = Stage::Pushed(lease);
        let (encoded, attempt, function) = (task.encoded.clone(), task.attempt, task.function);
        let arguments = self.resolve_arguments(id);
        if let Some(function) = function {
            self.send_function(conn, function);
        }
        self.effects.push(Effect::Push { conn, id, task: encoded, lease, attempt, arguments });
    }

    /// The arguments with the values of refs, all of which are known by now.
    fn resolve_arguments(&self, id: TaskId) -> Vec<TaskArgument> {
        let Some(task) = self.tasks.get(&id) else { return Vec::new() };
        let resolve = |argument: &NewArgument| match argument {
            NewArgument::Value(argument) => argument.clone(),
            NewArgument::Ref { keyword, address } => {
                let value = self.value(address.object).unwrap_or_else(|| {
                    error_value(
                        SystemErrorKind::Internal,
                        format!("object {} vanished while a task needed it", address.object),
                    )
                });
                TaskArgument { keyword: keyword.clone(), value: Some(task_argument::Value::Inline(value)) }
            }
        };
        task.arguments.iter().map(resolve).collect()
    }

    /// A worker has finished a task.
    pub(super) fn on_done(&mut self, done: TaskDone) {
        let Ok(id) = TaskId::try_from(&done.task_id) else { return };
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Stage::Pushed(lease) = task.stage else { return };
        if task.attempt != done.attempt {
            return;
        }
        self.on_lease_done(lease, id, done.run_us);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if done.failed && task.retry_exceptions && task.retries_left > 0 {
            task.retries_left -= 1;
            return self.run_again(id);
        }
        self.complete(id, done.results, done.failed);
    }

    fn run_again(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.attempt += 1;
        }
        self.on_task_paused(id, false);
        self.enqueue(id, true);
    }

    /// The worker gave a task back without having started it, or its connection ended before it could.
    pub(super) fn requeue(&mut self, id: TaskId) {
        self.enqueue(id, true);
    }

    /// The worker died while it ran the task. `true` if the task will not run again, so that its worker's fate has to be asked for.
    pub(super) fn on_worker_lost(&mut self, id: TaskId) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        if task.retries_left > 0 {
            task.retries_left -= 1;
            self.run_again(id);
            return false;
        }
        task.stage = Stage::AwaitingFate;
        true
    }

    /// Ends a task whose worker died.
    pub(super) fn fail_for_fate(&mut self, id: TaskId, fate: &str) {
        let Some(task) = self.tasks.get(&id).filter(|task| task.stage == Stage::AwaitingFate) else { return };
        let attempts = task.attempt + 1;
        let tried =
            if attempts == 1 { String::new() } else { format!(" It was the last of {attempts} attempts.") };
        let sentence = format!("the worker that ran task '{}' ended: {fate}.{tried}", task.name);
        self.complete(id, vec![error_value(SystemErrorKind::WorkerDied, sentence)], true);
    }

    /// Ends a task that was never sent.
    pub(super) fn fail_queued(&mut self, id: TaskId, kind: SystemErrorKind, sentence: &str) {
        let Some(task) = self.tasks.get(&id) else { return };
        let sentence = format!("task '{}' cannot run: {sentence}", task.name);
        self.complete(id, vec![error_value(kind, sentence)], true);
    }

    /// Whether the task is with the worker of this lease.
    pub(super) fn is_pushed_to(&self, id: TaskId, lease: LeaseId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.stage == Stage::Pushed(lease))
    }

    /// The lease whose worker has the task.
    pub(super) fn lease_of(&self, id: TaskId) -> Option<LeaseId> {
        match self.tasks.get(&id)?.stage {
            Stage::Pushed(lease) => Some(lease),
            _ => None,
        }
    }

    /// The task's name, for messages and lease requests.
    pub(super) fn task_name(&self, id: TaskId) -> String {
        self.tasks.get(&id).map(|task| task.name.to_string()).unwrap_or_default()
    }

    /// Gives a task's results to all who wait for them, and forgets the task. Tasks that fail with it follow one by one, not by
    /// recursion: such a chain may be long.
    fn complete(&mut self, id: TaskId, results: Vec<Value>, failed: bool) {
        self.completions.push_back((id, results, failed));
        if self.completions.len() > 1 {
            return;
        }
        while let Some((id, results, failed)) = self.completions.front_mut() {
            let (id, results, failed) = (*id, std::mem::take(results), *failed);
            self.complete_one(id, results, failed);
            self.completions.pop_front();
        }
    }

    fn complete_one(&mut self, id: TaskId, results: Vec<Value>, failed: bool) {
        self.on_task_paused(id, false);
        let Some(task) = self.tasks.remove(&id) else { return };
        let expected = task.num_returns as usize;
        if failed {
            let error = results.into_iter().next().filter(is_error).unwrap_or_else(|| {
                error_value(
                    SystemErrorKind::Internal,
                    format!("task '{}' failed, and its worker sent no reason", task.name),
                )
            });
            for index in 0..task.num_returns {
                self.set_value(ObjectId::of(id, index), error.clone());
            }
        } else if results.len() == expected {
            for (index, value) in (0..).zip(results) {
                self.set_value(ObjectId::of(id, index), value);
            }
        } else {
            let sentence = format!(
                "task '{}' was to return {expected} values, and its worker sent {}",
                task.name,
                results.len()
            );
            for index in 0..task.num_returns {
                self.set_value(
                    ObjectId::of(id, index),
                    error_value(SystemErrorKind::Internal, sentence.clone()),
                );
            }
        }
        for object in task.pinned {
            self.unpin(object);
        }
    }
}
