//! The tasks that this process has submitted and owns.

mod arguments;
mod attempts;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_proto::{
    ids::{LeaseId, ObjectId, TaskId},
    v1::{TaskArgument, TaskDone, Value, task_argument, task_event},
};

use super::{
    ConnId, Effect, State,
    actors::Role,
    cancel::cancelled,
    events::Place,
    ids::ClassId,
    leases::ClassKey,
    objects::{error_value, is_error},
    series::SeriesTemplate,
};
pub(super) use arguments::ARGUMENTS_LOST_MAX;

use crate::{FunctionId, SystemErrorKind, object_ref::RefAddress};

/// A number of retries that stands for no limit.
const RETRIES_UNLIMITED: u32 = u32::MAX;

/// An argument of a task that has at least one ref among its arguments.
pub(crate) enum NewArgument {
    Value(TaskArgument),
    Ref { keyword: String, address: RefAddress },
}

/// What a submission shares leases by.
pub(crate) enum ClassOf {
    Known(ClassId),
    New(ClassKey),
}

/// The part of a `TaskSpec` that is the same for all attempts, but for the ids of the task and of its parent.
#[derive(Clone, Debug, Default)]
pub(crate) struct EncodedTask {
    /// What all submissions of the function share.
    pub shared: Bytes,
    /// The arguments, unless one of them is a ref.
    pub arguments: Bytes,
    /// The task that submitted it.
    pub parent: Option<TaskId>,
}

/// A task, encoded as far as its submitter could.
pub(crate) struct Submission {
    pub id: TaskId,
    pub class: ClassOf,
    pub function: Option<FunctionId>,
    pub name: Arc<str>,
    pub encoded: EncodedTask,
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
    /// What it is to an actor, which then runs it in place of a lease of its class.
    actor: Option<Role>,
    function: Option<FunctionId>,
    pub name: Arc<str>,
    encoded: EncodedTask,
    arguments: Vec<NewArgument>,
    pinned: Vec<ObjectId>,
    pub num_returns: u32,
    pub attempt: u32,
    retries_left: u32,
    /// It may run more than once at all.
    retriable: bool,
    retry_exceptions: bool,
    stage: Stage,
    missing: u32,
    failed_argument: Option<Value>,
    pub paused_at_worker: bool,
    pub paused_dependencies: u32,
    pub submitted: Instant,
    /// As far as this process knows: exactly once the task is done.
    pub started: Option<Instant>,
    pub place: Option<Place>,
    /// The state in which the cluster knows this attempt.
    pub reported: task_event::State,
    error: Box<str>,
    /// Nobody wants it any more: it runs no further attempt.
    cancelled: bool,
    /// Values of large arguments.
    stored: Box<[ObjectId]>,
    /// How often its worker did not find an argument.
    arguments_lost: u32,
    /// It had ended, and runs again because its result is lost.
    made_again: bool,
    /// Of a streaming task: the values that this attempt has given, and the most that one before has.
    items: u32,
    items_before: u32,
}

impl Task {
    /// A task that has left its series; `sent` says to which lease's worker it was sent, and where that is.
    pub fn of_series(
        template: &SeriesTemplate,
        encoded: EncodedTask,
        submitted: Instant,
        sent: Option<(LeaseId, Place)>,
    ) -> Self {
        Self {
            class: template.class,
            actor: None,
            function: template.function,
            name: Arc::clone(&template.name),
            encoded,
            arguments: Vec::new(),
            pinned: Vec::new(),
            num_returns: 1,
            attempt: 0,
            retries_left: template.max_retries,
            retriable: template.max_retries > 0,
            retry_exceptions: template.retry_exceptions,
            stage: sent.map_or(Stage::Queued, |(lease, _)| Stage::Pushed(lease)),
            missing: 0,
            failed_argument: None,
            paused_at_worker: false,
            paused_dependencies: 0,
            submitted,
            started: None,
            place: sent.map(|(_, place)| place),
            reported: task_event::State::Nil,
            error: Box::default(),
            cancelled: false,
            stored: Box::default(),
            arguments_lost: 0,
            made_again: false,
            items: 0,
            items_before: 0,
        }
    }

