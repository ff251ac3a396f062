//! The task table: written by the thread that runs a task, read by debuggers from outside.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, Ordering, compiler_fence};

use crate::layout::{TASK_NAME_BYTES_MAX, TASK_SLOTS, TaskRecord, TaskTable};

/// The table itself; debuggers find it by this name.
#[used]
#[unsafe(no_mangle)]
pub static MANTA_TASK_TABLE: TaskTable = TaskTable {
    tids: [const { AtomicI32::new(0) }; TASK_SLOTS],
    records: [const { UnsafeCell::new(TaskRecord::EMPTY) }; TASK_SLOTS],
};

const NO_SLOT: usize = usize::MAX;
const BEING_FILLED: i32 = -1;

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(NO_SLOT) };
    static TID: Cell<i32> = const { Cell::new(0) };
}

/// While this lives, the current thread runs the task that [`enter_task`] named. It stays on its thread.
#[derive(Debug)]
#[must_use = "the task is left when this is dropped"]
pub struct CurrentTask {
    slot: usize,
    /// A task that runs another on its own thread gets its record back.
    outer: Option<TaskRecord>,
    stays_on_its_thread: PhantomData<*const ()>,
}

/// Says that the current thread runs this task from now on, until the returned value is dropped.
///
/// When the table is full the task runs all the same; a debugger then sees a thread that runs no task.
pub fn enter_task(task_id: [u8; 16], attempt: u32, job_id: [u8; 16], name: &str) -> CurrentTask {
    let record = record_of(task_id, attempt, job_id, name);
    let slot = SLOT.get();
    if slot != NO_SLOT {
        let outer = write_record(slot, record);
        return CurrentTask { slot, outer: Some(outer), stays_on_its_thread: PhantomData };
    }
    let tid = current_tid();
    // Threads start their search at different places, so that they rarely meet.
    let start = tid as usize % TASK_SLOTS;
    for step in 0..TASK_SLOTS {
        let slot = (start + step) % TASK_SLOTS;
        let cell = &MANTA_TASK_TABLE.tids[slot];
        if cell.load(Ordering::Relaxed) == 0
            && cell.compare_exchange(0, BEING_FILLED, Ordering::Acquire, Ordering::Relaxed).is_ok()
        {
            write_fresh(slot, record);
            cell.store(tid, Ordering::Release);
            SLOT.set(slot);
            return CurrentTask { slot, outer: None, stays_on_its_thread: PhantomData };
        }
    }
    CurrentTask { slot: NO_SLOT, outer: None, stays_on_its_thread: PhantomData }
}

impl Drop for CurrentTask {
    fn drop(&mut self) {
        if self.slot == NO_SLOT {
            return;
        }
        match self.outer.take() {
            Some(outer) => {
                write_record(self.slot, outer);
            }
            None => {
                SLOT.set(NO_SLOT);
                MANTA_TASK_TABLE.tids[self.slot].store(0, Ordering::Release);
            }
        }
    }
}

/// Gives the name of the current thread's task to `use_name`, or `None` when it runs none.
pub fn current_task_name<R>(use_name: impl FnOnce(Option<&str>) -> R) -> R {
    let slot = SLOT.get();
    if slot == NO_SLOT {
        return use_name(None);
    }
    // SAFETY: this thread owns the slot, and nothing writes its record while this copy is made.
    let record = unsafe { *MANTA_TASK_TABLE.records[slot].get() };
    use_name(Some(record.name()))
}

fn record_of(task_id: [u8; 16], attempt: u32, job_id: [u8; 16], name: &str) -> TaskRecord {
    let mut len = name.len().min(TASK_NAME_BYTES_MAX);
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    let mut record = TaskRecord { attempt, task_id, job_id, name_len: len as u32, ..TaskRecord::EMPTY };
    record.name[..len].copy_from_slice(&name.as_bytes()[..len]);
    record
}

/// Replaces the record of a slot that this thread owns, and gives back the old one.
fn write_record(slot: usize, record: TaskRecord) -> TaskRecord {
    let place = MANTA_TASK_TABLE.records[slot].get();
    // SAFETY: as in `write_fresh`.
    let old = unsafe { place.read_volatile() };
    write_fresh(slot, record);
    old
}

