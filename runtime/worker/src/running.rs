//! The worker's side: taking tasks and giving results.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use manta_proto::{
    ids::{JobId, ObjectId, TaskId},
    v1::{TaskOutput, TaskSpec, Value, process_to_node, task_argument},
};

use crate::{
    Core, CreatedActor, CurrentTask, FunctionId, NewValue, NextSlot, NextTask, RunnableTask, SystemErrorKind,
    TaskFunction, convert, current,
    idle::Idle,
    reactor::{ACTOR_SLOT, Effect, Left, Popped, State, Stretch, Unread, Urgency},
    shared::Shared,
};

/// Characters of the line that [`Core::failing`] passes on.
const ERROR_CHARS_MAX: usize = 1_001;

thread_local! {
    /// What the calling thread works off.
    static STRETCH: RefCell<Option<Held>> = const { RefCell::new(None) };
    /// A task that it has run, for the next one that differs in its id and arguments alone.
    static SPARE: Cell<Option<Box<RunnableTask>>> = const { Cell::new(None) };
}

struct Held {
    stretch: Arc<Stretch>,
    slot: u32,
    /// Whose slot it is, to be told apart and not to be looked into.
    shared: *const Shared,
}

impl Held {
    fn is_of(&self, core: &Core, slot: u32) -> bool {
        self.slot == slot && std::ptr::eq(self.shared, Arc::as_ptr(&core.0))
    }
}

impl Core {
    /// Worker: the next task of a slot (a Python worker has slot 0 alone).
    pub fn next_task(&self, slot: u32, wait: Option<Duration>) -> NextTask {
        let (next, is_done) = self.next_of_stretch(slot);
        match next {
            Some(task) => NextTask::Run(task),
            None => self.next_of(slot, wait, is_done, |state| state.pop_task(slot)),
        }
    }

    /// Worker: the next call of a concurrency group of the actor that this worker hosts.
    pub fn next_call(&self, group: usize, wait: Option<Duration>) -> NextTask {
        self.next_of(ACTOR_SLOT, wait, false, |state| state.pop_call(group))
    }

    /// The next task of those that the calling thread works off, and whether it has come to their end.
    fn next_of_stretch(&self, slot: u32) -> (Option<Box<RunnableTask>>, bool) {
        let next = STRETCH.with_borrow(|held| {
            let held = held.as_ref().filter(|held| held.is_of(self, slot))?;
            while let Some(index) = held.stretch.take() {
                if let Some(task) = self.runnable_of(slot, &held.stretch, index) {
                    return Some(task);
                }
            }
            None
        });
        if next.is_some() {
            return (next, false);
        }
        current::set(None);
        (None, STRETCH.take().is_some_and(|held| held.is_of(self, slot)))
    }

    /// With `has_results`, there may be some to be sent.
    fn next_of(
        &self,
        slot: u32,
        wait: Option<Duration>,
        mut has_results: bool,
        pop: impl Fn(&mut State) -> Popped,
    ) -> NextTask {
        let deadline = wait.and_then(|wait| Instant::now().checked_add(wait));
        let mut idle = Idle::new(&self.0);
        loop {
            let mut state = self.0.lock();
            let popped = pop(&mut state);
            if std::mem::take(&mut has_results) && state.needs_wake() {
                drop(state);
                self.0.send_now();
                match popped {
                    // What it waits for may be there by now.
                    Popped::Wait(_) => continue,
                    _ => state = self.0.lock(),
                }
            }
            let parking = match popped {
                Popped::Stretch(stretch) => {
                    drop(state);
                    idle.stop_reading();
                    let shared = Arc::as_ptr(&self.0);
                    STRETCH.set(Some(Held { stretch, slot, shared }));
                    match self.next_of_stretch(slot) {
                        (Some(task), _) => return NextTask::Run(task),
                        (None, is_done) => has_results = is_done,
                    }
                    continue;
                }
                Popped::Task(spec) => {
                    let wake = state.needs_wake_lazily(self.0.is_polling());
                    drop(state);
                    idle.stop_reading();
                    if wake {
                        self.0.wake.notify_one();
                    }
                    match self.runnable(slot, spec) {
                        Some(task) => return NextTask::Run(Box::new(task)),
                        None => continue,
                    }
                }
                Popped::Exit(cause) => return NextTask::Exit(cause),
                Popped::Wait(parking) => parking,
            };
            self.0.wake_if_needed(&mut state);
            if deadline.is_some_and(|deadline| deadline <= state.now) {
                return NextTask::Nothing;
            }
            idle.park(&mut state, &parking, deadline);
        }
    }

