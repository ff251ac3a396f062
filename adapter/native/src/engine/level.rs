//! How well a process can be debugged. It is found out when the engine attaches, and told to the client.

use super::sites::HARDWARE_SITES;
use super::{Engine, Mode};
use crate::tracer::Means;

/// What can be done with a process that can be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Full,
    /// The program does not link the guard: its code is never changed.
    Registers,
    /// The system refuses ptrace, and the program helps itself.
    InProcess,
    /// The same, and it cannot be patched.
    InProcessUnpatched,
    /// Another debugger traces it.
    SnapshotOnly,
}

/// What cannot be done at the lowest level, and why.
pub const SNAPSHOT_ONLY: &str =
    "another debugger traces the process, so that only pictures of it can be taken";

impl Level {
    /// In a few words, for lists.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Registers => "debug registers only",
            Self::InProcess => "in-process",
            Self::InProcessUnpatched => "in-process without breakpoints",
            Self::SnapshotOnly => "snapshot only",
        }
    }

    /// What the user should know of it.
    #[must_use]
    pub fn sentence(self) -> String {
        match self {
            Self::Full => "Debugging level: full. Breakpoints have no limit, and the program lives on if the debugger is killed."
                .to_owned(),
            Self::InProcess => "Debugging level: in-process, as the system refuses ptrace: the program's own signal handlers stop its threads. \
                 Breakpoints and steps have no limit, and the program lives on if the debugger is killed. There are no data breakpoints, \
                 fatal signals are not stopped at, and a pause may interrupt a system call (EINTR)."
                .to_owned(),
            Self::InProcessUnpatched => "Debugging level: in-process without breakpoints, as the system refuses ptrace, and the program's code cannot be \
                 changed. Its threads can be paused, looked at, and stepped by single instructions."
                .to_owned(),
            Self::SnapshotOnly => "Debugging level: snapshot only, as another debugger traces the process. A pause takes a picture of all threads \
                 that run, which go on at once: stacks and variables can be looked at. There are no breakpoints and no steps, and nothing \
                 can be changed."
                .to_owned(),
            Self::Registers => format!(
                "Debugging level: debug registers only, as the program does not link the manta-guard of this version. It can have \
                 {HARDWARE_SITES} breakpoints and data breakpoints together; its code is not changed. If the debugger is killed (kill \
                 -9) while they are set, the program ends at the next one."
            ),
        }
    }
}

impl Engine {
    /// The level at which this process is debugged.
    #[must_use]
    pub fn level(&self) -> Level {
        let can_patch = self.guard.as_ref().is_some_and(super::guard::Guard::has_scratch);
        match (self.process.means(), can_patch) {
            (Means::Ptrace, true) => Level::Full,
            (Means::Ptrace, false) => Level::Registers,
            (Means::InProcess { can_write_code: true }, true) => Level::InProcess,
            (Means::Snapshot, _) => Level::SnapshotOnly,
            (Means::InProcess { .. }, _) => Level::InProcessUnpatched,
        }
    }

    /// What the user should know before anything else: one sentence each.
    #[must_use]
    pub fn introduction(&self) -> Vec<String> {
        let mut sentences = vec![self.level().sentence()];
        match self.modules.program() {
            Ok(program) if program.image.has_units() => {}
            Ok(program) => sentences.push(super::configuration::without_debug_information(program)),
            Err(reason) => {
                sentences.push(format!("The program cannot be read: {reason}. Breakpoints cannot be set."));
            }
        }
        sentences
    }

    /// Tells a session of a process that is not debugged as its workers are.
    pub(super) fn tell_low_level(&mut self) {
        let level = self.level();
        if self.mode == Mode::Cluster && level != Level::Full {
            self.outbox.level(level.name(), &format!("{}\n", level.sentence()));
        }
    }
}
