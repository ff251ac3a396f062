//! The side of a series that submitters and refs see: it needs no lock of the reactor.

use parking_lot::Mutex;

use super::{RefCounts, TASKS_MAX};

/// What is used of a series without the reactor's lock.
pub(crate) struct Front {
    pub counts: RefCounts,
    tail: Mutex<Tail>,
}

/// Tasks that the reactor has not taken in yet.
#[derive(Default)]
struct Tail {
    /// The number of the next task.
    next: usize,
    new: NewTasks,
}

/// Submitted tasks of a series.
#[derive(Default)]
pub(super) struct NewTasks {
    /// Where the arguments of each end.
    pub ends: Vec<u32>,
    pub arguments: Vec<u8>,
}

/// A task that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Its number in the series.
    pub index: usize,
    /// How many the reactor has not taken in, with this one.
    pub waiting: usize,
}

impl Front {
    pub(super) fn new() -> Self {
        Self { counts: RefCounts::new(), tail: Mutex::default() }
    }

    /// Submits another task, of whose result there is one ref; `None` when the series is full. The reactor has to be told of the first
    /// that waits.
    pub fn append(&self, arguments: &[u8]) -> Option<Appended> {
        let mut tail = self.tail.lock();
        let Tail { next, new } = &mut *tail;
        let index = *next;
        if index == TASKS_MAX {
            return None;
        }
        *next += 1;
        new.arguments.extend_from_slice(arguments);
        new.ends.push(u32::try_from(new.arguments.len()).unwrap_or(u32::MAX));
        self.counts.begin(index);
        Some(Appended { index, waiting: new.ends.len() })
    }

    /// What the reactor has not taken in.
    pub(super) fn take(&self) -> NewTasks {
        let mut tail = self.tail.lock();
        // As many again may come until the next look.
        let (ends, arguments) = (tail.new.ends.len(), tail.new.arguments.len());
        let next = NewTasks { ends: Vec::with_capacity(ends), arguments: Vec::with_capacity(arguments) };
        std::mem::replace(&mut tail.new, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_numbered_and_taken_once_until_the_series_is_full() {
        let front = Front::new();
        assert_eq!(front.append(b"ab"), Some(Appended { index: 0, waiting: 1 }));
        assert_eq!(front.append(b"c"), Some(Appended { index: 1, waiting: 2 }));
        let NewTasks { ends, arguments } = front.take();
        assert_eq!((ends, arguments), (vec![2, 3], b"abc".to_vec()));
        assert_eq!(front.append(b"d"), Some(Appended { index: 2, waiting: 1 }));
        (3..TASKS_MAX).for_each(|index| assert_eq!(front.append(b"").unwrap().index, index));
        assert_eq!(front.append(b""), None);
        assert_eq!(front.take().ends.len(), TASKS_MAX - 2);
        assert!(front.counts.has_refs(TASKS_MAX - 1));
    }
}
