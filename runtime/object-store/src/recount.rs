//! Whether the count of a store's bytes in use is right: a pure judgement of what was counted, and when.
//!
//! Bytes are taken before their file is made and given back after it is gone, so the count is never below the files, and above them only
//! by what is on its way. On its way may be a room that a process was granted and has not come to use yet, for as long as it is slow or
//! stands in a debugger: an excess alone proves nothing. Only a process that was killed in between leaves one for good.

use std::time::{Duration, Instant};

/// An excess that is there all this time after a process was killed is what it left.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);

/// What was seen of the count so far.
#[derive(Debug, Default)]
pub(crate) struct Recount {
    /// A process was killed since the count was found right.
    has_death: bool,
    /// Since when the count has been too large, and the least by which it was.
    excess: Option<(Instant, u64)>,
    /// By how much it was too small at the last look.
    deficit: Option<u64>,
}

/// How the count is to be mended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mend {
    /// So many bytes are taken for nothing.
    Give(u64),
    /// So many bytes of files were given back by mistake.
    Add(u64),
}

impl Recount {
    /// A process is gone.
    pub fn on_death(&mut self) {
        self.has_death = true;
        self.excess = None;
    }

    /// Files of `there` bytes were found while `used` bytes were counted.
    pub fn on_counted(&mut self, used: u64, there: u64, now: Instant) -> Option<Mend> {
        if let Some(missing) = there.checked_sub(used).filter(|missing| *missing > 0) {
            self.excess = None;
            // Looked at once more, as counting files is no single moment.
            let again = self.deficit.take().map(|before| before.min(missing));
            self.deficit = again.is_none().then_some(missing);
            return again.map(Mend::Add);
        }
        self.deficit = None;
        let excess = used - there;
        if excess == 0 || !self.has_death {
            self.excess = None;
            self.has_death &= excess > 0;
            return None;
        }
        let (since, least) = self.excess.map_or((now, excess), |(since, least)| (since, least.min(excess)));
        if now.saturating_duration_since(since) < WINDOW {
            self.excess = Some((since, least));
            return None;
        }
        *self = Self::default();
        Some(Mend::Give(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excess_without_a_death_is_left_alone_for_ever() {
        let (mut recount, now) = (Recount::default(), Instant::now());
        for second in 0..60 {
            assert_eq!(recount.on_counted(100, 40, now + Duration::from_secs(second)), None);
        }
    }

    #[test]
    fn after_a_death_what_is_missing_all_the_time_is_given_back() {
        let (mut recount, now) = (Recount::default(), Instant::now());
        recount.on_death();
        assert_eq!(recount.on_counted(100, 40, now), None);
        assert_eq!(recount.on_counted(100, 70, now + WINDOW / 2), None, "another's file has come");
        assert_eq!(recount.on_counted(100, 50, now + WINDOW), Some(Mend::Give(30)));
        assert_eq!(recount.on_counted(70, 40, now + 3 * WINDOW), None, "once");
    }

    #[test]
    fn a_count_that_was_right_meanwhile_is_right() {
        let (mut recount, now) = (Recount::default(), Instant::now());
        recount.on_death();
        assert_eq!(recount.on_counted(100, 40, now), None);
        assert_eq!(recount.on_counted(100, 100, now + WINDOW / 2), None);
        assert_eq!(recount.on_counted(100, 40, now + WINDOW), None);
        assert_eq!(recount.on_counted(100, 40, now + 3 * WINDOW), None);
    }

    #[test]
    fn files_that_are_not_counted_are_counted_at_the_second_look() {
        let (mut recount, now) = (Recount::default(), Instant::now());
        assert_eq!(recount.on_counted(40, 100, now), None);
        assert_eq!(recount.on_counted(40, 90, now), Some(Mend::Add(50)));
        assert_eq!(recount.on_counted(90, 90, now), None);
    }
}
