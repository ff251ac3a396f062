//! Waiting for results of series, and looking at them.

use manta_proto::ids::ObjectId;

use super::{Marks, Range, SeriesId, Stage, State, WaiterId};

impl State {
    /// A thread waits for results that are to come. Those that are no results of a series any more come back.
    pub(in crate::reactor) fn wait_for_series(&mut self, range: Range, waiter: WaiterId) -> Vec<ObjectId> {
        let Some(series) = self.series.by_id.get_mut(&range.series) else { return range.results().collect() };
        let place = series.waiters.iter().position(|(other, _)| *other == waiter).unwrap_or_else(|| {
            series.waiters.push((waiter, Marks::default()));
            series.waiters.len() - 1
        });
        let marks = &mut series.waiters[place].1;
        let mut left = Vec::new();
        let entries = series.entries.get(range.first..range.end).unwrap_or_default();
        for (index, entry) in (range.first..).zip(entries) {
            match entry.stage {
                // One that is waited for twice, which one bit cannot say, is one by itself.
                Stage::Queued | Stage::Sent(_) if marks.insert(index) => {}
                Stage::Done => {}
                Stage::Queued | Stage::Sent(_) | Stage::Left | Stage::Gone => left.push(index),
            }
        }
        series.waiters.retain(|(_, marks)| !marks.is_empty());
        let tasks = left.into_iter().map(|index| range.series.task(index));
        tasks.inspect(|task| self.unfold(*task)).map(|task| ObjectId::of(task, 0)).collect()
    }

    /// The thread waits no more.
    pub(in crate::reactor) fn stop_waiting_for_series(&mut self, id: SeriesId, waiter: WaiterId) {
        if let Some(series) = self.series.by_id.get_mut(&id) {
            series.waiters.retain(|(other, _)| *other != waiter);
        }
    }

    /// Marks a result as looked at; `None` if it is none of a series, else whether it is ready, and whether it was marked in this look.
    pub(in crate::reactor) fn look_at_series(&mut self, object: ObjectId, look: u64) -> Option<(bool, bool)> {
        let index = self.series.find_result(object)?.1;
        let series = self.series.by_id.get_mut(&SeriesId::of(object.task()).0)?;
        if series.looked.0 != look {
            series.looked = (look, Marks::default());
        }
        let again = !series.looked.1.insert(index);
        Some((series.entries[index].value.is_some(), again))
    }
}
