//! Whether a process can be debugged, and if not, why: looked at in `/proc` before anything of it is touched, and again when the kernel
//! has refused.

use std::fs::{self, File};
use std::io::{self, Read};

use crate::engine::{Engine, Mode};
use crate::in_process::{NoHelper, Process};
use crate::snapshot_only;
use crate::tracer::Live;

/// Why a process cannot be debugged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none.
    #[error("there is no process {pid}; look for its number with `pgrep` or `ps`")]
    NoProcess {
        /// The number.
        pid: i32,
    },
    /// It is one of a process's threads.
    #[error("{pid} is a thread of the process {process}; give that number")]
    Thread {
        /// The number.
        pid: i32,
        /// Its process.
        process: i32,
    },
    /// It is a part of the kernel.
    #[error("the process {pid} ({name}) is a thread of the kernel, which has no program to debug")]
    Kernel {
        /// The number.
        pid: i32,
        /// Its name.
        name: String,
    },
    /// It is over.
    #[error("the process {pid} ({name}) has ended, and only waits for its parent to take note of it")]
    Ended {
        /// The number.
        pid: i32,
        /// Its name.
        name: String,
    },
    /// It runs code that this engine does not read.
    #[error(
        "the process {pid} runs a program {what}; this engine debugs 64-bit programs for x86-64 only: use gdb or lldb"
    )]
    Architecture {
        /// The number.
        pid: i32,
        /// What it is.
        what: String,
    },
    /// Only one debugger can trace a thread.
    #[error(
        "the process {pid} is debugged already, by the process {tracer} ({name}); end that debugger first"
    )]
    Traced {
        /// The number.
        pid: i32,
        /// The other debugger.
        tracer: i32,
        /// Its name.
        name: String,
    },
    /// It is another user's.
    #[error(
        "the process {pid} belongs to {owner}, and this agent runs as {own}; run it as that user, or with CAP_SYS_PTRACE"
    )]
    OtherUser {
        /// The number.
        pid: i32,
        /// Whose it is.
        owner: String,
        /// Whose the agent is.
        own: String,
    },
    /// The system wants more than the right user.
    #[error("the process {pid} may not be debugged by this agent: {}", rule(*.scope))]
    Yama {
        /// The number.
        pid: i32,
        /// `/proc/sys/kernel/yama/ptrace_scope`
        scope: u8,
    },
    /// Something else.
    #[error(
        "the process {pid} may not be debugged: {cause}; a seccomp filter or a security module forbids ptrace here, or the process has \
         made itself undumpable (prctl PR_SET_DUMPABLE), as setuid programs are"
    )]
    Denied {
        /// The number.
        pid: i32,
        /// What the kernel said.
        cause: String,
    },
    /// The system refuses ptrace, and the process does not help itself.
    #[error("{refused}. It cannot be debugged in-process either: {reason}")]
    NoHelp {
        /// Why not by ptrace.
        refused: Box<Refused>,
        /// Why not in-process.
        reason: String,
    },
    /// What the kernel never says of a process that is there.
    #[error("the process {pid} cannot be debugged: {cause}")]
    Other {
        /// The number.
        pid: i32,
        /// What it said.
        cause: String,
    },
}

impl Refused {
    /// May the process still allow it?
    #[must_use]
    pub fn may_be_allowed_later(&self) -> bool {
        match self {
            // A process that may not be traced may still let the agent in.
            Self::NoHelp { .. } | Self::Yama { .. } | Self::Denied { .. } | Self::Traced { .. } => true,
            _ => false,
        }
    }
}

/// See the kernel's `Documentation/admin-guide/LSM/Yama.rst`.
fn rule(scope: u8) -> &'static str {
    match scope {
        1 => {
            "the system allows it to a process's ancestors only (/proc/sys/kernel/yama/ptrace_scope is 1); start the program \
             from the agent's parent, let it call prctl(PR_SET_PTRACER), or run the agent with CAP_SYS_PTRACE"
        }
        2 => {
            "the system allows it to administrators only (/proc/sys/kernel/yama/ptrace_scope is 2); run the agent with CAP_SYS_PTRACE"
        }
        _ => {
            "the system allows it to nobody until it is started again (/proc/sys/kernel/yama/ptrace_scope is 3)"
        }
    }
}

