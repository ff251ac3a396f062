//! The task that a thread runs.

use std::cell::RefCell;

use crate::CurrentTask;

thread_local! {
    static CURRENT: RefCell<Option<CurrentTask>> = const { RefCell::new(None) };
}

pub(crate) fn get() -> Option<CurrentTask> {
    CURRENT.with_borrow(Clone::clone)
}

pub(crate) fn set(task: Option<CurrentTask>) {
    CURRENT.set(task);
}
