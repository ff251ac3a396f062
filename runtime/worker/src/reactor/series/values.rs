//! The small results of a series' tasks.

use bytes::Bytes;
use manta_proto::v1::{SeriesDone, Value};

/// A small result.
#[derive(Debug, Clone)]
pub(crate) struct SeriesValue {
    pub format: i32,
    pub data: Bytes,
}

impl SeriesValue {
    pub fn into_value(self) -> Value {
        Value { format: self.format, data: self.data, contained: Vec::new(), in_store: None }
    }
}

/// Small results, of which many may be one.
#[derive(Default)]
pub(super) struct Values(Vec<(SeriesValue, u32)>);

impl Values {
    /// Adds one that nobody has yet.
    pub fn add(&mut self, value: SeriesValue) -> u32 {
        self.0.push((value, 0));
        // Each is of one task at least.
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }

    /// One task more has it.
    pub fn share(&mut self, place: u32) {
        if let Some((_, users)) = self.0.get_mut(place as usize) {
            *users += 1;
        }
    }

    pub fn get(&self, place: u32) -> Option<&SeriesValue> {
        self.0.get(place as usize).map(|(value, _)| value)
    }

    /// A task has it no more; with the last goes its memory.
    pub fn take(&mut self, place: u32) -> Option<SeriesValue> {
        let (value, users) = self.0.get_mut(place as usize)?;
        *users -= 1;
        let data = if *users == 0 { std::mem::take(&mut value.data) } else { value.data.clone() };
        Some(SeriesValue { format: value.format, data })
    }
}

/// The results in a message, in memory of their own: the message shares its memory with others.
pub(super) struct Results {
    format: i32,
    data: Bytes,
    /// Where each begins, and the last ends; nothing when all are the same.
    bounds: Vec<usize>,
}

impl Results {
    pub fn new(done: &SeriesDone) -> Self {
        let mut bounds = Vec::new();
        if !done.lengths.is_empty() {
            bounds.push(0);
            bounds.extend(done.lengths.iter().scan(0, |end, length| {
                *end += *length as usize;
                Some(*end)
            }));
        }
        Self { format: done.format, data: Bytes::copy_from_slice(&done.data), bounds }
    }

    pub fn are_same(&self) -> bool {
        self.bounds.is_empty()
    }

    pub fn of(&self, index: usize) -> SeriesValue {
        let data = match (self.bounds.get(index), self.bounds.get(index + 1)) {
            (Some(start), Some(end)) if *end <= self.data.len() => self.data.slice(*start..*end),
            _ => self.data.clone(),
        };
        SeriesValue { format: self.format, data }
    }
}
