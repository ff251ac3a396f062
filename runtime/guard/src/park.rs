//! Threads that wait in a signal handler for what the debug agent says.
//!
//! Everything here runs in signal handlers, where nothing may be called but system calls.

use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crate::trap;
use crate::wire::{EVENT, EVENT_WORDS, Event, GENERAL_WORDS, GO_CHAIN};

/// Threads that can wait at one time.
const SLOTS: usize = 1024;
const NOBODY: i32 = -1;
/// `ARCH_GET_FS` of arch_prctl(2).
const ARCH_GET_FS: libc::c_int = 0x1003;
const TRAP_FLAG: i64 = 1 << 8;
/// How long a thread sleeps before it looks again whether the agent is still there.
const LOOK_AGAIN_SECONDS: i64 = 1;

/// The agent's socket.
static AGENT: AtomicI32 = AtomicI32::new(NOBODY);
/// The process that the agent debugs: one that was made from it by fork has these memory contents too, and no helper.
static OWNER: AtomicI32 = AtomicI32::new(0);
/// The helper's thread, which never waits.
static HELPER: AtomicI32 = AtomicI32::new(0);

/// Where a thread waits.
struct Slot {
    /// 0 when nobody does.
    tid: AtomicI32,
    /// 0 while it waits.
    go: AtomicU32,
    context: AtomicPtr<libc::ucontext_t>,
}

static SLOTS_OF_THREADS: [Slot; SLOTS] = [const {
    Slot { tid: AtomicI32::new(0), go: AtomicU32::new(0), context: AtomicPtr::new(std::ptr::null_mut()) }
}; SLOTS];

/// How a thread goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parked {
    /// It runs on, with the registers that it has by now.
    Goes,
    /// It takes its signal.
    TakesSignal,
    /// There is no agent, or this thread may not wait.
    NotAtAll,
}

/// The helper's thread, once it runs.
pub(crate) fn set_helper(tid: i32) {
    // SAFETY: getpid has no arguments and cannot fail.
    OWNER.store(unsafe { libc::getpid() }, Ordering::SeqCst);
    HELPER.store(tid, Ordering::SeqCst);
}

/// From here on threads wait for this agent.
pub(crate) fn set_agent(socket: i32) {
    AGENT.store(socket, Ordering::SeqCst);
}

/// The agent is gone: every thread goes on. `undo` takes back what the agent has patched. Returns when no thread uses the agent's
/// socket any more, so that it can be closed: its number may soon be another file's.
pub(crate) fn release_all(undo: impl Fn()) {
    AGENT.store(NOBODY, Ordering::SeqCst);
    undo();
    loop {
        let mut is_empty = true;
        for slot in &SLOTS_OF_THREADS {
            if slot.tid.load(Ordering::SeqCst) != 0 {
                is_empty = false;
                wake(slot);
            }
        }
        if is_empty {
            return;
        }
        let moment = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // SAFETY: the time lives across the call, and nothing is written.
        unsafe { libc::nanosleep(&raw const moment, std::ptr::null_mut()) };
    }
}

/// Gives a waiting thread registers and lets it go.
pub(crate) fn resume(index: usize, how: u64, general: &[u64; GENERAL_WORDS]) {
    let Some(slot) = SLOTS_OF_THREADS.get(index) else { return };
    let context = slot.context.load(Ordering::SeqCst);
    if slot.tid.load(Ordering::SeqCst) == 0 || slot.go.load(Ordering::SeqCst) != 0 || context.is_null() {
        return;
    }
    // SAFETY: the slot's thread waits in its handler until `go` is set, and its context lives that long; nobody else uses it.
    unsafe {
        for (register, value) in (*context).uc_mcontext.gregs.iter_mut().zip(general) {
            *register = *value as i64;
        }
    }
    slot.go.store(how as u32, Ordering::SeqCst);
    wake(slot);
}