    /// The task that submitted it.
    pub fn parent(&self) -> Option<TaskId> {
        self.encoded.parent
    }

    /// Takes one of the retries, if there is one left.
    pub fn may_run_again(&mut self) -> bool {
        let may = self.retries_left > 0 && !self.cancelled;
        if may && self.retries_left != RETRIES_UNLIMITED {
            self.retries_left -= 1;
        }
        may
    }

    /// Whether it calls an actor.
    pub fn is_call(&self) -> bool {
        matches!(self.actor, Some(Role::Call(..)))
    }

    /// What it keeps alive.
    pub fn take_pinned(&mut self) -> Vec<ObjectId> {
        std::mem::take(&mut self.pinned)
    }

    pub fn set_pinned(&mut self, pinned: Vec<ObjectId>) {
        self.pinned = pinned;
    }

    pub fn encoded_bytes(&self) -> usize {
        self.encoded.shared.len() + self.encoded.arguments.len()
    }

    /// Values of a streaming task that there are, or have been.
    pub fn all_items(&self) -> u32 {
        self.items.max(self.items_before)
    }

    /// What it is to an actor.
    pub fn role(&self) -> Option<Role> {
        self.actor
    }

    /// Whether it is this task's alone: the value of a large argument.
    pub fn owns(&self, object: ObjectId) -> bool {
        self.stored.contains(&object)
    }

    /// The state of a task that has not ended.
    pub fn event_state(&self) -> task_event::State {
        match self.stage {
            Stage::Waiting => task_event::State::PendingArgsAvail,
            Stage::Queued => task_event::State::PendingNodeAssignment,
            Stage::Pushed(_) if self.paused_at_worker => task_event::State::Paused,
            Stage::Pushed(_) if self.started.is_some() => task_event::State::Running,
            Stage::Pushed(_) => task_event::State::SubmittedToWorker,
            Stage::AwaitingFate => task_event::State::Running,
        }
    }
}

impl State {
    /// Takes a task in; its results exist from now on, with one ref each.
    pub fn on_submit(&mut self, submission: Submission) {
        self.take_in(submission, None);
    }

    pub(super) fn on_submit_for_actor(&mut self, submission: Submission, role: Role) {
        self.take_in(submission, Some(role));
    }

    fn take_in(&mut self, submission: Submission, actor: Option<Role>) {
        let Submission {
            id, class, function, name, encoded, arguments, stored, contained, num_returns, ..
        } = submission;
        for index in 0..num_returns {
            self.expect_object(ObjectId::of(id, index));
        }
        let mut pinned: Vec<ObjectId> = Vec::with_capacity(stored.len() + contained.len());
        for object in contained {
            if self.pin_known(object) {
                pinned.push(object);
            }
        }
        for (object, value) in &stored {
            self.on_put_argument(*object, value);
            pinned.push(*object);
        }
        let class = match class {
            ClassOf::Known(class) => class,
            ClassOf::New(key) => self.class(key),
        };
        let mut task = Task {
            class,
            actor,
            function,
            name,
            encoded,
            arguments,
            pinned,
            num_returns,
            attempt: 0,
            retries_left: submission.max_retries,
            retriable: submission.max_retries > 0,
            retry_exceptions: submission.retry_exceptions,
            stage: Stage::Waiting,
            missing: 0,
            failed_argument: None,
            paused_at_worker: false,
            paused_dependencies: 0,
            submitted: self.now,
            started: None,
            place: None,
            reported: task_event::State::Nil,
            error: Box::default(),
            cancelled: false,
            stored: stored.iter().map(|(object, _)| *object).collect(),
            arguments_lost: 0,
            made_again: false,
            items: 0,
            items_before: 0,
        };
        for address in task.refs().collect::<Vec<_>>() {
            self.pin(address);
            task.pinned.push(address.object);
        }
        self.tasks.insert(id, Box::new(task));
        self.note_submitted(id);
        self.await_arguments(id);
    }

