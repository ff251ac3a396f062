//! Streaming tasks: the consumer's end, and the end of the worker that makes the values. And how tasks are cancelled.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use manta_proto::ids::{NodeId, ObjectId, ProcessId, TaskId};

use crate::{
    ActorRef, Core, NewTask, NewValue, ObjectRef, RunnableTask, SubmitError, SystemErrorKind, convert,
    object_ref::RefAddress,
    reactor::{Cancellation, State},
    shared::Shared,
};

/// The values of a streaming task, one after the other. What was not taken when it is dropped is let go.
pub struct Stream {
    task: TaskId,
    shared: Arc<Shared>,
    result: ObjectRef,
    /// Its values are let go when it is dropped.
    consumes: bool,
}

impl Stream {
    /// The task that makes the values.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// The object that exists once the task is over, and fails as the task does.
    #[must_use]
    pub fn result(&self) -> &ObjectRef {
        &self.result
    }

    /// The object that exists once the task is over and holds refs of all values, which [`Core::item_ref`] has made for it.
    #[must_use]
    pub fn into_result(mut self) -> ObjectRef {
        self.consumes = false;
        self.shared.with(|state| state.keep_stream_for_result(self.task));
        self.result.clone()
    }

    /// The ref of the next value, which may still have to be made, and its place; `None` after the last. When the ref becomes ready,
    /// [`Stream::is_past`] says whether it was one too many.
    #[must_use]
    pub fn next(&self) -> Option<(ObjectRef, u32)> {
        self.shared.with(|state| {
            let (object, index) = state.next_of_stream(self.task)?;
            Some((ObjectRef::counted(&self.shared, state.own_address(object)), index))
        })
    }

    /// Whether the stream ended before this place.
    #[must_use]
    pub fn is_past(&self, index: u32) -> bool {
        self.shared.with(|state| state.is_past_stream(self.task, index))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.consumes {
            self.shared.with(|state| state.on_stream_dropped(self.task));
        }
    }
}

impl Core {
    /// Submits a task whose values come one by one; `task.num_returns` is 1, for the result that says that it is over.
    /// With `backpressure`, the task waits while so many of its values were not taken.
    ///
    /// # Errors
    /// As [`Core::submit`].
    pub fn submit_stream(
        &self,
        task: &NewTask<'_>,
        backpressure: Option<u32>,
    ) -> Result<Stream, SubmitError> {
        let id = self.0.task_ids.lock().next();
        let submission = self.submission(id, task, |spec| {
            spec.streaming = true;
            spec.backpressure = backpressure.unwrap_or(0);
        })?;
        self.take_stream_in(id, |state| {
            state.on_submit_stream(submission, backpressure.is_some());
            Ok(())
        })
    }

    /// Calls a method of an actor whose values come one by one, as [`Core::submit_stream`] submits a task.
    ///
    /// # Errors
    /// As [`Core::call`].
    pub fn call_stream(
        &self,
        actor: &ActorRef,
        task: &NewTask<'_>,
        group: u32,
        pending_max: Option<usize>,
        backpressure: Option<u32>,
    ) -> Result<Stream, SubmitError> {
        if !actor.is_of(self) {
            return Err(SubmitError::StaleRef);
        }
        let id = self.0.task_ids.lock().next();
        let submission = self.submission(id, task, |spec| {
            spec.streaming = true;
            spec.backpressure = backpressure.unwrap_or(0);
            spec.actor_id = actor.id().to_bytes();
            spec.concurrency_group = group;
        })?;
        self.take_stream_in(id, |state| {
            let called = state.on_call_stream(actor.id(), submission, pending_max, backpressure.is_some());
            called.map_err(|pending| SubmitError::PendingCalls { pending })
        })
    }

