//! Keeps SIGTRAP out of what threads block.
//!
//! A thread that runs on a patch while it blocks SIGTRAP ends the whole process, handler or not, when no tracer is there to see the trap
//! (`force_sig_info_to_task` of the kernel's `kernel/signal.c`). So a program that carries the guard has these functions of the C library
//! in a form that leaves SIGTRAP out, once the guard is installed: the program's own calls and those of its libraries come here,
//! as the definition in a program goes before that in a library (elf(5), symbol lookup). What the C library calls inside itself, and
//! system calls without it, are not seen.
//!
//! Everything here may be called in a signal handler: no lock, no allocation.

use std::sync::atomic::{AtomicBool, Ordering};

/// The bit of SIGTRAP in a mask of the kernel.
const TRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);
/// Signals 32 and 33 are the C library's own: its functions never let anybody block them.
const OWN_BITS: u64 = 0b11 << 31;
const MASK_BYTES: usize = 8;

static IN_FORCE: AtomicBool = AtomicBool::new(false);

/// From here on SIGTRAP is left out. Handlers that block it while they run no longer do.
pub(crate) fn keep_traps_out_of_masks() {
    if IN_FORCE.swap(true, Ordering::AcqRel) {
        return;
    }
    crate::trap::let_traps_in();
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the action is this function's own, and the kernel completes it. Signals that have no action of the program's are
        // left alone, and those that the C library refuses are too.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let is_known = libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0;
            if is_known
                && !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
                && libc::sigismember(&raw const action.sa_mask, libc::SIGTRAP) == 1
            {
                libc::sigdelset(&raw mut action.sa_mask, libc::SIGTRAP);
                libc::sigaction(signal, &raw const action, std::ptr::null_mut());
            }
        }
    }
}

/// What is blocked of what was asked for.
pub(crate) fn blocked_of(how: i32, asked: u64) -> u64 {
    let left_out = if how != libc::SIG_UNBLOCK && IN_FORCE.load(Ordering::Acquire) { TRAP_BIT } else { 0 };
    asked & !(OWN_BITS | left_out)
}

/// rt_sigprocmask(2), with an error number as the result.
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_arch = "x86_64",
    not(target_feature = "crt-static")
))]
unsafe fn change(how: i32, set: *const libc::sigset_t, old: *mut libc::sigset_t) -> i32 {
    // SAFETY: the caller gives pointers as sigprocmask(2) wants them; of a set the kernel knows the first eight bytes. errno is this
    // thread's own, and is as it was.
    unsafe {
        let asked = set.cast::<u64>();
        let blocked = if asked.is_null() { 0 } else { blocked_of(how, asked.read_unaligned()) };
        let given = if asked.is_null() { std::ptr::null() } else { &raw const blocked };
        let errno = *libc::__errno_location();
        let failed = libc::syscall(libc::SYS_rt_sigprocmask, how, given, old, MASK_BYTES) != 0;
        let error = if failed { *libc::__errno_location() } else { 0 };
        *libc::__errno_location() = errno;
        error
    }
}

/// pthread_sigmask(3) without SIGTRAP.
///
/// # Safety
/// As that.
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_arch = "x86_64",
    not(target_feature = "crt-static")
))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_sigmask(
    how: libc::c_int,
    set: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> libc::c_int {
    // SAFETY: the caller says so.
    unsafe { change(how, set, old) }
}

/// sigprocmask(2) without SIGTRAP.
///
/// # Safety
/// As that.
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_arch = "x86_64",
    not(target_feature = "crt-static")
))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigprocmask(
    how: libc::c_int,
    set: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> libc::c_int {
    // SAFETY: the caller says so; errno is this thread's own.
    unsafe {
        match change(how, set, old) {
            0 => 0,
            error => {
                *libc::__errno_location() = error;
                -1
            }
        }
    }
}

/// sigaction(2), of which the handler does not block SIGTRAP.
///
/// # Safety
/// As that.
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_arch = "x86_64",
    not(target_feature = "crt-static")
))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaction(
    signal: libc::c_int,
    action: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> libc::c_int {
    unsafe extern "C" {
        /// The same function by the name that the C library has it under for itself.
        fn __sigaction(
            signal: libc::c_int,
            action: *const libc::sigaction,
            old: *mut libc::sigaction,
        ) -> libc::c_int;
    }
    // SAFETY: the caller gives pointers as sigaction(2) wants them; the copy lives across the call.
    unsafe {
        if action.is_null() || !IN_FORCE.load(Ordering::Acquire) {
            return __sigaction(signal, action, old);
        }
        let mut own = action.read();
        libc::sigdelset(&raw mut own.sa_mask, libc::SIGTRAP);
        __sigaction(signal, &raw const own, old)
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod tests {
    fn now() -> [i32; 3] {
        // SAFETY: the set is this function's own.
        unsafe {
            let mut now = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut now);
            [libc::SIGTRAP, libc::SIGTERM, 33].map(|signal| libc::sigismember(&raw const now, signal))
        }
    }

    #[test]
    fn no_way_of_the_c_library_blocks_traps() {
        std::thread::spawn(|| {
            crate::install().unwrap();
            // SAFETY: the sets are this test's own, and the mask is that of its own thread.
            unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&raw mut all);
                assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()), 0);
                assert_eq!(now(), [0, 1, 0]);
                assert_eq!(libc::sigprocmask(libc::SIG_UNBLOCK, &raw const all, std::ptr::null_mut()), 0);
                assert_eq!(now(), [0, 0, 0]);
                assert_eq!(libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()), 0);
                assert_eq!(now(), [0, 1, 0]);
                assert_eq!(libc::sigprocmask(77, &raw const all, std::ptr::null_mut()), -1);
                assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINVAL));
                assert_eq!(libc::pthread_sigmask(77, &raw const all, std::ptr::null_mut()), libc::EINVAL);
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_handler_does_not_block_traps() {
        extern "C" fn nothing(_: i32) {}
        crate::install().unwrap();
        // SAFETY: the action is this test's own, for a signal that nobody sends.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            libc::sigfillset(&raw mut action.sa_mask);
            assert_eq!(libc::sigaction(libc::SIGWINCH, &raw const action, std::ptr::null_mut()), 0);
            let mut got: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(libc::SIGWINCH, std::ptr::null(), &raw mut got), 0);
            assert_eq!(got.sa_sigaction, action.sa_sigaction);
            let blocked = [libc::SIGTRAP, libc::SIGTERM]
                .map(|signal| libc::sigismember(&raw const got.sa_mask, signal));
            assert_eq!(blocked, [0, 1]);
            libc::signal(libc::SIGWINCH, libc::SIG_DFL);
        }
    }
}
