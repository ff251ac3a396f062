//! A thread of the process that does for a debug agent what the agent may not do from outside.
//!
//! Where the system refuses ptrace, the agent connects to this thread: it reads and writes the process's memory, interrupts threads, and
//! lets those go that wait in their signal handlers. It is started when the process first allows an agent to debug it, and it
//! serves only that agent and its children. When the agent dies, its patches are undone and every thread runs on.
//!
//! While an agent is connected, a thread may have stopped with any lock held, that of the allocator too: this thread must not
//! allocate or lock then.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use crate::layout::GUARD_VERSION;
use crate::park;
use crate::scratch::MANTA_SCRATCH;
use crate::trap;
use crate::wire::{
    CHUNK_BYTES, CODE_INTERRUPTED, FILE, FILE_ARGUMENTS, FILE_AUXILIARY, FILE_MAPPINGS, FILE_PROGRAM,
    GENERAL_WORDS, HEADER_WORDS, HELLO, INTERRUPT, LET_TRAPS_IN, PACKET_BYTES, READ, REPLY, RESUME, WRITE,
    socket_name, started_and_parent,
};

/// The helper's thread, for debuggers: they do not show it. 0 when there is none.
#[used]
#[unsafe(no_mangle)]
pub static MANTA_HELPER: AtomicI32 = AtomicI32::new(0);

/// Agents that were allowed last.
static ALLOWED: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];
static NEXT_ALLOWED: AtomicU32 = AtomicU32::new(0);
static STARTED: AtomicBool = AtomicBool::new(false);
/// The signal that interrupts a thread.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// The helper's own stack: a packet, and calls that go no deeper.
const STACK_BYTES: usize = 256 << 10;
/// Generations of processes between an agent and the one that was allowed.
const ANCESTORS_MAX: usize = 16;

/// Lets this agent and its children use the helper, and starts it if it does not run yet.
pub(crate) fn allow(pid: u32) -> io::Result<()> {
    let place = NEXT_ALLOWED.fetch_add(1, Ordering::SeqCst) as usize % ALLOWED.len();
    ALLOWED[place].store(pid, Ordering::SeqCst);
    if STARTED.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let started = listen().and_then(|listener| {
        take_a_signal()?;
        let thread = std::thread::Builder::new().name("manta-guard".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || run(&listener)).map(drop)
    });
    if started.is_err() {
        STARTED.store(false, Ordering::SeqCst);
    }
    started
}

fn stat(pid: &str) -> Option<(u64, u32)> {
    started_and_parent(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn listen() -> io::Result<OwnedFd> {
    let (started, _) = stat("self").ok_or_else(|| io::Error::other("/proc/self/stat cannot be read"))?;
    let (address, bytes) = address_of(&socket_name(std::process::id(), started));
    // SAFETY: plain system calls with valid pointers; a descriptor that was made is owned at once.
    unsafe {
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        if libc::bind(socket.as_raw_fd(), (&raw const address).cast(), bytes) != 0
            || libc::listen(socket.as_raw_fd(), 8) != 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(socket)
    }
}

/// An address in the abstract name space begins with a zero (unix(7)).
fn address_of(name: &str) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: sockaddr_un is plain data, for which all zeroes are a value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (place, byte) in address.sun_path[1..].iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    let bytes = std::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len();
    (address, bytes as libc::socklen_t)
}

/// Takes a real-time signal that the program does not use. SIGTRAP will not do: the kernel keeps one of it at a time, and would
/// forget the trap of a thread that is interrupted just then.
fn take_a_signal() -> io::Result<()> {
    if SIGNAL.load(Ordering::SeqCst) != 0 {
        return Ok(());
    }
    for signal in (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev() {
        // SAFETY: plain system calls with valid pointers; the handler has the type that the flags say.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut action) != 0
                || action.sa_sigaction != libc::SIG_DFL
            {
                continue;
            }
            action.sa_sigaction = on_interrupt as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            trap::block_all_but_faults(&mut action.sa_mask);
            if libc::sigaction(signal, &raw const action, std::ptr::null_mut()) == 0 {
                SIGNAL.store(signal, Ordering::SeqCst);
                return Ok(());
            }
        }
    }
    Err(io::Error::other("the program uses all real-time signals"))
}

/// What a signal that interrupts carries when the thread is only to take traps from now on.
const TAKE_TRAPS: usize = 1;

extern "C" fn on_interrupt(_signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid context and what it was sent with; errno is this thread's own. An
    // interrupt that is left over from an agent that has gone changes nothing.
    unsafe {
        let errno = *libc::__errno_location();
        let context = context.cast::<libc::ucontext_t>();
        // What the handler calls may be patched itself, and so may what the thread does when it runs on.
        trap::let_traps_in();
        libc::sigdelset(&raw mut (*context).uc_sigmask, libc::SIGTRAP);
        if (*info).si_code != libc::SI_QUEUE || (*info).si_value().sival_ptr as usize != TAKE_TRAPS {
            let _parked = park::park(context, CODE_INTERRUPTED, None);
        }
        *libc::__errno_location() = errno;
    }
}

/// Sends a thread of this process the signal that interrupts, so that it takes traps from now on. 0, or an error number.
fn let_traps_in(tid: i32) -> i32 {
    let signal = SIGNAL.load(Ordering::SeqCst);
    // SAFETY: all zeroes are a value of the structure, of which the kernel reads the parts that belong to a queued signal: those of
    // `siginfo_t` from its fifth word on, which begins with the process, the user and the value.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        info.si_signo = signal;
        info.si_code = libc::SI_QUEUE;
        let words = (&raw mut info).cast::<u64>();
        words.add(2).write(u64::from(std::process::id()));
        words.add(3).write(TAKE_TRAPS as u64);
        let pid = libc::getpid();
        let sent = libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, tid, signal, &raw const info);
        if sent == 0 { 0 } else { errno() }
    }
}

