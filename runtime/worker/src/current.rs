//! The task that a thread runs.

use std::{cell::RefCell, sync::Arc};

use manta_proto::ids::TaskId;

use crate::CurrentTask;

thread_local! {
    static CURRENT: RefCell<Option<CurrentTask>> = const { RefCell::new(None) };
}

/// The task that the calling thread runs.
#[must_use]
pub fn get() -> Option<CurrentTask> {
    CURRENT.with_borrow(Clone::clone)
}

/// Its id.
pub(crate) fn id() -> Option<TaskId> {
    CURRENT.with_borrow(|task| task.as_ref().map(|task| task.id))
}

/// The next of the tasks that share this very name, and differ in their ids alone.
pub(crate) fn set_next(id: TaskId, name: &Arc<str>, new: impl FnOnce() -> CurrentTask) {
    CURRENT.with_borrow_mut(|task| match task {
        Some(task) if Arc::ptr_eq(&task.name, name) => task.id = id,
        other => *other = Some(new()),
    });
}

pub(crate) fn set(task: Option<CurrentTask>) {
    CURRENT.set(task);
}
