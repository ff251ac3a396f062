//! Agents that the system refuses ptrace.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `CAP_SYS_PTRACE` of capabilities(7).
const CAP_SYS_PTRACE: libc::c_ulong = 19;

/// Makes the kernel refuse the system call `ptrace`, as the filter of a container may.
pub fn forbid_ptrace(agent: &mut Command) -> &mut Command {
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let filter = || {
        let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        // The number of the call is the first word that a filter is given.
        let steps = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_ptrace as u32),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, REFUSE),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, ALLOW),
        ];
        let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_ptr().cast_mut() };
        // SAFETY: both calls take numbers, and a program that lives until they have returned; they allocate nothing.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls and nothing else.
    unsafe { agent.pre_exec(filter) }
}

/// Makes an agent like any other user's, also when the administrator runs the tests: a program that has made itself undumpable is not
/// for it.
pub fn without_capability(agent: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec the closure makes one system call, which takes numbers.
    unsafe {
        agent.pre_exec(|| {
            // Who has no capabilities may not drop one, and need not.
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0);
            Ok(())
        })
    }
}
