//! The task that a thread runs.

use std::cell::RefCell;

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
pub(crate) fn id() -> Option<manta_proto::ids::TaskId> {
    CURRENT.with_borrow(|task| task.as_ref().map(|task| task.id))
}

pub(crate) fn set(task: Option<CurrentTask>) {
    CURRENT.set(task);
}