    fn take_stream_in(
        &self,
        id: TaskId,
        submit: impl FnOnce(&mut State) -> Result<(), SubmitError>,
    ) -> Result<Stream, SubmitError> {
        let shared = &self.0;
        let mut refs = Vec::with_capacity(1);
        self.take_in(id, 1, submit, |made| refs.push(made))?;
        let owner = shared.with(|state| state.me.process);
        let address = RefAddress { object: ObjectId::of(id, 0), owner, owner_node: shared.node };
        let result = refs.into_iter().next().unwrap_or_else(|| ObjectRef::counted(shared, address));
        Ok(Stream { task: id, shared: Arc::clone(shared), result, consumes: true })
    }

    /// Worker: sends a value of a streaming task; `false` when its owner is gone.
    ///
    /// # Errors
    /// When the value cannot be stored.
    pub fn yield_value(
        &self,
        task: &RunnableTask,
        index: u32,
        value: &NewValue<'_>,
    ) -> Result<bool, SubmitError> {
        let object = ObjectId::of(task.id, index + 1);
        let value =
            convert::inline_or_stored(&self.0, self.node_id(), object, value, convert::Keep::Nothing)?;
        Ok(self.0.with(|state| state.on_yield(task.slot, task.id, index, value)))
    }

    /// Worker: a ref of a value that a streaming task has sent to its owner, which is the process `owner` on the node `owner_node`.
    #[must_use]
    pub fn item_ref(
        &self,
        task: &RunnableTask,
        index: u32,
        owner: ProcessId,
        owner_node: NodeId,
    ) -> ObjectRef {
        let address = RefAddress { object: ObjectId::of(task.id, index + 1), owner, owner_node };
        self.adopt_ref(address)
    }

    /// Worker: waits until fewer than the task's limit of values wait to be taken; `false` if that takes longer than `wait`.
    #[must_use]
    pub fn wait_for_room(&self, task: &RunnableTask, wait: Duration) -> bool {
        if task.backpressure == 0 {
            return true;
        }
        let deadline = Instant::now() + wait;
        let mut state = self.0.lock();
        while let Some(condvar) = state.stream_has_no_room(task.id, task.backpressure) {
            if condvar.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    /// Cancels the task that makes an object, unless it is over. With `force`, the worker that runs it ends; `recursive` cancels what
    /// it has submitted too.
    ///
    /// # Errors
    /// When the ref is of an earlier connection, or `force` is given for a call of an actor.
    pub fn cancel(&self, object: &ObjectRef, force: bool, recursive: bool) -> Result<(), SubmitError> {
        if !object.is_of(&self.0) {
            return Err(SubmitError::StaleRef);
        }
        let address = object.address();
        self.0.with(|state| {
            if force && state.is_call_of_actor(address.object.task()) {
                return Err(SubmitError::ForcedCall);
            }
            state.on_cancel_request(address, Cancellation { force, recursive });
            Ok(())
        })
    }

    /// Worker: calls `handler` on the I/O thread with each running task that is to be interrupted.
    pub fn set_interrupt_handler(&self, handler: Box<dyn Fn(TaskId) + Send + Sync>) {
        self.0.set_interrupt_handler(handler);
    }

    /// Worker: ends a task that was interrupted.
    pub fn finish_cancelled(&self, task: &RunnableTask) {
        crate::current::set(None);
        let sentence = format!("task '{}' was cancelled while it ran", task.name);
        let error = convert::system_error(SystemErrorKind::Cancelled, sentence);
        self.0.with(|state| {
            state.on_failing_for_good(task.slot, task.id);
            state.on_finished(task.slot, task.id, vec![error], true);
        });
    }

    /// Worker: the failure that [`Core::finish`] is to report is not one of those that the task is to be retried for.
    pub fn failing_for_good(&self, task: &RunnableTask) {
        self.0.with(|state| state.on_failing_for_good(task.slot, task.id));
    }

    /// Worker: the running task is the last of its slot; once it is over, its owner gives the worker back as unusable.
    pub fn retire(&self, task: &RunnableTask) {
        self.0.with(|state| state.retire(task.slot));
    }
}