fn run(listener: &OwnedFd) {
    // SAFETY: neither has arguments, and neither can fail.
    let tid = unsafe { libc::gettid() };
    MANTA_HELPER.store(tid, Ordering::SeqCst);
    park::set_helper(tid);
    loop {
        // SAFETY: nothing is asked of the address; a descriptor that was made is owned at once.
        let agent = unsafe {
            let agent = libc::accept4(
                listener.as_raw_fd(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                libc::SOCK_CLOEXEC,
            );
            (agent >= 0).then(|| OwnedFd::from_raw_fd(agent))
        };
        let Some(agent) = agent else { continue };
        if is_allowed(&agent) {
            serve(&agent);
        }
    }
}

/// Is the other end an agent that was allowed, or a process that one has started, of this user or of the administrator?
fn is_allowed(agent: &OwnedFd) -> bool {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut bytes = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the place for the result is as large as it says; geteuid has no arguments and cannot fail.
    let (asked, own) = unsafe {
        let asked = libc::getsockopt(
            agent.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut bytes,
        );
        (asked, libc::geteuid())
    };
    if asked != 0 || (peer.uid != own && peer.uid != 0) {
        return false;
    }
    let mut pid = peer.pid as u32;
    for _ in 0..ANCESTORS_MAX {
        if pid == 0 {
            return false;
        }
        if ALLOWED.iter().any(|allowed| allowed.load(Ordering::SeqCst) == pid) {
            return true;
        }
        match stat(&pid.to_string()) {
            Some((_, parent)) => pid = parent,
            None => return false,
        }
    }
    false
}

/// A packet: its words, then its bytes.
#[repr(C)]
struct Packet {
    words: [u64; HEADER_WORDS],
    bytes: [u8; CHUNK_BYTES],
}

fn send(agent: &OwnedFd, packet: &Packet, bytes: usize) {
    // SAFETY: a packet is words and bytes without padding, and no more of it is read. An agent that is gone is noticed by the
    // next `recv`.
    unsafe {
        libc::send(
            agent.as_raw_fd(),
            std::ptr::from_ref(packet).cast(),
            HEADER_WORDS * 8 + bytes.min(CHUNK_BYTES),
            libc::MSG_NOSIGNAL,
        );
    }
}

fn reply(agent: &OwnedFd, packet: &mut Packet, error: i32, bytes: usize) {
    packet.words = [REPLY, packet.words[1], error as u64, 0];
    send(agent, packet, bytes);
}

/// Does what an agent says until it is gone.
fn serve(agent: &OwnedFd) {
    let mut packet = Packet { words: [0; HEADER_WORDS], bytes: [0; CHUNK_BYTES] };
    let facts = [
        u64::from(GUARD_VERSION),
        MANTA_HELPER.load(Ordering::SeqCst) as u64,
        u64::from(can_write_code()),
        SIGNAL.load(Ordering::SeqCst) as u64,
    ];
    packet.words = [HELLO, 0, 0, 0];
    for (place, fact) in packet.bytes.chunks_exact_mut(8).zip(facts) {
        place.copy_from_slice(&fact.to_le_bytes());
    }
    send(agent, &packet, facts.len() * 8);
    park::set_agent(agent.as_raw_fd());
    loop {
        // SAFETY: a packet is words and bytes, for which everything is a value, and no more is written.
        let got = unsafe { libc::recv(agent.as_raw_fd(), (&raw mut packet).cast(), PACKET_BYTES, 0) };
        match usize::try_from(got) {
            Ok(0) => break,
            Ok(bytes) => obey(agent, &mut packet, bytes.saturating_sub(HEADER_WORDS * 8)),
            // SAFETY: errno is this thread's own.
            Err(_) if unsafe { *libc::__errno_location() } == libc::EINTR => {}
            Err(_) => break,
        }
    }
    park::release_all(trap::undo_all);
}

fn obey(agent: &OwnedFd, packet: &mut Packet, bytes: usize) {
    let [kind, _, first, second] = packet.words;
    match kind {
        READ => {
            let most = (second as usize).min(CHUNK_BYTES);
            let error = trap::read_memory(first, &mut packet.bytes[..most]);
            reply(agent, packet, error, if error == 0 { most } else { 0 });
        }
        WRITE => {
            let error = trap::write_memory(first, &packet.bytes[..bytes], second == 1);
            reply(agent, packet, error, 0);
        }
        FILE => give_file(agent, packet, first),
        RESUME => {
            let mut general = [0; GENERAL_WORDS];
            for (register, word) in general.iter_mut().zip(packet.bytes[..bytes].chunks_exact(8)) {
                *register = u64::from_le_bytes([
                    word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7],
                ]);
            }
            park::resume(first as usize, second, &general);
        }
        INTERRUPT => {
            let signal = SIGNAL.load(Ordering::SeqCst);
            // SAFETY: a thread of this process is sent a signal whose handler is installed.
            let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), first as i32, signal) };
            let error = if sent == 0 { 0 } else { errno() };
            reply(agent, packet, error, 0);
        }
        LET_TRAPS_IN => reply(agent, packet, let_traps_in(first as i32), 0),
        _ => reply(agent, packet, libc::ENOSYS, 0),
    }
}

