//! Streaming tasks: their values are objects of their own, which exist as soon as they are made.
//!
//! The object of value `n` is the task's with index `n + 1`; index 0 is the task's result, which says that it is over.

use std::sync::Arc;

use bytes::Bytes;
use manta_proto::{
    ids::{ActorId, ObjectId, TaskId},
    v1::{StreamItem, StreamTaken, Value, peer_message},
};
use parking_lot::Condvar;

use super::{ConnId, FastMap, State, Submission, objects::error_value};
use crate::SystemErrorKind;

/// A stream as the owner's consumer sees it.
#[derive(Default)]
pub(super) struct Stream {
    /// Values that have come.
    arrived: u32,
    /// Values that the consumer has asked for.
    taken: u32,
    /// How many values there are, once that is known; an error counts as one.
    end: Option<u32>,
    backpressure: bool,
    worker: Option<ConnId>,
    /// Nobody consumes it: the task's result holds its values, once it is there.
    kept_for_result: bool,
}

/// A stream as the worker that makes it sees it.
#[derive(Default)]
pub(super) struct Source {
    sent: u32,
    taken: u32,
    owner: Option<ConnId>,
    changed: Arc<Condvar>,
}

#[derive(Default)]
pub(super) struct Streams {
    consumed: FastMap<TaskId, Stream>,
    /// How many values consumers had asked for that are gone, where some had not come.
    abandoned: FastMap<TaskId, u32>,
    sources: FastMap<TaskId, Source>,
}

#[cfg(test)]
impl Streams {
    pub fn len(&self) -> usize {
        self.consumed.len() + self.abandoned.len() + self.sources.len()
    }
}

fn item(task: TaskId, index: u32) -> ObjectId {
    ObjectId::of(task, index + 1)
}

fn no_further_value() -> Value {
    error_value(SystemErrorKind::Internal, "the stream has no further value")
}

impl State {
    /// Takes a streaming task in; there is one consumer, until [`State::on_stream_dropped`].
    pub fn on_submit_stream(&mut self, submission: Submission, backpressure: bool) {
        self.streams.consumed.insert(submission.id, Stream { backpressure, ..Stream::default() });
        self.on_submit(submission);
    }

    /// Takes a call of an actor in whose values come one by one, as [`State::on_call`] does.
    pub fn on_call_stream(
        &mut self,
        actor: ActorId,
        submission: Submission,
        pending_max: Option<usize>,
        backpressure: bool,
    ) -> Result<(), usize> {
        let id = submission.id;
        // It has to be there when the call fails at once.
        self.streams.consumed.insert(id, Stream { backpressure, ..Stream::default() });
        self.on_call(actor, submission, pending_max).inspect_err(|_| {
            self.streams.consumed.remove(&id);
        })
    }

    /// The consumer asks for the next value: its object, with one ref, and its place. `None` after the last.
    pub fn next_of_stream(&mut self, id: TaskId) -> Option<(ObjectId, u32)> {
        let stream = self.streams.consumed.get_mut(&id)?;
        if stream.end.is_some_and(|end| stream.taken >= end) {
            return None;
        }
        let index = stream.taken;
        stream.taken += 1;
        let (expected, worker) = (index >= stream.arrived && stream.end.is_none(), stream.worker);
        let object = item(id, index);
        if expected {
            self.expect_object(object);
        }
        if let (true, Some(conn)) = (self.streams.consumed[&id].backpressure, worker) {
            self.tell_taken(conn, id, index + 1);
        }
        Some((object, index))
    }

    /// Whether there is no value at this place: the stream has ended before it.
    pub fn is_past_stream(&self, id: TaskId, index: u32) -> bool {
        self.streams.consumed.get(&id).is_none_or(|stream| stream.end.is_some_and(|end| index >= end))
    }

    /// The consumer is gone: what it has not taken is let go, as is what is still to come.
    pub fn on_stream_dropped(&mut self, id: TaskId) {
        let Some(stream) = self.streams.consumed.remove(&id) else { return };
        for index in stream.taken..stream.end.unwrap_or(stream.arrived) {
            self.on_ref_dropped(item(id, index));
        }
        if stream.end.is_none() && stream.taken > stream.arrived {
            self.streams.abandoned.insert(id, stream.taken);
        }
        if let (true, Some(conn)) = (stream.backpressure, stream.worker) {
            self.tell_taken(conn, id, u32::MAX);
        }
    }

    /// Nobody consumes the stream: its values are kept until the task is over, from when on its result holds those that it names.
    pub fn keep_stream_for_result(&mut self, id: TaskId) {
        let Some(stream) = self.streams.consumed.get_mut(&id) else { return };
        stream.kept_for_result = true;
        if stream.end.is_some() {
            self.on_stream_dropped(id);
        }
    }

    fn tell_taken(&mut self, conn: ConnId, id: TaskId, taken: u32) {
        let message = StreamTaken { task_id: id.to_bytes(), taken };
        self.send(conn, peer_message::Message::StreamTaken(message));
    }

