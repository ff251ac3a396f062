//! Running tasks that were cancelled. Nothing can interrupt native code; a task that runs for long looks here.

use std::{collections::HashSet, sync::LazyLock};

use manta_worker::Core;
use parking_lot::Mutex;

type Cancelled = Mutex<HashSet<[u8; 16]>>;

static CANCELLED: LazyLock<Cancelled> = LazyLock::new(Mutex::default);

/// Hears of tasks that are to be interrupted.
pub(crate) fn listen(core: &Core) {
    core.set_interrupt_handler(Box::new(|task| {
        CANCELLED.lock().insert(task.0);
    }));
}

/// The task is over.
pub(crate) fn forget(task: manta_worker::TaskId) {
    let mut cancelled = CANCELLED.lock();
    if !cancelled.is_empty() {
        cancelled.remove(&task.0);
    }
}

/// Whether somebody has cancelled the task that calls this, which may then end early: nobody waits for its result.
#[must_use]
pub fn is_cancelled() -> bool {
    manta_worker::current_task().is_some_and(|task| CANCELLED.lock().contains(&task.id.0))
}
