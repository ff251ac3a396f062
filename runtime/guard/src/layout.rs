//! The layout that the worker and the debugger share. A change of it is a change of [`GUARD_VERSION`].
//!
//! The tables are separate statics, so that they lie in zero-filled memory and cost the program file nothing.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

/// The first eight bytes of [`GuardInfo`].
pub const GUARD_MAGIC: u64 = u64::from_le_bytes(*b"mantaGRD");
/// Rises with each change of the layout.
pub const GUARD_VERSION: u32 = 4;
/// Threads of one process that can run tasks at one time and be seen by a debugger.
pub const TASK_SLOTS: usize = 1024;
/// A task's name is cut to this many bytes, at a character's end.
pub const TASK_NAME_BYTES_MAX: usize = 64;
/// Addresses that can be patched in the life of one process.
pub const TRAP_SLOTS: usize = 4096;
/// Size of the scratch area: 64 bytes for each address that can be patched.
pub const SCRATCH_BYTES: usize = TRAP_SLOTS * 64;

/// What a debugger reads first.
#[repr(C)]
#[derive(Debug)]
pub struct GuardInfo {
    /// [`GUARD_MAGIC`].
    pub magic: u64,
    /// [`GUARD_VERSION`].
    pub version: u32,
    /// [`TASK_SLOTS`].
    pub task_slots: u32,
    /// [`TRAP_SLOTS`].
    pub trap_slots: u32,
    /// [`SCRATCH_BYTES`].
    pub scratch_bytes: u32,
}

/// Which thread runs which task. `tids` is apart from `records`, so that looking for a thread reads four kilobytes.
#[repr(C)]
pub struct TaskTable {
    /// 0: the slot is free; -1: it is being filled; else the thread whose task is in the record of the same index.
    pub tids: [AtomicI32; TASK_SLOTS],
    /// Written by the slot's own thread only.
    pub records: [UnsafeCell<TaskRecord>; TASK_SLOTS],
}

// SAFETY: a record is written only by the thread that owns its slot, and read by other threads of this process never
// (a debugger reads it from outside, with the thread stopped or with `sequence` as its check).
unsafe impl Sync for TaskTable {}

/// One running task.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TaskRecord {
    /// Odd while the record is being written; rises with each change.
    pub sequence: u32,
    /// Which try of the task this is.
    pub attempt: u32,
    /// The task's id.
    pub task_id: [u8; 16],
    /// The job it belongs to.
    pub job_id: [u8; 16],
    /// Bytes of `name` that count.
    pub name_len: u32,
    /// UTF-8.
    pub name: [u8; TASK_NAME_BYTES_MAX],
}

impl TaskRecord {
    /// A record of no task.
    pub const EMPTY: Self = Self {
        sequence: 0,
        attempt: 0,
        task_id: [0; 16],
        job_id: [0; 16],
        name_len: 0,
        name: [0; TASK_NAME_BYTES_MAX],
    };
    /// Size in the debugged process.
    pub const BYTES: usize = size_of::<Self>();

    /// Reads a record from memory copied out of another process; `None` when it is too short.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            sequence: word(0)?,
            attempt: word(4)?,
            task_id: bytes.get(8..24)?.try_into().ok()?,
            job_id: bytes.get(24..40)?.try_into().ok()?,
            name_len: word(40)?,
            name: bytes.get(44..44 + TASK_NAME_BYTES_MAX)?.try_into().ok()?,
        })
    }

    /// The task's name.
    #[must_use]
    pub fn name(&self) -> &str {
        let len = (self.name_len as usize).min(TASK_NAME_BYTES_MAX);
        std::str::from_utf8(&self.name[..len]).unwrap_or("")
    }
}

/// Every address that a debugger patched.
#[repr(C)]
pub struct TrapTable {
    /// Entries in use, from the front. An entry is complete before the count covers it, and the count never falls.
    pub count: AtomicU32,
    /// Keeps the entries aligned.
    pub reserved: u32,
    /// See [`TrapEntry`].
    pub entries: [TrapEntry; TRAP_SLOTS],
}

/// A patched address. It stays in the table after the patch is gone, because a thread may still be on its way into the handler.
/// Only when its code was unloaded is its address 0, and the entry free.
#[repr(C)]
#[derive(Debug)]
pub struct TrapEntry {
    /// Where the `int3` was put.
    pub address: AtomicU64,
    /// The byte that was there before, in the lowest eight bits.
    pub original: AtomicU64,
}

/// How a debugger gives the guard its handler back.
#[repr(C)]
#[derive(Debug)]
pub struct RepairInfo {
    /// 0 until the handler is installed.
    pub is_ready: AtomicU64,
    /// Installs the handler anew, on whatever thread, and comes back with every register as it was. It is entered with the address
    /// of the next instruction at the stack pointer, below a red zone, and takes both off the stack.
    pub routine: extern "C" fn(),
}

/// Where the scratch area is.
#[repr(C)]
#[derive(Debug)]
pub struct ScratchInfo {
    /// 0 when there is none.
    pub address: AtomicU64,
    /// Its size.
    pub bytes: AtomicU64,
}