    /// A value has come from the worker.
    pub(super) fn on_stream_item(&mut self, conn: ConnId, message: StreamItem) {
        let (Ok(id), Some(value)) = (TaskId::try_from(&message.task_id), message.value) else { return };
        if !self.is_attempt(id, message.attempt) || message.index >= u32::MAX >> 2 {
            return;
        }
        let index = message.index;
        let object = item(id, index);
        self.note_item(id, index);
        self.free_replaced(object, &value);
        // One that ran again may give more than the time before, of which its consumer was told the end.
        let is_wanted = |stream: &&mut Stream| stream.end.is_none_or(|end| index < end);
        let Some(stream) = self.streams.consumed.get_mut(&id).filter(is_wanted) else {
            // Nobody consumes it: the task runs on, and need not wait for anybody.
            self.tell_taken(conn, id, u32::MAX);
            return self.set_value(object, value);
        };
        stream.worker = Some(conn);
        let (taken, backpressure) = (stream.taken, stream.backpressure);
        let is_new = index >= stream.arrived;
        stream.arrived = stream.arrived.max(index + 1);
        if is_new && index >= taken {
            self.expect_object(object);
        }
        self.set_value(object, value);
        if backpressure {
            self.tell_taken(conn, id, taken);
        }
    }

    /// The task is over: a failure is the last value, unless it is that of a task that had ended well and ran again.
    pub(super) fn end_stream(&mut self, id: TaskId, failure: Option<&Value>) {
        let Some(stream) = self.streams.consumed.get_mut(&id).filter(|stream| stream.end.is_none()) else {
            return;
        };
        let (arrived, taken, kept_for_result) = (stream.arrived, stream.taken, stream.kept_for_result);
        let end = arrived + u32::from(failure.is_some());
        stream.end = Some(end);
        if let Some(error) = failure {
            if taken <= arrived {
                self.expect_object(item(id, arrived));
            }
            self.set_value(item(id, arrived), error.clone());
        }
        // For the consumer that waits for one value more than there are.
        for index in end..taken {
            self.set_value(item(id, index), no_further_value());
        }
        if kept_for_result {
            self.on_stream_dropped(id);
        }
    }

    /// The task is over: what it gave in an attempt before and was lost has come again, or never will, or is lost once more. What a consumer
    /// had asked for who is gone, and has not come, never will.
    pub(super) fn settle_items(&mut self, id: TaskId, given: u32, all: u32, failure: Option<&Value>) {
        for index in 0..all {
            let object = item(id, index);
            if !self.is_awaited(object) {
                continue;
            }
            match failure {
                Some(error) => self.set_value(object, error.clone()),
                None if index < given => {
                    self.make_again_or_fail(object, "it was lost before its task had ended");
                }
                None => {
                    let sentence = format!(
                        "object {object} is lost, and its task gave only {given} values when it ran again, not the {all} of before"
                    );
                    let error = error_value(SystemErrorKind::ReconstructionFailed, sentence);
                    self.set_value(object, error);
                }
            }
        }
        let asked_for = self.streams.abandoned.remove(&id).unwrap_or_default();
        for object in (all..asked_for).map(|index| item(id, index)) {
            if self.is_awaited(object) {
                self.set_value(object, failure.cloned().unwrap_or_else(no_further_value));
            }
        }
    }

    /// Worker: sends a value to the owner; `false` when the task is no longer this worker's.
    pub fn on_yield(&mut self, slot: u32, id: TaskId, index: u32, value: Value) -> bool {
        self.announce_sealed(&value);
        let Some((conn, attempt)) = self.owner_of_running(slot, id) else {
            self.free_stored(&value);
            return false;
        };
        let source = self.streams.sources.entry(id).or_default();
        (source.sent, source.owner) = (index + 1, Some(conn));
        let hold = self.hold_refs(conn, std::slice::from_ref(&value));
        let message = StreamItem { task_id: id.to_bytes(), attempt, index, value: Some(value), hold };
        self.send(conn, peer_message::Message::StreamItem(message));
        true
    }

    /// Worker: the condition to wait on while `most` values or more wait to be taken.
    pub fn stream_has_no_room(&self, id: TaskId, most: u32) -> Option<Arc<Condvar>> {
        let source = self.streams.sources.get(&id)?;
        let is_awaited = source.owner.is_some_and(|owner| self.conns.contains_key(&owner));
        (self.gone.is_none() && is_awaited && source.sent.saturating_sub(source.taken) >= most)
            .then(|| Arc::clone(&source.changed))
    }

    /// Worker: the consumer has asked for so many.
    pub(super) fn on_stream_taken(&mut self, id: &Bytes, taken: u32) {
        let Ok(id) = TaskId::try_from(id) else { return };
        if let Some(source) = self.streams.sources.get_mut(&id) {
            source.taken = source.taken.max(taken);
            source.changed.notify_all();
        }
    }

    /// Worker: the task has ended.
    pub(super) fn end_source(&mut self, id: TaskId) {
        if let Some(source) = self.streams.sources.remove(&id) {
            source.changed.notify_all();
        }
    }
}