fn wake(slot: &Slot) {
    // SAFETY: the word is a static.
    unsafe {
        libc::syscall(libc::SYS_futex, slot.go.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
    }
}

/// Lets the current thread wait for the agent, if there is one. With `rewind_to` it is moved there first.
///
/// # Safety
/// Only from a signal handler, with the context that the kernel gave it.
pub(crate) unsafe fn park(context: *mut libc::ucontext_t, code: u64, rewind_to: Option<u64>) -> Parked {
    if AGENT.load(Ordering::SeqCst) == NOBODY {
        return Parked::NotAtAll;
    }
    // SAFETY: neither has arguments, and neither can fail.
    let (pid, tid) = unsafe { (libc::getpid(), libc::gettid()) };
    if pid != OWNER.load(Ordering::SeqCst) || tid == HELPER.load(Ordering::SeqCst) {
        return Parked::NotAtAll;
    }
    let Some((index, slot)) = claim(tid) else { return Parked::NotAtAll };
    slot.context.store(context, Ordering::SeqCst);
    // Only now: who has a slot keeps the socket open.
    let agent = AGENT.load(Ordering::SeqCst);
    let parked = if agent == NOBODY {
        Parked::NotAtAll
    } else {
        // SAFETY: the caller's context is valid.
        unsafe { wait(agent, index, slot, context, code, rewind_to) }
    };
    slot.context.store(std::ptr::null_mut(), Ordering::SeqCst);
    slot.tid.store(0, Ordering::SeqCst);
    parked
}

/// A slot for this thread. `None` when all are taken; or when it has one, as code that its handler calls is patched itself.
fn claim(tid: i32) -> Option<(usize, &'static Slot)> {
    if SLOTS_OF_THREADS.iter().any(|slot| slot.tid.load(Ordering::SeqCst) == tid) {
        return None;
    }
    let free = |slot: &Slot| slot.tid.compare_exchange(0, tid, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    SLOTS_OF_THREADS.iter().enumerate().find(|(_, slot)| free(slot))
}

/// # Safety
/// As for [`park`].
unsafe fn wait(
    agent: i32,
    index: usize,
    slot: &Slot,
    context: *mut libc::ucontext_t,
    mut code: u64,
    mut rewind_to: Option<u64>,
) -> Parked {
    loop {
        // SAFETY: the caller says so.
        let registers = unsafe { &mut (*context).uc_mcontext };
        if let Some(address) = rewind_to {
            registers.gregs[libc::REG_RIP as usize] = address as i64;
        }
        slot.go.store(0, Ordering::SeqCst);
        if !tell(agent, index, slot, registers, code, rewind_to.is_some()) {
            return Parked::NotAtAll;
        }
        loop {
            match slot.go.load(Ordering::SeqCst) {
                0 if AGENT.load(Ordering::SeqCst) == NOBODY => {
                    // The agent has died. Its patches are gone, and a step that it wanted of this thread ends here.
                    registers.gregs[libc::REG_EFL as usize] &= !TRAP_FLAG;
                    return Parked::Goes;
                }
                0 => sleep(slot),
                go if u64::from(go) == GO_CHAIN => return Parked::TakesSignal,
                _ => break,
            }
        }
        // SAFETY: as above.
        if registers.gregs[libc::REG_EFL as usize] & TRAP_FLAG == 0 || !unsafe { do_mask_call(context) } {
            return Parked::Goes;
        }
        // That was the step.
        registers.gregs[libc::REG_EFL as usize] &= !TRAP_FLAG;
        (code, rewind_to) = (trap::TRAP_TRACE as u64, None);
    }
}

/// Tells the agent that a thread waits. False when there is none.
fn tell(
    agent: i32,
    index: usize,
    slot: &Slot,
    registers: &libc::mcontext_t,
    code: u64,
    is_rewound: bool,
) -> bool {
    let mut event = Event {
        kind: EVENT,
        tid: slot.tid.load(Ordering::SeqCst) as u64,
        slot: index as u64,
        code,
        is_rewound: u64::from(is_rewound),
        vector: registers.fpregs as u64,
        ..Event::default()
    };
    for (copy, register) in event.general.iter_mut().zip(&registers.gregs) {
        *copy = *register as u64;
    }
    // SAFETY: the kernel writes one word there, which lives across the call; then it reads an event, which is words without
    // padding.
    let sent = unsafe {
        libc::syscall(libc::SYS_arch_prctl, ARCH_GET_FS, &raw mut event.fs_base);
        libc::send(agent, (&raw const event).cast(), EVENT_WORDS * 8, libc::MSG_NOSIGNAL)
    };
    sent == (EVENT_WORDS * 8) as isize
}

/// Until the agent says something, or for a while.
fn sleep(slot: &Slot) {
    let most = libc::timespec { tv_sec: LOOK_AGAIN_SECONDS, tv_nsec: 0 };
    let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word is a static, and the time lives across the call.
    unsafe {
        libc::syscall(libc::SYS_futex, slot.go.as_ptr(), wait, 0, &raw const most);
    }
}

/// A thread that is to run one instruction, the system call `rt_sigprocmask`, does not run it: the trap behind it would find SIGTRAP
/// blocked, which ends the process. What the call does is done to the mask that the thread gets back with its registers. False when the
/// instruction is another one.
///
/// # Safety
/// As for [`park`].
unsafe fn do_mask_call(context: *mut libc::ucontext_t) -> bool {
    const SYSTEM_CALL: [u8; 2] = [0x0f, 0x05];
    // SAFETY: the context is valid, and of a mask the kernel has the first word.
    let (registers, mask) =
        unsafe { (&mut (*context).uc_mcontext.gregs, (&raw mut (*context).uc_sigmask).cast::<u64>()) };
    let register = |number: i32| number as usize;
    let at = registers[register(libc::REG_RIP)] as u64;
    let mut instruction = [0; 2];
    if registers[register(libc::REG_RAX)] != libc::SYS_rt_sigprocmask
        || trap::read_memory(at, &mut instruction) != 0
        || instruction != SYSTEM_CALL
    {
        return false;
    }
    let how = registers[register(libc::REG_RDI)] as i32;
    let (set, old) = (registers[register(libc::REG_RSI)] as u64, registers[register(libc::REG_RDX)] as u64);
    let mut asked = [0; 8];
    // What is wrong with the call, the kernel shall say.
    if registers[register(libc::REG_R10)] != 8
        || !(libc::SIG_BLOCK..=libc::SIG_SETMASK).contains(&how)
        || (set != 0 && trap::read_memory(set, &mut asked) != 0)
    {
        return false;
    }
    // SAFETY: as above.
    let before = unsafe { mask.read() };
    if old != 0 && trap::write_memory(old, &before.to_le_bytes(), false) != 0 {
        return false;
    }
    if set != 0 {
        let asked = u64::from_le_bytes(asked);
        let after = match how {
            libc::SIG_BLOCK => before | asked,
            libc::SIG_UNBLOCK => before & !asked,
            _ => asked,
        };
        const NEVER: u64 = 1 << (libc::SIGTRAP - 1) | 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);
        // SAFETY: as above.
        unsafe { mask.write(after & !NEVER) };
    }
    // As the instruction leaves them (Intel's manual, SYSCALL).
    registers[register(libc::REG_RAX)] = 0;
    registers[register(libc::REG_RIP)] = at as i64 + 2;
    registers[register(libc::REG_RCX)] = at as i64 + 2;
    registers[register(libc::REG_R11)] = registers[register(libc::REG_EFL)] & !TRAP_FLAG;
    true
}