fn errno() -> i32 {
    // SAFETY: errno is this thread's own.
    unsafe { *libc::__errno_location() }
}

/// Can breakpoints be set at all? Tried with a byte of the scratch area, which keeps its value.
fn can_write_code() -> bool {
    let scratch = MANTA_SCRATCH.address.load(Ordering::SeqCst);
    let mut byte = [0];
    scratch != 0
        && trap::read_memory(scratch, &mut byte) == 0
        && trap::write_memory(scratch, &byte, true) == 0
}

fn give_file(agent: &OwnedFd, packet: &mut Packet, which: u64) {
    let path = match which {
        FILE_MAPPINGS => c"/proc/self/maps",
        FILE_AUXILIARY => c"/proc/self/auxv",
        FILE_ARGUMENTS => c"/proc/self/cmdline",
        FILE_PROGRAM => {
            // SAFETY: the path is a C string, and no more is written than there is room.
            let bytes = unsafe {
                libc::readlink(c"/proc/self/exe".as_ptr(), packet.bytes.as_mut_ptr().cast(), CHUNK_BYTES)
            };
            match usize::try_from(bytes) {
                Ok(bytes) => {
                    reply(agent, packet, 0, bytes);
                    return reply(agent, packet, 0, 0);
                }
                Err(_) => return reply(agent, packet, errno(), 0),
            }
        }
        _ => return reply(agent, packet, libc::EINVAL, 0),
    };
    // SAFETY: the path is a C string, and no more is written than there is room; the descriptor is closed here.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return reply(agent, packet, errno(), 0);
        }
        loop {
            let bytes = libc::read(file, packet.bytes.as_mut_ptr().cast(), CHUNK_BYTES);
            match usize::try_from(bytes) {
                Ok(bytes) => {
                    reply(agent, packet, 0, bytes);
                    if bytes == 0 {
                        break;
                    }
                }
                Err(_) => {
                    reply(agent, packet, errno(), 0);
                    break;
                }
            }
        }
        libc::close(file);
    }
}
