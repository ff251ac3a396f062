//! The scratch area: executable memory within reach of a 32-bit displacement from the program's code.
//!
//! It is mapped before any debugger comes, so that a debugger never has to make this process call anything.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::{SCRATCH_BYTES, ScratchInfo};

/// Where the area is; debuggers find it by this name.
#[used]
#[unsafe(no_mangle)]
pub static MANTA_SCRATCH: ScratchInfo = ScratchInfo { address: AtomicU64::new(0), bytes: AtomicU64::new(0) };

/// Steps away from the code at which a free place is looked for.
const STEP_BYTES: u64 = 1 << 20;
/// Half of what a 32-bit displacement reaches: the program's own code may be large.
const REACH_BYTES: u64 = 1 << 30;

/// Maps the area once; without a free place nearby there is none, and a debugger keeps to hardware breakpoints.
pub(crate) fn map_near_code() {
    if MANTA_SCRATCH.address.load(Ordering::Acquire) != 0 {
        return;
    }
    let code = (map_near_code as fn()) as usize as u64 & !(STEP_BYTES - 1);
    let mut distance = STEP_BYTES;
    while distance < REACH_BYTES {
        for hint in [code.checked_sub(distance), code.checked_add(distance)].into_iter().flatten() {
            if let Some(address) = map_at(hint) {
                publish(address);
                return;
            }
        }
        distance += STEP_BYTES;
    }
}

fn map_at(hint: u64) -> Option<u64> {
    // SAFETY: MAP_FIXED_NOREPLACE never disturbs an existing mapping; the new one is private and nobody's yet.
    let address = unsafe {
        libc::mmap(
            hint as *mut libc::c_void,
            SCRATCH_BYTES,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return None;
    }
    if address as u64 == hint {
        return Some(hint);
    }
    // A kernel before 4.17 takes the hint as a hint. Too far away is of no use.
    // SAFETY: this unmaps exactly what was mapped above.
    unsafe { libc::munmap(address, SCRATCH_BYTES) };
    None
}

fn publish(address: u64) {
    if MANTA_SCRATCH.address.compare_exchange(0, address, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        MANTA_SCRATCH.bytes.store(SCRATCH_BYTES as u64, Ordering::Release);
    } else {
        // Another thread was faster.
        // SAFETY: this unmaps exactly what this call's `map_at` mapped; nobody has seen the address.
        unsafe { libc::munmap(address as *mut libc::c_void, SCRATCH_BYTES) };
    }
}
