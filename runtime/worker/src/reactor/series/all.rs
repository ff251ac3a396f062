//! All series of a process, as they are looked into.

use std::sync::Arc;

use manta_proto::ids::{ObjectId, TaskId};

use super::{Entry, FastMap, Range, Series, SeriesId, SeriesValue, Stage};

#[derive(Default)]
pub(in crate::reactor) struct AllSeries {
    pub(super) by_id: FastMap<SeriesId, Series>,
    /// Tasks that are not over.
    pub(super) pending: usize,
}

impl AllSeries {
    /// Tasks of all series that are not over.
    pub fn pending(&self) -> usize {
        self.pending
    }

    #[cfg(test)]
    pub fn leftovers(&self) -> Vec<String> {
        let kept = |series: &Series| series.entries.len() - series.over;
        let count: usize = self.by_id.values().map(kept).sum();
        let kept = (count > 0).then(|| format!("{count} entries of series"));
        let pending = (self.pending > 0).then(|| format!("{} of series' tasks", self.pending));
        kept.into_iter().chain(pending).collect()
    }

    pub(super) fn find(&self, task: TaskId) -> Option<(&Series, usize)> {
        let (id, index) = SeriesId::of(task);
        let series = self.by_id.get(&id)?;
        let entry = series.entries.get(index)?;
        (!matches!(entry.stage, Stage::Gone | Stage::Left)).then_some((series, index))
    }

    pub(super) fn find_result(&self, object: ObjectId) -> Option<(&Series, usize)> {
        (object.index() == 0 && !self.by_id.is_empty()).then(|| self.find(object.task())).flatten()
    }

    /// A result's value; `None` for what is no result of a series.
    pub fn value(&self, object: ObjectId) -> Option<Option<&SeriesValue>> {
        self.find_result(object).map(|(series, index)| series.value_of(index))
    }

    /// A range's tasks by their numbers; `None` when the series is forgotten.
    fn range(&self, range: Range) -> Option<(&Series, impl Iterator<Item = (usize, &Entry)>)> {
        let series = self.by_id.get(&range.series)?;
        let entries = series.entries.get(range.first..range.end)?;
        Some((series, (range.first..).zip(entries)))
    }

    /// How many results of a range are there, and which of them are no results of the series any more.
    pub fn count_ready(&self, range: Range) -> (usize, Vec<ObjectId>) {
        let Some((_, entries)) = self.range(range) else { return (0, range.results().collect()) };
        let (mut ready, mut left) = (0, Vec::new());
        for (index, entry) in entries {
            match entry.stage {
                Stage::Done => ready += 1,
                Stage::Left | Stage::Gone => left.push(range.series.result(index)),
                Stage::Queued | Stage::Sent(_) => {}
            }
        }
        (ready, left)
    }

    /// The values of a range, as `take` gets them: each with the first result that has it, and with how many follow that have the same
    /// memory. Of what is no result of the series any more, or not there yet, it gets none.
    pub fn values_of(&self, range: Range, mut take: impl FnMut(ObjectId, Option<&SeriesValue>, usize)) {
        let Some((series, entries)) = self.range(range) else {
            return range.results().for_each(|object| take(object, None, 1));
        };
        let mut entries = entries.peekable();
        while let Some((index, entry)) = entries.next() {
            let mut count = 1;
            while entry.value.is_some() && entries.next_if(|(_, next)| next.value == entry.value).is_some() {
                count += 1;
            }
            take(range.series.result(index), series.value_of(index), count);
        }
    }

    /// The results with refs, and the names of their tasks; `None` in place of a size that is not known yet.
    pub fn results(&self) -> impl Iterator<Item = (ObjectId, &Arc<str>, Option<u64>)> {
        self.by_id.iter().flat_map(|(id, series)| {
            let meant = |entry: &Entry| matches!(entry.stage, Stage::Queued | Stage::Sent(_) | Stage::Done);
            let entries = series.entries.iter().enumerate().filter(move |(_, entry)| meant(entry));
            entries.map(move |(index, entry)| {
                let value = entry.value.and_then(|place| series.values.get(place));
                let size = value.map(|value| value.data.len() as u64);
                (id.result(index), &series.template.name, size)
            })
        })
    }
}
