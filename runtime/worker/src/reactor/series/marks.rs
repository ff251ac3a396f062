//! A set of tasks of one series.

use super::TASKS_MAX;

/// One bit for each task of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks([u64; TASKS_MAX / 64]);

impl Marks {
    /// `false` if it was there.
    pub fn insert(&mut self, index: usize) -> bool {
        let (word, bit) = (&mut self.0[index / 64], 1 << (index % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub fn remove(&mut self, index: usize) -> bool {
        let (word, bit) = (&mut self.0[index / 64], 1 << (index % 64));
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }

    /// Takes out those of a range, and counts them.
    pub fn remove_range(&mut self, first: usize, end: usize) -> usize {
        let mut count = 0;
        for (place, word) in self.0.iter_mut().enumerate() {
            let (low, high) =
                (first.saturating_sub(place * 64).min(64), end.saturating_sub(place * 64).min(64));
            let below = |bits: usize| if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
            let range = below(high) & !below(low);
            count += (*word & range).count_ones() as usize;
            *word &= !range;
        }
        count
    }

    pub fn is_empty(self) -> bool {
        self.0 == [0; TASKS_MAX / 64]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_a_range_are_counted_once() {
        let mut marks = Marks::default();
        assert!([0, 63, 64, 200, 255].iter().all(|index| marks.insert(*index)) && !marks.insert(64));
        assert_eq!(marks.remove_range(1, 64), 1);
        assert_eq!(marks.remove_range(64, 256), 3);
        assert!(!marks.is_empty() && marks.remove(0) && !marks.remove(0) && marks.is_empty());
    }
}
