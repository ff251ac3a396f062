//! Small ids of this process, fast maps for random ids, and a pool of random bytes.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

use manta_proto::ids::{ObjectId, TaskId};

/// A connection to a peer, of this process alone; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnId(pub u64);

/// A thread that waits for objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct WaiterId(pub u64);

/// A scheduling class: language and resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClassId(pub usize);

/// A question that a reply will name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RequestId(pub u64);

pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;
pub(crate) type FastSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// Hashes ids, which are random already, or count up.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(last));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // Both halves of the product together: ids that count up differ in few bits, at either end, and a map takes its place from
        // the low bits and its tags from the high ones.
        let product = u128::from(self.0 ^ value ^ 0x2545_f491_4f6c_dd1d) * 0x9e37_79b9_7f4a_7c15;
        #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken one by one")]
        let folded = product as u64 ^ (product >> 64) as u64;
        self.0 = folded;
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

/// Random task ids at the cost of one system call for many.
pub(crate) struct TaskIds {
    bytes: [u8; 4096],
    used: usize,
}

impl TaskIds {
    pub fn new() -> Self {
        Self { bytes: [0; 4096], used: 4096 }
    }

    pub fn next(&mut self) -> TaskId {
        if self.used + 16 > self.bytes.len() {
            // Not called in a process that could not read it at its start: ids are made before any task.
            getrandom::fill(&mut self.bytes).expect("getrandom(2) does not fail after boot");
            self.used = 0;
        }
        let mut id = [0; 16];
        id.copy_from_slice(&self.bytes[self.used..self.used + 16]);
        self.used += 16;
        TaskId(id)
    }
}

/// Counts the objects that this process puts. They have a random prefix of their own, so that a task's second attempt never makes
/// the ids of its first.
pub(crate) struct PutIds {
    prefix: TaskId,
    next: u32,
}

impl PutIds {
    pub fn new() -> Self {
        Self { prefix: TaskId::random(), next: ObjectId::FIRST_PUT }
    }

    pub fn next(&mut self) -> ObjectId {
        let id = ObjectId::of(self.prefix, self.next);
        self.next = self.next.checked_add(1).unwrap_or_else(|| {
            self.prefix = TaskId::random();
            ObjectId::FIRST_PUT
        });
        id
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn ids_that_count_up_spread_over_the_low_bits() {
        let mut ids = PutIds::new();
        let hasher = BuildHasherDefault::<IdHasher>::default();
        let places: HashSet<u64> = (0..4096).map(|_| hasher.hash_one(ids.next()) & 0xfff).collect();
        // Random places would be 2,589 on average, and differ by some sixty from one prefix to the next. A hash that keeps the ids' order
        // in the wrong bits gives a few hundred.
        assert!(places.len() > 2000, "{} places for 4096 ids", places.len());
    }
}
