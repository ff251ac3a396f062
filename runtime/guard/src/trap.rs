//! The trap table and the SIGTRAP handler that undoes patches whose debugger has died.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::layout::{RepairInfo, TRAP_SLOTS, TrapEntry, TrapTable};
use crate::park::{Parked, park};
use crate::scratch;

/// The table itself; debuggers find it by this name and write it from outside.
#[used]
#[unsafe(no_mangle)]
pub static MANTA_TRAP_TABLE: TrapTable = TrapTable {
    count: AtomicU32::new(0),
    reserved: 0,
    entries: [const { TrapEntry { address: AtomicU64::new(0), original: AtomicU64::new(0) } }; TRAP_SLOTS],
};

/// How the handler is given back when the kernel has taken it; debuggers find it by this name.
#[used]
#[unsafe(no_mangle)]
pub static MANTA_REPAIR: RepairInfo = RepairInfo { is_ready: AtomicU64::new(0), routine: install_again };

/// An action as the kernel has it: the handler, its flags, where it returns to, and the signals that are blocked meanwhile.
struct KernelAction(UnsafeCell<[u64; 4]>);
// SAFETY: it is written before `MANTA_REPAIR` is ready, and never again.
unsafe impl Sync for KernelAction {}
static ACTION: KernelAction = KernelAction(UnsafeCell::new([0; 4]));

const INT3: u8 = 0xcc;
const TRAP_FLAG: i64 = 1 << 8;
/// `si_code` values of SIGTRAP that the libc crate does not name on every version.
const SI_KERNEL: i32 = 0x80;
const TRAP_BRKPT: i32 = 1;
pub(crate) const TRAP_TRACE: i32 = 2;
const TRAP_HWBKPT: i32 = 4;

/// The action that SIGTRAP had before [`install`]. Written once, before the handler is in place.
struct PreviousAction(UnsafeCell<MaybeUninit<libc::sigaction>>);
// SAFETY: it is written before the handler that reads it is installed, and never again.
unsafe impl Sync for PreviousAction {}
static PREVIOUS: PreviousAction = PreviousAction(UnsafeCell::new(MaybeUninit::zeroed()));
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Is the handler in place?
pub(crate) fn is_installed() -> bool {
    INSTALLED.load(Ordering::Acquire)
}