/// What `/proc` says of a process.
struct Facts {
    status: String,
    stat: String,
    header: Vec<u8>,
}

/// `PF_KTHREAD` of the kernel's flags of a process.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// As far as `e_machine` of elf(5).
const HEADER_BYTES: usize = 20;

impl Facts {
    fn read(pid: i32) -> Option<Self> {
        let file = |name: &str| format!("/proc/{pid}/{name}");
        let status = fs::read_to_string(file("status")).ok()?;
        let stat = fs::read_to_string(file("stat")).ok()?;
        let mut header = Vec::new();
        // Another user's cannot be read, and a thread of the kernel has none.
        let _read =
            File::open(file("exe")).and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut header));
        Some(Self { status, stat, header })
    }

    fn field(&self, name: &str) -> &str {
        let line = self.status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim()
    }

    fn number(&self, name: &str) -> i32 {
        self.field(name).split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// The name stands in brackets and may have spaces; the flags are the seventh word after it (proc_pid_stat(5)).
    fn is_of_kernel(&self) -> bool {
        let rest = self.stat.rsplit(')').next().unwrap_or_default();
        let flags = rest.split_whitespace().nth(6).and_then(|word| word.parse::<u64>().ok());
        flags.is_some_and(|flags| flags & KERNEL_THREAD != 0)
    }

    /// What in it keeps every debugger away, or this one.
    fn judge(&self, pid: i32) -> Result<(), Refused> {
        let name = || self.field("Name").to_owned();
        let process = self.number("Tgid");
        if process != pid && process != 0 {
            return Err(Refused::Thread { pid, process });
        }
        if self.is_of_kernel() {
            return Err(Refused::Kernel { pid, name: name() });
        }
        if self.field("State").starts_with(['Z', 'X']) {
            return Err(Refused::Ended { pid, name: name() });
        }
        if let Some(what) = foreign(&self.header) {
            return Err(Refused::Architecture { pid, what });
        }
        let tracer = self.number("TracerPid");
        if tracer != 0 {
            let name = fs::read_to_string(format!("/proc/{tracer}/comm")).unwrap_or_default();
            return Err(Refused::Traced { pid, tracer, name: name.trim_end().to_owned() });
        }
        Ok(())
    }
}

/// What a program is, by its ELF header, if it is none that this engine debugs.
fn foreign(header: &[u8]) -> Option<String> {
    let machine = u16::from_le_bytes(header.get(18..20)?.try_into().ok()?);
    let is_32_bit = header.get(4) == Some(&1);
    match (is_32_bit, machine) {
        (false, 62) => None,
        (true, 3) => Some("for 32-bit x86".to_owned()),
        (true, 62) => Some("with 32-bit addresses (x32)".to_owned()),
        (_, 40) => Some("for 32-bit ARM".to_owned()),
        (_, 183) => Some("for aarch64".to_owned()),
        (_, 243) => Some("for RISC-V".to_owned()),
        (_, other) => Some(format!("for another processor (ELF machine {other})")),
    }
}

/// Looks at a process before it is attached to.
pub fn check(pid: i32) -> Result<(), Refused> {
    Facts::read(pid).ok_or(Refused::NoProcess { pid })?.judge(pid)
}

/// Attaches to a process by the best means that there are: ptrace; or, where the system refuses that, what the process itself can do.
/// A process that another debugger traces is only looked at, if the caller `takes_pictures`; else it is refused.
pub fn attach(pid: i32, mode: Mode, takes_pictures: bool) -> Result<Engine, Refused> {
    let other = |cause: io::Error| Refused::Other { pid, cause: cause.to_string() };
    let unhelped = |refused: Refused, reason: NoHelper| Refused::NoHelp {
        refused: Box::new(refused),
        reason: reason.to_string(),
    };
    match check(pid) {
        Ok(()) => {}
        Err(refused @ Refused::Traced { .. }) if takes_pictures => {
            return match Process::connect(pid) {
                Ok(process) => {
                    Engine::of(Live::new(snapshot_only::Process::new(process)), mode).map_err(other)
                }
                Err(reason) => Err(unhelped(refused, reason)),
            };
        }
        Err(refused) => return Err(refused),
    }
    let refused = match Engine::attach(pid, mode) {
        Ok(engine) => return Ok(engine),
        Err(cause) => explain(pid, &cause),
    };
    if !matches!(refused, Refused::Yama { .. } | Refused::Denied { .. }) {
        return Err(refused);
    }
    match Process::connect(pid) {
        // It allows ptrace before it opens its helper: perhaps it has done both just now.
        Ok(process) => {
            Engine::attach(pid, mode).or_else(|_| Engine::of(Live::new(process), mode)).map_err(other)
        }
        Err(reason) => Err(unhelped(refused, reason)),
    }
}

