//! The refs of a series' results, counted without the reactor's lock.

use std::sync::atomic::{AtomicU32, Ordering};

use super::TASKS_MAX;

/// The refs of a series' results.
pub(crate) struct RefCounts {
    refs: [AtomicU32; TASKS_MAX],
    /// Results that belong to the series and have refs.
    live: AtomicU32,
}

/// Marks the count of a result that has left the series: what is dropped of it is told one by one.
const LEFT: u32 = 1 << 31;

/// What the reactor has to hear of a ref that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    Nothing,
    /// It was the last of a result that has left its series.
    LastOfOne,
    /// It was the last of all that belong to the series.
    LastOfAll,
}

impl RefCounts {
    pub(super) fn new() -> Self {
        Self { refs: [const { AtomicU32::new(0) }; TASKS_MAX], live: AtomicU32::new(0) }
    }

    pub(super) fn begin(&self, index: usize) {
        self.refs[index].store(1, Ordering::Relaxed);
        self.live.fetch_add(1, Ordering::SeqCst);
    }

    /// Another ref, of somebody who has one.
    pub fn add(&self, index: usize) {
        self.refs[index].fetch_add(1, Ordering::Relaxed);
    }

    pub fn drop_one(&self, index: usize) -> Dropped {
        match self.refs[index].fetch_sub(1, Ordering::SeqCst) {
            1 if self.live.fetch_sub(1, Ordering::SeqCst) == 1 => Dropped::LastOfAll,
            before if before == LEFT | 1 => Dropped::LastOfOne,
            _ => Dropped::Nothing,
        }
    }

    pub(super) fn has_refs(&self, index: usize) -> bool {
        self.refs[index].load(Ordering::SeqCst) & !LEFT > 0
    }

    pub(super) fn has_none(&self) -> bool {
        self.live.load(Ordering::SeqCst) == 0
    }

    /// The result leaves the series; whether it has refs.
    pub(super) fn leave(&self, index: usize) -> bool {
        let has_refs = self.refs[index].fetch_or(LEFT, Ordering::SeqCst) > 0;
        if has_refs {
            self.live.fetch_sub(1, Ordering::SeqCst);
        }
        has_refs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ref_is_told_once_whoever_counts() {
        let counts = RefCounts::new();
        (0..3).for_each(|index| counts.begin(index));
        counts.add(0);
        assert_eq!(counts.drop_one(0), Dropped::Nothing);
        assert_eq!(counts.drop_one(0), Dropped::Nothing);
        assert!(counts.leave(1) && !counts.leave(0));
        counts.add(1);
        assert_eq!(counts.drop_one(1), Dropped::Nothing);
        assert_eq!(counts.drop_one(1), Dropped::LastOfOne);
        assert_eq!(counts.drop_one(2), Dropped::LastOfAll);
    }
}
