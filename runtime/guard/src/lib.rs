//! What a native worker carries so that it can be debugged, and so that it outlives its debugger.
//!
//! Three things live here, all in fixed memory that a debugger finds through the symbol [`MANTA_GUARD`] and its siblings:
//! - the *task table* ([`enter_task`]): which thread runs which task;
//! - the *trap table*: every address that a debugger has patched, with the byte that was there, written before the patch;
//! - the *scratch area*: executable memory near the program's code, where a debugger puts copies of patched instructions.
//!
//! [`install`] adds a SIGTRAP handler. While a debugger lives it sees each trap first and the handler never runs. When it has
//! died, the handler undoes the patch and the thread runs on as if nothing had been there. The kernel takes the handler away when a
//! thread traps that has SIGTRAP blocked: so no call of the C library blocks it any more, and the debugger gives the handler back to
//! those that have done it otherwise.
//!
//! Where the system refuses ptrace, the process helps itself: [`allow_tracer`] starts a thread, the *helper*, that the named debugger
//! can talk to (see [`wire`]), and a thread that traps waits in the handler for what the debugger says.
//!
//! This crate must never allocate, lock or print: its code runs in signal handlers and around every task. Only the helper
//! does, while it is started and before it takes a debugger.

#![cfg_attr(not(target_os = "linux"), allow(unused))]

mod helper;
mod layout;
mod masks;
mod park;
mod scratch;
mod task;
mod trap;
pub mod wire;

pub use helper::MANTA_HELPER;
pub use layout::{
    GUARD_MAGIC, GUARD_VERSION, GuardInfo, RepairInfo, SCRATCH_BYTES, ScratchInfo, TASK_NAME_BYTES_MAX,
    TASK_SLOTS, TRAP_SLOTS, TaskRecord, TaskTable, TrapEntry, TrapTable,
};
pub use scratch::MANTA_SCRATCH;
pub use task::{CurrentTask, MANTA_TASK_TABLE, current_task_name, enter_task};
pub use trap::{MANTA_REPAIR, MANTA_TRAP_TABLE, install};

/// Says to a debugger which layout the tables have.
#[used]
#[unsafe(no_mangle)]
pub static MANTA_GUARD: GuardInfo = GuardInfo {
    magic: GUARD_MAGIC,
    version: GUARD_VERSION,
    task_slots: TASK_SLOTS as u32,
    trap_slots: TRAP_SLOTS as u32,
    scratch_bytes: SCRATCH_BYTES as u32,
};

/// Lets the process `pid` and those that it starts debug this one: by ptrace where the Yama security module would forbid it, and
/// through the helper where ptrace is refused altogether, once [`install`] was called.
///
/// A kernel without Yama knows no such rule, and that is success.
pub fn allow_tracer(pid: u32) -> std::io::Result<()> {
    // SAFETY: PR_SET_PTRACER takes plain numbers and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::c_ulong::from(pid), 0, 0, 0) };
    let error = std::io::Error::last_os_error();
    // EINVAL is what a kernel without Yama answers, and Yama itself when there is no process `pid`.
    if result != 0 && error.raw_os_error() != Some(libc::EINVAL) {
        return Err(error);
    }
    if trap::is_installed() { helper::allow(pid) } else { Ok(()) }
}