/// Writes the record of a slot that this thread owns.
fn write_fresh(slot: usize, mut record: TaskRecord) {
    let place = MANTA_TASK_TABLE.records[slot].get();
    // SAFETY: the slot is this thread's own (its `tids` entry is our tid, or -1 by our exchange), so nothing else in this
    // process reads or writes the record. A debugger outside checks `sequence`; volatile keeps the order of the writes.
    unsafe {
        let writing = (&raw const (*place).sequence).read_volatile().wrapping_add(1) | 1;
        (&raw mut (*place).sequence).write_volatile(writing);
        compiler_fence(Ordering::SeqCst);
        record.sequence = writing;
        place.write_volatile(record);
        compiler_fence(Ordering::SeqCst);
        (&raw mut (*place).sequence).write_volatile(writing.wrapping_add(1));
    }
}

fn current_tid() -> i32 {
    let known = TID.get();
    if known != 0 {
        return known;
    }
    // SAFETY: gettid has no arguments and cannot fail.
    let tid = unsafe { libc::gettid() };
    TID.set(tid);
    // Once for each thread: it may have its mask from a thread that blocks everything.
    crate::trap::let_traps_in();
    tid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_of_this_thread() -> Option<TaskRecord> {
        let tid = current_tid();
        let slot = MANTA_TASK_TABLE.tids.iter().position(|cell| cell.load(Ordering::Acquire) == tid)?;
        // SAFETY: the slot is this thread's.
        Some(unsafe { *MANTA_TASK_TABLE.records[slot].get() })
    }

    #[test]
    fn a_task_is_in_the_table_while_it_runs() {
        assert!(record_of_this_thread().is_none());
        let task = enter_task([1; 16], 2, [3; 16], "index_file");
        let record = record_of_this_thread().unwrap();
        assert_eq!(
            (record.task_id, record.attempt, record.job_id, record.name()),
            ([1; 16], 2, [3; 16], "index_file")
        );
        assert_eq!(record.sequence % 2, 0, "a finished record has an even sequence");
        drop(task);
        assert!(record_of_this_thread().is_none());
    }

    #[test]
    fn a_thread_that_runs_a_task_has_traps_not_blocked() {
        std::thread::spawn(|| {
            // SAFETY: the sets are this test's own, and the mask is that of its own thread.
            let now = unsafe {
                let (mut all, mut now) = (std::mem::zeroed(), std::mem::zeroed());
                libc::sigfillset(&raw mut all);
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
                let _task = enter_task([1; 16], 0, [1; 16], "masked");
                libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut now);
                [libc::SIGTRAP, libc::SIGTERM].map(|signal| libc::sigismember(&raw const now, signal))
            };
            assert_eq!(now, [0, 1], "SIGTRAP comes through, and all else is blocked as before");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_task_inside_a_task_gives_the_outer_one_back() {
        let outer = enter_task([1; 16], 0, [9; 16], "outer");
        let inner = enter_task([2; 16], 0, [9; 16], "inner");
        assert_eq!(record_of_this_thread().unwrap().name(), "inner");
        drop(inner);
        assert_eq!(record_of_this_thread().unwrap().name(), "outer");
        current_task_name(|name| assert_eq!(name, Some("outer")));
        drop(outer);
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let name = "é".repeat(40);
        let _task = enter_task([1; 16], 0, [1; 16], &format!("x{name}"));
        let record = record_of_this_thread().unwrap();
        assert_eq!(record.name(), format!("x{}", "é".repeat(31)));
    }

    #[test]
    fn a_record_survives_the_way_through_another_process() {
        let record = record_of([7; 16], 3, [8; 16], "train");
        // SAFETY: a record is plain bytes without padding (44 + 64 bytes, alignment 4).
        let bytes =
            unsafe { std::slice::from_raw_parts((&raw const record).cast::<u8>(), TaskRecord::BYTES) };
        let read = TaskRecord::from_bytes(bytes).unwrap();
        assert_eq!((read.task_id, read.attempt, read.job_id, read.name()), ([7; 16], 3, [8; 16], "train"));
        assert!(TaskRecord::from_bytes(&bytes[1..]).is_none());
    }
}