/// Finds out why the kernel has refused a process that [`check`] let pass.
#[must_use]
pub fn explain(pid: i32, cause: &io::Error) -> Refused {
    let Some(process) = Facts::read(pid) else { return Refused::NoProcess { pid } };
    if let Err(refused) = process.judge(pid) {
        return refused;
    }
    if !matches!(cause.raw_os_error(), Some(libc::EPERM | libc::EACCES)) {
        return Refused::Other { pid, cause: cause.to_string() };
    }
    let (owner, own) = (process.number("Uid"), nix::unistd::geteuid());
    if own.as_raw().cast_signed() != owner && !own.is_root() {
        let owner = nix::unistd::Uid::from_raw(owner.cast_unsigned());
        return Refused::OtherUser { pid, owner: user(owner), own: user(own) };
    }
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    match scope.ok().and_then(|scope| scope.trim().parse().ok()) {
        Some(scope @ 1..) => Refused::Yama { pid, scope },
        _ => Refused::Denied { pid, cause: cause.to_string() },
    }
}

fn user(uid: nix::unistd::Uid) -> String {
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => format!("{} (uid {uid})", user.name),
        _ => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tmy job\nState:\tS (sleeping)\nTgid:\t7\nPid:\t7\nTracerPid:\t0\nUid:\t1000\t1000\t1000\t1000\n";
    const STAT: &str = "7 (my job) S 1 7 7 0 -1 4194304 120 0";

    fn process(status: &str, stat: &str, header: &[u8]) -> Facts {
        Facts { status: status.to_owned(), stat: stat.to_owned(), header: header.to_vec() }
    }

    fn header(class: u8, machine: u16) -> Vec<u8> {
        let mut header = b"\x7fELF".to_vec();
        header.resize(HEADER_BYTES, 0);
        header[4] = class;
        header[18..].copy_from_slice(&machine.to_le_bytes());
        header
    }

    #[test]
    fn an_ordinary_process_is_accepted() {
        assert_eq!(process(STATUS, STAT, &header(2, 62)).judge(7), Ok(()));
        // The header of another user's program cannot be read; the kernel says the rest.
        assert_eq!(process(STATUS, STAT, &[]).judge(7), Ok(()));
    }

    #[test]
    fn what_cannot_be_debugged_is_refused_with_the_reason() {
        let said = |status: &str, stat: &str, header: &[u8], pid| {
            process(status, stat, header).judge(pid).unwrap_err().to_string()
        };
        let own = header(2, 62);
        assert_eq!(said(STATUS, STAT, &own, 9), "9 is a thread of the process 7; give that number");
        let kernel = STAT.replace("4194304", "2129984");
        assert!(said(STATUS, &kernel, &[], 7).contains("(my job) is a thread of the kernel"));
        let ended = STATUS.replace("S (sleeping)", "Z (zombie)");
        assert!(said(&ended, STAT, &[], 7).contains("has ended"));
        let traced = STATUS.replace("TracerPid:\t0", "TracerPid:\t1");
        assert!(said(&traced, STAT, &own, 7).contains("is debugged already, by the process 1"));
        assert!(said(STATUS, STAT, &header(1, 3), 7).contains("a program for 32-bit x86; this engine"));
        assert!(said(STATUS, STAT, &header(2, 183), 7).contains("for aarch64"));
        assert!(said(STATUS, STAT, &header(2, 8), 7).contains("ELF machine 8"));
    }

    #[test]
    fn each_rule_of_yama_says_what_to_do() {
        let said = |scope| Refused::Yama { pid: 7, scope }.to_string();
        assert!(said(1).contains("PR_SET_PTRACER"));
        assert!(said(2).contains("administrators only"));
        assert!(said(3).contains("nobody"));
        assert!(Refused::Yama { pid: 7, scope: 1 }.may_be_allowed_later());
        assert!(!Refused::NoProcess { pid: 7 }.may_be_allowed_later());
    }
}
