//! Of which stops the client is to be told more than that they are, ahead of being asked.

use std::collections::HashMap;

use dap::FrameId;

use crate::address::Tid;
use crate::protocol::LookWanted;

/// Looks that are wanted.
#[derive(Default)]
pub struct Looks {
    /// Of threads that run, at their next stop.
    wanted: HashMap<Tid, LookWanted>,
    /// Of threads that have stopped.
    due: Vec<(Tid, LookWanted)>,
    /// Of threads whose stack was told, with its innermost frame.
    owed: Vec<(Tid, FrameId)>,
}

impl Looks {
    /// A thread runs on. Of its next stop this is wanted.
    pub fn want(&mut self, tid: Tid, wanted: Option<LookWanted>) {
        match wanted {
            Some(wanted) => self.wanted.insert(tid, wanted),
            None => self.wanted.remove(&tid),
        };
    }

    /// A thread stops. Whether anything will be told of it ahead.
    pub fn announce(&mut self, tid: Tid) -> bool {
        let Some(wanted) = self.wanted.remove(&tid) else { return false };
        self.due.push((tid, wanted));
        true
    }

    /// A thread has ended.
    pub fn forget(&mut self, tid: Tid) {
        self.wanted.remove(&tid);
    }

    /// Whether anything is to be told now.
    #[must_use]
    pub fn are_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Takes what is to be told now.
    pub fn take_due(&mut self) -> Vec<(Tid, LookWanted)> {
        std::mem::take(&mut self.due)
    }

    /// The stack of a stop is told; the variables of its innermost frame are to follow.
    pub fn owe_variables(&mut self, tid: Tid, frame: FrameId) {
        self.owed.push((tid, frame));
    }

    /// Whether variables are to follow.
    #[must_use]
    pub fn owe_any(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Takes those whose variables are to follow.
    pub fn take_owed(&mut self) -> Vec<(Tid, FrameId)> {
        std::mem::take(&mut self.owed)
    }
}