    /// A task of those that the calling thread works off; one whose arguments are of no use fails at once.
    fn runnable_of(&self, slot: u32, stretch: &Stretch, index: usize) -> Option<Box<RunnableTask>> {
        let sent = &stretch.sent;
        let (id, name) = (sent.task(index), &sent.name);
        // A name is of one message, whose tasks have all else in common too.
        let spare = SPARE.take().filter(|spare| Arc::ptr_eq(&spare.name, name));
        let job_id = sent.job_id;
        let mut task = spare.unwrap_or_else(|| {
            Box::new(RunnableTask {
                id,
                attempt: 0,
                name: Arc::clone(name),
                function: sent.function.clone(),
                args: Vec::new(),
                num_returns: 1,
                streaming: false,
                backpressure: 0,
                job_id,
                slot,
                cross_language: sent.cross_language(),
                creates: None,
            })
        });
        task.id = id;
        current::set_next(id, name, || CurrentTask { id, attempt: 0, name: Arc::clone(name), job_id, slot });
        for argument in sent.arguments_of(index) {
            let Some(task_argument::Value::Inline(value)) = &argument.value else {
                let sentence = format!("an argument of task '{name}' came without its value");
                self.give_up(slot, id, SystemErrorKind::ObjectLost, sentence);
                return None;
            };
            let value = convert::open_inline(value.format, &value.data);
            if let Some(error) = value.system_error() {
                let sentence = format!("an argument of task '{name}' is gone: {error}");
                self.give_up(slot, id, SystemErrorKind::ObjectLost, sentence);
                return None;
            }
            task.args.push(((!argument.keyword.is_empty()).then_some(argument.keyword), value));
        }
        Some(task)
    }

    /// Worker: gives a task back that is over, so that the next one need not be made anew.
    pub fn recycle(&self, mut task: Box<RunnableTask>) {
        let is_of_stretch = STRETCH.with_borrow(|held| {
            held.as_ref().is_some_and(|held| {
                held.is_of(self, task.slot) && Arc::ptr_eq(&held.stretch.sent.name, &task.name)
            })
        });
        if is_of_stretch && !task.streaming && task.creates.is_none() {
            task.args.clear();
            SPARE.set(Some(task));
        }
    }

    /// Leaves a small result to be sent with others; `false` if it has to go by itself.
    fn leave_result(&self, task: &RunnableTask, result: &NewValue<'_>) -> bool {
        let left = STRETCH.with_borrow(|held| {
            let held = held.as_ref().filter(|held| held.is_of(self, task.slot))?;
            let index = held.stretch.sent.index_of(task.id)?;
            Some(held.stretch.leave(index, result, Instant::now))
        });
        match left {
            Some(Left::Kept) => true,
            Some(Left::Due) => {
                self.0.lock().send_results(task.slot);
                self.0.send_now();
                true
            }
            Some(Left::Refused) | None => false,
        }
    }

    /// Opens a task's arguments; a task that has lost one fails at once.
    fn runnable(&self, slot: u32, spec: Box<TaskSpec>) -> Option<RunnableTask> {
        let id = TaskId::try_from(&spec.task_id).ok()?;
        let job_id = JobId::try_from(&spec.job_id).unwrap_or(JobId([0; 16]));
        let mut args = Vec::with_capacity(spec.arguments.len());
        for argument in &spec.arguments {
            let Some(task_argument::Value::Inline(value)) = &argument.value else {
                let sentence = format!("an argument of task '{}' came without its value", spec.name);
                self.give_up(slot, id, SystemErrorKind::ObjectLost, sentence);
                return None;
            };
            let contained = if value.contained.is_empty() {
                Vec::new()
            } else {
                self.0.with(|state| convert::adopt_contained(&self.0, state, value))
            };
            let opened = convert::open(&self.0, value, contained);
            let value = match opened {
                Ok(value) => value,
                Err(Unread { kind: kind @ SystemErrorKind::DiskFull, sentence }) => {
                    let sentence =
                        format!("an argument of task '{}' has no room here: {sentence}", spec.name);
                    self.give_up(slot, id, kind, sentence);
                    return None;
                }
                Err(Unread { kind, sentence }) => {
                    let place = value.in_store.as_ref();
                    let object = place.and_then(|place| ObjectId::try_from(&place.object_id).ok());
                    match object {
                        Some(object) => {
                            self.0.with(|state| state.on_argument_lost(slot, spec, object, &sentence));
                        }
                        None => self.give_up(slot, id, kind, sentence),
                    }
                    return None;
                }
            };
            if let Some(error) = value.system_error() {
                let sentence = format!("an argument of task '{}' is gone: {error}", spec.name);
                self.give_up(slot, id, SystemErrorKind::ObjectLost, sentence);
                return None;
            }
            args.push(((!argument.keyword.is_empty()).then(|| argument.keyword.clone()), value));
        }
        let name: Arc<str> = spec.name.into();
        current::set(Some(CurrentTask { id, attempt: spec.attempt, name: Arc::clone(&name), job_id, slot }));
        let function = match <[u8; 16]>::try_from(&spec.function_id[..]) {
            Ok(function) => TaskFunction::Python(FunctionId(function)),
            Err(_) if !spec.actor_id.is_empty() && spec.creation.is_none() => {
                TaskFunction::Method(spec.function_name)
            }
            Err(_) => TaskFunction::Named(spec.function_name.into()),
        };
        Some(RunnableTask {
            id,
            attempt: spec.attempt,
            name,
            function,
            args,
            num_returns: spec.num_returns,
            streaming: spec.streaming,
            backpressure: spec.backpressure,
            job_id,
            slot,
            cross_language: spec.cross_language,
            creates: spec.creation.map(|creation| CreatedActor {
                handle: creation.handle,
                group_limits: creation.group_limits,
            }),
        })
    }

