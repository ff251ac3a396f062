//! Running tasks that were cancelled. Nothing can interrupt native code; a task that runs for long looks here.

use std::{
    collections::HashSet,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use manta_worker::Core;
use parking_lot::Mutex;

type Cancelled = Mutex<HashSet<[u8; 16]>>;

static CANCELLED: LazyLock<Cancelled> = LazyLock::new(Mutex::default);
/// Whether there is one; it is looked at after each task.
static ARE_SOME: AtomicBool = AtomicBool::new(false);

/// Hears of tasks that are to be interrupted.
pub(crate) fn listen(core: &Core) {
    core.set_interrupt_handler(Box::new(|task| {
        let mut cancelled = CANCELLED.lock();
        cancelled.insert(task.0);
        // Under the lock, as who forgets the last one says the contrary.
        ARE_SOME.store(true, Ordering::Release);
    }));
}

/// The task is over.
pub(crate) fn forget(task: manta_worker::TaskId) {
    if ARE_SOME.load(Ordering::Acquire) {
        let mut cancelled = CANCELLED.lock();
        cancelled.remove(&task.0);
        ARE_SOME.store(!cancelled.is_empty(), Ordering::Release);
    }
}

/// Whether somebody has cancelled the task that calls this, which may then end early: nobody waits for its result.
#[must_use]
pub fn is_cancelled() -> bool {
    manta_worker::current_task().is_some_and(|task| CANCELLED.lock().contains(&task.id.0))
}
