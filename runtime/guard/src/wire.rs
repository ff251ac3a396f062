//! What the helper thread of a process and its debug agent say to each other, where the system refuses ptrace.
//!
//! They talk through a Unix socket of packets. Each packet begins with words, of which the first says what it is. Of those of the agent
//! the second is a number of its choice, which comes back in the answer; what is listed below are the two words after that. A change
//! of anything here is a change of [`crate::GUARD_VERSION`].

/// The helper greets an agent. Its bytes are words: version, the helper's thread, whether code can be written (0 or 1), the signal
/// that interrupts.
pub const HELLO: u64 = 1;
/// The helper answers: the request's number, an error number of the system or 0, then bytes.
pub const REPLY: u64 = 2;
/// A thread has stopped, and waits: see [`Event`].
pub const EVENT: u64 = 3;
/// Read memory: address, bytes. Answered with the bytes.
pub const READ: u64 = 16;
/// Write memory: address, 1 for code or 0, then the bytes. Answered.
pub const WRITE: u64 = 17;
/// Read what the system says of the process: one of `FILE_…`. Answered by several packets, the last without bytes.
pub const FILE: u64 = 18;
/// Let a stopped thread go: its slot, [`GO_ON`] or [`GO_CHAIN`], then its [`GENERAL_WORDS`] registers. Not answered.
pub const RESUME: u64 = 19;
/// Stop a running thread: its id. Answered; the stop itself is an event.
pub const INTERRUPT: u64 = 20;
/// Let a running thread take traps, whatever it blocks: its id. Answered when it was told to; it does so when it next runs.
pub const LET_TRAPS_IN: u64 = 21;

/// The list of mappings, as in `/proc/self/maps`.
pub const FILE_MAPPINGS: u64 = 0;
/// The path of the program.
pub const FILE_PROGRAM: u64 = 1;
/// The auxiliary vector.
pub const FILE_AUXILIARY: u64 = 2;
/// The arguments, each with a zero at its end.
pub const FILE_ARGUMENTS: u64 = 3;

/// Run on.
pub const GO_ON: u64 = 1;
/// Take the signal, as if no debugger were there.
pub const GO_CHAIN: u64 = 2;

/// Words of registers: `gregs` of the `mcontext_t` of x86-64 Linux.
pub const GENERAL_WORDS: usize = 23;
/// Words before the bytes of a packet.
pub const HEADER_WORDS: usize = 4;
/// Bytes that are read or written at a time.
pub const CHUNK_BYTES: usize = 32 << 10;
/// The largest packet.
pub const PACKET_BYTES: usize = HEADER_WORDS * 8 + CHUNK_BYTES;

/// A thread that was interrupted, in [`Event::code`]; other codes are the kernel's for SIGTRAP.
pub const CODE_INTERRUPTED: u64 = 0;

/// A thread that has stopped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    /// [`EVENT`].
    pub kind: u64,
    /// The thread.
    pub tid: u64,
    /// Where it waits.
    pub slot: u64,
    /// Why it stopped: [`CODE_INTERRUPTED`], or the `si_code` of its SIGTRAP.
    pub code: u64,
    /// 1 when it was moved back to the patched instruction that it has run.
    pub is_rewound: u64,
    /// Where its vector registers are, as FXSAVE stores them; 0 for nowhere.
    pub vector: u64,
    /// Where its thread-local storage is.
    pub fs_base: u64,
    /// As in `gregs`.
    pub general: [u64; GENERAL_WORDS],
}

/// Words of an [`Event`].
pub const EVENT_WORDS: usize = size_of::<Event>() / 8;

/// The name of the socket of a process, in Linux's abstract name space: that goes by the network, and processes of several
/// containers may have one number there, but hardly one start as well. `started` is that of `/proc/PID/stat`, in clock ticks.
#[must_use]
pub fn socket_name(pid: u32, started: u64) -> String {
    format!("manta-guard-{pid}-{started}")
}

/// When a process was started, and its parent, from the text of `/proc/PID/stat` (proc_pid_stat(5)).
#[must_use]
pub fn started_and_parent(stat: &str) -> Option<(u64, u32)> {
    // The name stands in brackets and may have anything in it.
    let mut words = stat.rsplit(')').next()?.split_whitespace();
    let parent = words.nth(1)?.parse().ok()?;
    Some((words.nth(17)?.parse().ok()?, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let stat = "7 (a) b) S 5 7 7 0 -1 4194304 120 0 0 0 1 2 3 4 20 0 1 0 98765 1000 200";
        assert_eq!(started_and_parent(stat), Some((98765, 5)));
        assert_eq!(started_and_parent("7 (a) S 5"), None);
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (started, parent) = started_and_parent(&own).unwrap();
        assert!(started > 0);
        assert_eq!(parent, std::os::unix::process::parent_id());
    }
}
