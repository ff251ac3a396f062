//! Processes that were started earlier, told apart from later ones with the same number by their start time.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// A process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot.
    pub started: u64,
}

impl ProcessRef {
    /// The process that has this number now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        start_time(pid).map(|started| Self { pid, started })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Sends a signal, if it still runs.
    ///
    /// # Errors
    /// When the operating system does not allow it.
    pub fn signal(self, signal: Signal) -> anyhow::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(i32::try_from(self.pid)?), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("process {} could not be ended", self.pid)),
        }
    }
}

/// `None` when there is no such process, or only its zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18)?.parse().ok())?
}

/// Waits until all are gone; those that are not in time come back.
pub async fn wait_gone(processes: &[ProcessRef], timeout: Duration) -> Vec<ProcessRef> {
    let until = Instant::now() + timeout;
    loop {
        let left: Vec<_> = processes.iter().copied().filter(|process| process.is_alive()).collect();
        if left.is_empty() || Instant::now() > until {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_with_the_same_number_is_not_taken_for_it() {
        let own = ProcessRef::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        let other = ProcessRef { started: own.started + 1, ..own };
        assert!(!other.is_alive());
    }
}