    fn give_up(&self, slot: u32, task: TaskId, kind: SystemErrorKind, sentence: String) {
        let error = convert::system_error(kind, sentence);
        self.0.with(|state| state.on_finished(slot, task, vec![error], true));
    }

    /// Native worker: waits for a slot that has no thread yet.
    #[must_use]
    pub fn next_slot(&self) -> NextSlot {
        let mut state = self.0.lock();
        loop {
            match state.pop_new_slot() {
                Ok(next) => return next,
                Err(condvar) => condvar.wait(&mut state),
            }
        }
    }

    /// Worker: ends a task with its results, or with one error value when it `failed`.
    pub fn finish(&self, task: &RunnableTask, results: &[NewValue<'_>], failed: bool) {
        if let ([result], false) = (results, failed)
            && self.leave_result(task, result)
        {
            return;
        }
        current::set(None);
        let (values, failed) = self.result_values(task, results, failed);
        let mut state = self.0.lock();
        state.on_finished(task.slot, task.id, values, failed);
        let lazily = state.has_more(task.slot);
        let urgency = match lazily {
            true if state.needs_wake_lazily(self.0.is_polling()) => Urgency::Wake,
            false if state.needs_wake() => Urgency::Now,
            _ => Urgency::CanWait,
        };
        drop(state);
        self.0.see_to(urgency);
    }

    /// Worker: how many calls run at once in each concurrency group of the actor that the task makes. [`Core::finish`] is to follow.
    pub fn set_group_limits(&self, task: &RunnableTask, limits: &[u32]) {
        self.0.with(|state| state.on_group_limits(task.id, limits));
    }

    /// Worker: says in one line what a task fails with, for lists of tasks. [`Core::finish`] is to follow.
    pub fn failing(&self, task: &RunnableTask, error: &str) {
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        self.0.with(|state| state.on_failing(task.slot, task.id, &error));
    }

    fn result_values(
        &self,
        task: &RunnableTask,
        results: &[NewValue<'_>],
        failed: bool,
    ) -> (Vec<Value>, bool) {
        if failed {
            return (results.iter().take(1).map(convert::error_inline).collect(), true);
        }
        let mut values = Vec::with_capacity(results.len());
        for (index, result) in (0..).zip(results) {
            let id = ObjectId::of(task.id, index);
            match convert::inline_or_stored(&self.0, self.node_id(), id, result, convert::Keep::Nothing) {
                Ok(value) => values.push(value),
                Err(error) => {
                    self.0.with(|state| values.iter().for_each(|value| state.free_unsent(value)));
                    let what = format!("a result of task '{}'", task.name);
                    return (vec![convert::store_error(&what, &error)], true);
                }
            }
        }
        (values, false)
    }

    /// The task that the calling thread runs.
    #[must_use]
    pub fn current_task(&self) -> Option<CurrentTask> {
        current::get()
    }

    /// Marks the calling thread as one that runs `task` too (a thread pool inside a task, an async executor), or as none.
    pub fn set_current_task(task: Option<CurrentTask>) {
        current::set(task);
    }

    /// Worker: receives each DAP message for this worker's engine, on the I/O thread. Messages that came earlier follow at once.
    pub fn set_debug_handler(&self, handler: Box<dyn Fn(Bytes) + Send + Sync>) {
        self.0.set_debug_handler(handler);
    }

    /// Worker: sends DAP messages of this worker's engine, in their order.
    pub fn send_debug(&self, messages: Vec<Bytes>) {
        self.0.with(|state| {
            for dap in messages {
                state.push_effect(Effect::ToNode(Box::new(process_to_node::Message::FromTarget(dap))));
            }
        });
    }

    /// Worker: passes on what a task printed. Waits while too much of it is under way.
    pub fn send_output(&self, task: Option<(TaskId, &str)>, stderr: bool, text: &str) {
        self.0.enter_output();
        let joined = self.0.with(|state| {
            let output = TaskOutput {
                job_id: state.job.as_ref().map(|job| job.job_id.clone()).unwrap_or_default(),
                node_id: state.me.node.to_bytes(),
                node_name: state.me.node_name.clone(),
                pid: std::process::id(),
                task_name: task.map(|(_, name)| name.to_owned()).unwrap_or_default(),
                task_id: task.map(|(id, _)| id.to_bytes()).unwrap_or_default(),
                stderr,
                text: text.to_owned(),
                ..TaskOutput::default()
            };
            state.on_output(output)
        });
        if joined {
            self.0.leave_output();
        }
    }
}
