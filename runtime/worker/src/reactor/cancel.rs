//! Cancellation: what its owner does with a task that nobody wants any more, and what its worker does.

use manta_proto::{
    ids::{LeaseId, TaskId},
    v1::{CancelTask, TaskDone, TaskSpec, Value, peer_message},
};

use super::{ACTOR_SLOT, ConnId, Effect, State, objects::error_value};
use crate::{SystemErrorKind, object_ref::RefAddress};

/// How a task is to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cancellation {
    /// Its worker ends when it has started.
    pub force: bool,
    /// The tasks that it has submitted are cancelled too.
    pub recursive: bool,
}

/// What a cancelled task fails with.
pub(super) fn cancelled(name: &str) -> Value {
    error_value(SystemErrorKind::Cancelled, format!("task '{name}' was cancelled"))
}

impl State {
    /// A thread of this process cancels the task that makes an object.
    pub fn on_cancel_request(&mut self, object: RefAddress, how: Cancellation) {
        let id = object.object.task();
        if object.owner == self.me.process {
            return self.cancel_owned(id, how);
        }
        let conn = self.conn_to(object.owner, object.owner_node, None);
        self.send_cancel(conn, id, how);
    }

    /// Whether a task of this process's own is a call of an actor, and not over.
    pub fn is_call_of_actor(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.is_call())
    }

    /// A peer cancels a task: one of ours, or one that it has sent.
    pub(super) fn on_cancel_message(&mut self, conn: ConnId, message: &CancelTask) {
        let Ok(id) = TaskId::try_from(&message.task_id) else { return };
        let how = Cancellation { force: message.force, recursive: message.recursive };
        self.unfold(id);
        if self.tasks.contains_key(&id) {
            self.cancel_owned(id, how);
        } else {
            self.cancel_received(conn, id, how);
        }
    }

    fn send_cancel(&mut self, conn: ConnId, id: TaskId, how: Cancellation) {
        let Cancellation { force, recursive } = how;
        let message = CancelTask { task_id: id.to_bytes(), force, recursive };
        self.send(conn, peer_message::Message::Cancel(message));
    }

    /// A task that is over stays as it is.
    fn cancel_owned(&mut self, id: TaskId, how: Cancellation) {
        if self.begin_cancel(id)
            && let Some(conn) = self.conn_of_task(id)
        {
            self.send_cancel(conn, id, how);
        }
    }

    /// Cancels a task that this process has been sent.
    fn cancel_received(&mut self, conn: ConnId, id: TaskId, how: Cancellation) {
        if let Some(spec) = self.take_queued(conn, id) {
            let error = cancelled(&spec.name);
            return self.send_done(conn, &spec, vec![error], true, 0);
        }
        let Some(slot) = self.slot_of_running(conn, id) else { return };
        if how.recursive {
            self.cancel_children(id, how);
        }
        if how.force && slot != ACTOR_SLOT {
            self.end_forced(slot, id);
        } else {
            self.effects.push(Effect::Interrupt(id));
        }
    }

    fn cancel_children(&mut self, parent: TaskId, how: Cancellation) {
        self.unfold_children(parent);
        let mut children: Vec<TaskId> =
            self.tasks.iter().filter(|(_, task)| task.parent() == Some(parent)).map(|(id, _)| *id).collect();
        children.sort_unstable();
        for child in children {
            self.cancel_owned(child, how);
        }
    }

    /// Gives a running task up; its owner then has the node end this worker.
    fn end_forced(&mut self, slot: u32, id: TaskId) {
        self.retire(slot);
        // Its owner knows its name.
        let error = cancelled("");
        self.on_finished(slot, id, vec![error], true);
    }

    /// The lease's worker is to end. Nothing that waits behind has started, so all of it comes back.
    pub(super) fn on_worker_retires(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get(&id) else { return };
        let node = lease.node;
        let Some((lease, _)) = self.drop_lease(id, false) else { return };
        for task in lease.tasks.into_tasks().into_iter().rev() {
            self.unfold(task);
            if self.is_pushed_to(task, id) {
                self.requeue(task);
            }
        }
        self.give_back(id.to_bytes(), node.to_bytes(), true);
    }
}

/// The end of a task that never ran here.
pub(super) fn done(spec: &TaskSpec, results: Vec<Value>, failed: bool, run_us: u64) -> TaskDone {
    let (task_id, attempt) = (spec.task_id.clone(), spec.attempt);
    TaskDone { task_id, attempt, results, failed, run_us, ..TaskDone::default() }
}