    fn enqueue(&mut self, id: TaskId, first: bool) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.stage = Stage::Queued;
        (task.started, task.place) = (None, None);
        let (class, reported) = (task.class, task.reported);
        if let Some(role) = task.actor {
            return self.enqueue_for_actor(id, role);
        }
        let queue = &mut self.classes[class.0].queue;
        if first {
            queue.push_front(id);
        } else {
            queue.push_back(id);
        }
        if reported != task_event::State::Nil {
            self.note_task(id);
        }
        self.mark_dirty(class);
    }

    /// Sends a queued task to the worker of a lease.
    pub(super) fn push_task(&mut self, id: TaskId, lease: LeaseId, conn: ConnId, place: Place) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.stage = Stage::Pushed(lease);
        task.place = Some(place);
        let (encoded, attempt, function) = (task.encoded.clone(), task.attempt, task.function);
        // A call had its turn among its caller's, and may be what one of them waits for.
        let made_again = task.made_again && task.is_call();
        let arguments = self.resolve_arguments(id);
        for argument in &arguments {
            if let Some(task_argument::Value::Inline(Value { in_store: Some(location), .. })) =
                &argument.value
                && let Ok(object) = ObjectId::try_from(&location.object_id)
            {
                self.show(object);
            }
        }
        if let Some(function) = function {
            self.send_function(conn, function);
        }
        self.effects.push(Effect::Push { conn, id, task: encoded, lease, attempt, made_again, arguments });
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
        if done.retiring {
            self.on_worker_retires(lease);
        }
        if self.await_lost_arguments(id, &done) {
            return;
        }
        let now = self.now;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.started = now.checked_sub(Duration::from_micros(done.run_us));
        task.error = done.error.into();
        if done.failed && task.retry_exceptions && !done.r#final && task.may_run_again() {
            return self.run_again(id, done.results.first());
        }
        if done.failed && done.retiring && task.cancelled {
            let error = cancelled(&task.name);
            return self.complete(id, vec![error], true);
        }
        if let (Some(Role::Creation(actor)), false) = (task.actor, done.failed) {
            return self.on_actor_made(actor);
        }
        self.complete(id, done.results, done.failed);
    }

    /// Ends a task that was never sent.
    pub(super) fn fail_queued(&mut self, id: TaskId, kind: SystemErrorKind, sentence: &str) {
        let Some(task) = self.tasks.get(&id) else { return };
        // The node's sentence may name the task itself.
        let own = sentence.strip_prefix(&format!("task '{}' ", task.name)).map(|rest| format!("it {rest}"));
        let sentence = format!("task '{}' cannot run: {}", task.name, own.as_deref().unwrap_or(sentence));
        self.complete(id, vec![error_value(kind, sentence)], true);
    }

    /// Ends a call of an actor that will not answer.
    pub(super) fn fail_call(&mut self, id: TaskId, error: Value) {
        self.complete(id, vec![error], true);
    }

    /// Marks a task as cancelled, and ends it when no worker has it. `true` if a worker has it, and so has to be told.
    pub(super) fn begin_cancel(&mut self, id: TaskId) -> bool {
        self.unfold(id);
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        // An actor is ended by kill().
        if matches!(task.actor, Some(Role::Creation(_))) {
            return false;
        }
        task.cancelled = true;
        match task.stage {
            Stage::Pushed(_) => true,
            Stage::AwaitingFate => false,
            Stage::Waiting | Stage::Queued => {
                let (error, class) = (cancelled(&task.name), task.class);
                self.complete(id, vec![error], true);
                self.mark_dirty(class);
                false
            }
        }
    }

    /// The connection to the worker that has the task.
    pub(super) fn conn_of_task(&self, id: TaskId) -> Option<ConnId> {
        match (self.tasks.get(&id)?.actor, self.lease_of(id)?) {
            (Some(Role::Call(actor, _) | Role::Creation(actor)), _) => self.conn_of_actor(actor),
            (None, lease) => self.leases.get(&lease).map(|lease| lease.conn),
        }
    }

    /// Whether a worker has this attempt of the task.
    pub(super) fn is_attempt(&self, id: TaskId, attempt: u32) -> bool {
        self.tasks
            .get(&id)
            .is_some_and(|task| task.attempt == attempt && matches!(task.stage, Stage::Pushed(_)))
    }

    /// A streaming task has given the value at this place.
    pub(super) fn note_item(&mut self, id: TaskId, index: u32) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.items = task.items.max(index + 1);
        }
    }

    /// Whether the attempt that is under way has given the value at this place already.
    pub(super) fn has_given_item(&self, id: TaskId, index: u32) -> bool {
        self.tasks.get(&id).is_some_and(|task| index < task.items)
    }

    /// Whether the task has its arguments and no worker has it.
    pub(super) fn is_queued(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.stage == Stage::Queued)
    }

    /// Whether the task may be sent more than once.
    pub(super) fn is_tried_again(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.retries_left > 0 || task.attempt > 0)
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

    /// What the task shares with others of its class.
    pub(super) fn class_key(&self, task: &Task) -> &Arc<ClassKey> {
        self.key_of(task.class)
    }

    /// The task's name, for messages and lease requests.
    pub(super) fn task_name(&self, id: TaskId) -> String {
        let name = self.tasks.get(&id).map(|task| &task.name).or_else(|| self.series_name(id));
        name.map(ToString::to_string).unwrap_or_default()
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
        let mut failure = None;
        let has_stored_results = results.iter().any(|value| value.in_store.is_some());
        if failed {
            let error = results.into_iter().next().filter(is_error).unwrap_or_else(|| {
                error_value(
                    SystemErrorKind::Internal,
                    format!("task '{}' failed, and its worker sent no reason", task.name),
                )
            });
            self.record_end(id, &task, Some(&error), &task.error);
            let is_news = !task.cancelled && task.items == 0 && task.num_returns > 0;
            if is_news && !self.is_result_used(id, task.num_returns) {
                self.watch_unhandled(id, &task.name, &error, &task.error);
            }
            for index in 0..task.num_returns {
                self.set_value(ObjectId::of(id, index), error.clone());
            }
            failure = Some(error);
        } else if results.len() == expected {
            self.record_end(id, &task, None, "");
            for (index, value) in (0..).zip(results) {
                if task.attempt > 0 {
                    self.free_replaced(ObjectId::of(id, index), &value);
                }
                self.set_value(ObjectId::of(id, index), value);
            }
        } else {
            let sentence = format!(
                "task '{}' was to return {expected} values, and its worker sent {}",
                task.name,
                results.len()
            );
            let error = error_value(SystemErrorKind::Internal, sentence);
            self.record_end(id, &task, Some(&error), "");
            for index in 0..task.num_returns {
                self.set_value(ObjectId::of(id, index), error.clone());
            }
            failure = Some(error);
        }
        self.end_stream(id, failure.as_ref());
        let (items, all_items) = (task.items, task.all_items());
        let (actor, was_sent) = (task.actor, task.place.is_some());
        if failure.is_none() && (has_stored_results || all_items > 0) {
            self.keep_lineage(id, task);
        } else {
            self.unpin_all(task.pinned);
        }
        self.settle_items(id, items, all_items, failure.as_ref());
        if let Some(role) = actor {
            self.on_actor_task_ended(id, role, was_sent, failure.as_ref());
        }
    }

    pub(super) fn unpin_all(&mut self, pinned: Vec<ObjectId>) {
        for object in pinned {
            self.unpin(object);
        }
    }
}