/// Installs the SIGTRAP handler and maps the scratch area. Calling it again changes nothing.
pub fn install() -> io::Result<()> {
    if INSTALLED.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    scratch::map_near_code();
    // SAFETY: plain system calls with valid pointers. The old action is stored before the handler can run, because the
    // first call only reads it and the second sets ours.
    unsafe {
        if libc::sigaction(libc::SIGTRAP, std::ptr::null(), (*PREVIOUS.0.get()).as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        // NODEFER: code that the handler calls may itself be patched.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART | libc::SA_NODEFER;
        block_all_but_faults(&mut action.sa_mask);
        if libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        // As the C library has completed it.
        let none = std::ptr::null::<u64>();
        if libc::syscall(libc::SYS_rt_sigaction, libc::SIGTRAP, none, ACTION.0.get(), size_of::<u64>()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    MANTA_REPAIR.is_ready.store(1, Ordering::Release);
    crate::masks::keep_traps_out_of_masks();
    Ok(())
}

/// A trap in a thread that has SIGTRAP blocked ends the process, handler or not, when no debugger is there to see it.
pub(crate) fn let_traps_in() {
    // SAFETY: the set is this function's own; only the mask of the calling thread changes.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTRAP);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// See [`RepairInfo::routine`]. It changes no flag: it may be run instruction by instruction.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[unsafe(naked)]
extern "C" fn install_again() {
    std::arch::naked_asm!(
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r10",
        "push r11",
        "mov eax, {rt_sigaction}",
        "mov edi, {sigtrap}",
        "lea rsi, [rip + {action}]",
        "mov edx, 0",
        "mov r10d, 8",
        "syscall",
        "pop r11",
        "pop r10",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "ret 128",
        rt_sigaction = const libc::SYS_rt_sigaction,
        sigtrap = const libc::SIGTRAP,
        action = sym ACTION,
    )
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
extern "C" fn install_again() {}

/// While a thread waits in a handler, signals that others send it wait too. Those that it raises itself end the process when they are
/// blocked.
pub(crate) fn block_all_but_faults(mask: &mut libc::sigset_t) {
    // SAFETY: the set is valid, and so are the numbers.
    unsafe {
        libc::sigfillset(mask);
        for signal in [libc::SIGTRAP, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT]
        {
            libc::sigdelset(mask, signal);
        }
    }
}

/// Runs only when no tracer took the trap. With an agent that debugs through the helper, the thread waits here for what that says.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
extern "C" fn on_trap(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO valid pointers to both; errno is this thread's own.
    unsafe {
        let errno = *libc::__errno_location();
        let context = context.cast::<libc::ucontext_t>();
        let register = |number: i32| (&raw mut (*context).uc_mcontext.gregs[number as usize]);
        let code = (*info).si_code;
        let handled = match code {
            SI_KERNEL => {
                let address = (*register(libc::REG_RIP) as u64).wrapping_sub(1);
                let known = original_of(address).map(|_| address);
                match park(context, code as u64, known) {
                    Parked::Goes => true,
                    Parked::TakesSignal => false,
                    Parked::NotAtAll => {
                        let undone = undo_patch(address);
                        if undone {
                            *register(libc::REG_RIP) = address as i64;
                        }
                        undone
                    }
                }
            }
            // A debug register that nobody clears any more. The saved flags let the instruction run once.
            TRAP_HWBKPT => true,
            TRAP_TRACE | TRAP_BRKPT => {
                let is_step = *register(libc::REG_EFL) & TRAP_FLAG != 0;
                if !is_step || park(context, code as u64, None) == Parked::NotAtAll {
                    // Left over from a debugger that died in the middle of a single step (over a system call, the kernel says
                    // TRAP_BRKPT), or a debug register.
                    *register(libc::REG_EFL) &= !TRAP_FLAG;
                }
                true
            }
            _ => false,
        };
        if !handled {
            chain(signal, info, context.cast());
        }
        *libc::__errno_location() = errno;
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
extern "C" fn on_trap(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO valid pointers.
    unsafe { chain(signal, info, context) }
}

/// The entries that are in use.
fn entries() -> &'static [TrapEntry] {
    let count = (MANTA_TRAP_TABLE.count.load(Ordering::Acquire) as usize).min(TRAP_SLOTS);
    &MANTA_TRAP_TABLE.entries[..count]
}

/// The byte that was at a patched address.
fn original_of(address: u64) -> Option<u8> {
    let entry = entries().iter().find(|entry| entry.address.load(Ordering::Acquire) == address)?;
    Some(entry.original.load(Ordering::Acquire) as u8)
}

/// Puts the original byte of a patched address back. False when the address was never patched, or cannot be written.
fn undo_patch(address: u64) -> bool {
    let put_back = |original: u8| {
        write_through_proc(address, &[original]) || write_through_mprotect(address, &[original])
    };
    original_of(address).is_some_and(put_back)
}

/// Puts all of them back that are patched now.
pub(crate) fn undo_all() {
    for entry in entries() {
        let address = entry.address.load(Ordering::Acquire);
        let mut now = [0];
        // The code may have been unloaded; then nothing is there.
        if address != 0 && read_memory(address, &mut now) == 0 && now[0] == INT3 {
            undo_patch(address);
        }
    }
}

/// Reads this process's memory. An error number for what is not there.
pub(crate) fn read_memory(address: u64, buffer: &mut [u8]) -> i32 {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
    // SAFETY: the kernel writes into the buffer only; what is wrong with the address is an error. errno is this thread's own.
    let (read, error) = unsafe {
        let read = libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0);
        (read, *libc::__errno_location())
    };
    if read == buffer.len() as isize {
        return 0;
    }
    match error {
        _ if read >= 0 => libc::EFAULT,
        // A filter of system calls may refuse this one.
        libc::EPERM | libc::ENOSYS if read_through_proc(address, buffer) => 0,
        error => error,
    }
}

fn read_through_proc(address: u64, buffer: &mut [u8]) -> bool {
    // SAFETY: the path is a C string, no more is written than there is room, and the descriptor is closed here.
    unsafe {
        let file = libc::open(c"/proc/self/mem".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return false;
        }
        let read = libc::pread(file, buffer.as_mut_ptr().cast(), buffer.len(), address as libc::off_t);
        libc::close(file);
        read == buffer.len() as isize
    }
}

/// Writes this process's memory, code too if the agent says that it is code.
pub(crate) fn write_memory(address: u64, bytes: &[u8], is_code: bool) -> i32 {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the kernel writes where the agent says, which may do that as every debugger may.
    let write = || unsafe {
        libc::process_vm_writev(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0)
            == bytes.len() as isize
    };
    let done = !is_code && write()
        || write_through_proc(address, bytes)
        || is_code && write_through_mprotect(address, bytes);
    if done { 0 } else { libc::EFAULT }
}

/// The kernel writes to this process's read-only code through its memory file, unless it is hardened.
fn write_through_proc(address: u64, bytes: &[u8]) -> bool {
    // SAFETY: the path is a C string, the buffer is as long as it says, and the descriptor is closed here.
    unsafe {
        let file = libc::open(c"/proc/self/mem".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if file < 0 {
            return false;
        }
        let written = libc::pwrite(file, bytes.as_ptr().cast(), bytes.len(), address as libc::off_t);
        libc::close(file);
        written == bytes.len() as isize
    }
}

fn write_through_mprotect(address: u64, bytes: &[u8]) -> bool {
    // SAFETY: sysconf has no memory effects.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let page = address & !(page_bytes - 1);
    let length = (address + bytes.len() as u64).next_multiple_of(page_bytes).saturating_sub(page) as usize;
    let page = page as *mut libc::c_void;
    // SAFETY: the address is in the trap table or in the scratch area, so it lies in mapped code; the pages keep their execute
    // right all the time, because other threads run in them.
    unsafe {
        if libc::mprotect(page, length, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) != 0 {
            return false;
        }
        for (index, byte) in bytes.iter().enumerate() {
            (address as *mut u8).add(index).write_volatile(*byte);
        }
        libc::mprotect(page, length, libc::PROT_READ | libc::PROT_EXEC);
    }
    true
}

/// A trap that is none of ours goes where it would have gone without us.
///
/// # Safety
/// Only from the signal handler, with the pointers that the kernel gave it.
unsafe fn chain(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: PREVIOUS was written before the handler was installed; its handler has the type that its flags say.
    unsafe {
        let previous = (*PREVIOUS.0.get()).assume_init_ref();
        match previous.sa_sigaction {
            libc::SIG_IGN => {}
            libc::SIG_DFL => {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const action, std::ptr::null_mut());
                // Delivered when this handler returns: the process ends by SIGTRAP, as it would have.
                libc::raise(signal);
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(i32) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// One of these tests at a time: one of them takes the handler away for a moment.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline(never)]
    extern "C" fn patched(x: u64) -> u64 {
        black_box(x) + 1
    }

    /// What a debugger does from outside, done from inside: the entry first, then the patch.
    #[test]
    fn an_orphaned_patch_is_undone_and_the_instruction_runs() {
        let _alone = alone();
        install().unwrap();
        assert_ne!(
            crate::MANTA_SCRATCH.address.load(Ordering::Acquire),
            0,
            "a scratch area lies near the code"
        );
        let address = patched as *const () as usize as u64;
        // SAFETY: the function's first byte is readable.
        let original = unsafe { *(address as *const u8) };
        let entry = &MANTA_TRAP_TABLE.entries[0];
        entry.original.store(u64::from(original), Ordering::Release);
        entry.address.store(address, Ordering::Release);
        MANTA_TRAP_TABLE.count.store(1, Ordering::Release);
        for _ in 0..3 {
            assert!(write_through_proc(address, &[INT3]));
            assert_eq!(patched(41), 42);
            // SAFETY: as above.
            assert_eq!(unsafe { (address as *const u8).read_volatile() }, original);
        }
        assert!(write_through_mprotect(address, &[original]), "the second way works too");
        assert_eq!(patched(1), 2);
    }

    #[test]
    fn the_handler_is_installed_anew_and_no_register_changes() {
        let _alone = alone();
        install().unwrap();
        let (kept, mut flags): (u64, u64);
        // SAFETY: SIGTRAP gets its default action for a moment in which nothing traps. The routine is entered as its description
        // wants it.
        unsafe {
            libc::signal(libc::SIGTRAP, libc::SIG_DFL);
            std::arch::asm!(
                "sub rsp, 128",
                "stc",
                "call {routine}",
                "pushfq",
                "pop {flags}",
                routine = in(reg) MANTA_REPAIR.routine,
                flags = lateout(reg) flags,
                inout("r11") 7u64 => kept,
            );
            let mut now: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGTRAP, std::ptr::null(), &raw mut now);
            assert_eq!(now.sa_sigaction, on_trap as *const () as usize);
        }
        assert_eq!(kept, 7);
        flags &= 1;
        assert_eq!(flags, 1, "the carry flag is still set");
    }

    #[test]
    fn a_left_over_trap_flag_is_cleared() {
        let _alone = alone();
        install().unwrap();
        let x: u64;
        // SAFETY: sets the trap flag as a dying debugger leaves it; the handler clears it after the next instruction.
        unsafe {
            std::arch::asm!(
                "pushfq", "or qword ptr [rsp], 0x100", "popfq", "mov {x}, 5", "add {x}, 6",
                x = out(reg) x,
            );
        }
        assert_eq!(x, 11);
    }
}
