//! Chance that can be had again.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator, so that a run with the same seed does the same.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// From `MANTA_TEST_SEED`, or from the clock; the seed is printed, which shows it when the test fails.
    #[must_use]
    pub fn of_test() -> Self {
        let given = std::env::var("MANTA_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(seed_of_clock);
        eprintln!("the seed is {seed}; MANTA_TEST_SEED={seed} repeats this run");
        Self::of_seed(seed)
    }

    /// The same for the same seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// One of several; `None` when there is none.
    pub fn one_of<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        if among.is_empty() { None } else { among.get(self.below(among.len() as u64) as usize) }
    }
}

/// A seed that is another one each time.
#[must_use]
pub fn seed_of_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) << 20 ^ now.as_secs()
}
