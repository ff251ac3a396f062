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

pub(crate) fn set(task: Option<CurrentTask>) {
    CURRENT.set(task);
}
