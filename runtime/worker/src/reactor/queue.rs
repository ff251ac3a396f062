//! Tasks in their order: those that wait for a lease, and those that a worker has. Tasks of a series are ranges here.

use std::collections::VecDeque;

use manta_proto::ids::{ObjectId, TaskId};

use super::series::SeriesId;

/// Tasks of a series that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub series: SeriesId,
    pub first: usize,
    pub end: usize,
}

impl Range {
    pub fn len(self) -> usize {
        self.end - self.first
    }

    pub fn tasks(self) -> impl DoubleEndedIterator<Item = TaskId> {
        (self.first..self.end).map(move |index| self.series.task(index))
    }

    pub fn results(self) -> impl Iterator<Item = ObjectId> {
        self.tasks().map(|task| ObjectId::of(task, 0))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Task(TaskId),
    Series(Range),
}

impl Item {
    fn len(self) -> usize {
        match self {
            Self::Task(_) => 1,
            Self::Series(range) => range.len(),
        }
    }

    pub fn first_task(self) -> TaskId {
        match self {
            Self::Task(task) => task,
            Self::Series(range) => range.series.task(range.first),
        }
    }

    fn tasks(self) -> impl DoubleEndedIterator<Item = TaskId> {
        let (one, many) = match self {
            Self::Task(task) => (Some(task), None),
            Self::Series(range) => (None, Some(range)),
        };
        one.into_iter().chain(many.into_iter().flat_map(Range::tasks))
    }
}

/// Tasks, first in first out, except that some come to the front again.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    len: usize,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn front(&self) -> Option<Item> {
        self.items.front().copied()
    }

    pub fn push_front(&mut self, task: TaskId) {
        self.items.push_front(Item::Task(task));
        self.len += 1;
    }

    pub fn push_back(&mut self, task: TaskId) {
        self.items.push_back(Item::Task(task));
        self.len += 1;
    }

    /// Appends tasks of a series, to those that it continues if they are the last.
    pub fn push_range(&mut self, range: Range) {
        self.len += range.len();
        match self.items.back_mut() {
            Some(Item::Series(last)) if last.series == range.series && last.end == range.first => {
                last.end = range.end;
            }
            _ => self.items.push_back(Item::Series(range)),
        }
    }

    /// Takes the first task, or the first `most` of those of the series that it belongs to.
    pub fn take_front(&mut self, most: usize) -> Option<Item> {
        let front = self.items.front_mut()?;
        let taken = match front {
            Item::Series(range) if range.len() > most => {
                let taken = Range { end: range.first + most, ..*range };
                range.first = taken.end;
                self.len -= taken.len();
                return Some(Item::Series(taken));
            }
            whole => *whole,
        };
        self.items.pop_front();
        self.len -= taken.len();
        Some(taken)
    }

    /// Takes a task out, wherever it is.
    pub fn remove(&mut self, task: TaskId) {
        let (series, index) = SeriesId::of(task);
        let place = self.items.iter().position(|item| match item {
            Item::Task(other) => *other == task,
            Item::Series(range) => range.series == series && (range.first..range.end).contains(&index),
        });
        let Some(place) = place else { return };
        self.len -= 1;
        let Item::Series(range) = &mut self.items[place] else {
            self.items.remove(place);
            return;
        };
        let behind = Range { first: index + 1, ..*range };
        range.end = index;
        let is_empty = range.len() == 0;
        if behind.len() > 0 {
            self.items.insert(place + 1, Item::Series(behind));
        }
        if is_empty {
            self.items.remove(place);
        }
    }

    /// Takes tasks of a series out, which are the first as a rule.
    pub fn remove_range(&mut self, range: Range) {
        match self.items.front() {
            Some(Item::Series(front))
                if front.series == range.series && front.first == range.first && front.end >= range.end =>
            {
                self.take_front(range.len());
            }
            _ => range.tasks().for_each(|task| self.remove(task)),
        }
    }

    /// All of them, one by one.
    pub fn into_tasks(self) -> Vec<TaskId> {
        self.items.into_iter().flat_map(Item::tasks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(queue: Queue) -> Vec<TaskId> {
        assert_eq!(queue.len(), queue.items.iter().map(|item| item.len()).sum::<usize>());
        queue.into_tasks()
    }

    #[test]
    fn ranges_grow_are_split_and_keep_their_order() {
        let series = SeriesId::new(TaskId([7; 16]));
        let other = TaskId([1; 16]);
        let range = |first, end| Range { series, first, end };
        let mut queue = Queue::default();
        (0..10).for_each(|index| queue.push_range(range(index, index + 1)));
        assert_eq!(queue.items.len(), 1);
        queue.push_back(other);
        queue.push_range(range(10, 12));
        assert_eq!(queue.take_front(3), Some(Item::Series(range(0, 3))));
        queue.remove(series.task(5));
        queue.remove(series.task(3));
        queue.remove(series.task(11));
        queue.remove(TaskId([9; 16]));
        queue.remove_range(range(4, 5));
        queue.push_front(series.task(0));
        let left = [0, 6, 7, 8, 9].map(|index| series.task(index));
        let expected: Vec<_> = left.into_iter().chain([other, series.task(10)]).collect();
        assert_eq!(tasks(queue), expected);
    }
}
