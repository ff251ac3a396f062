//! The session's timers.

use std::{collections::BTreeMap, time::Duration};

use manta_session::TimerId;
use tokio::time::{Instant, sleep_until};

/// Timers that have been set, in the order in which they run out.
#[derive(Default)]
pub(crate) struct Clock {
    timers: BTreeMap<(Instant, u64), TimerId>,
    set: u64,
}

impl Clock {
    pub fn set(&mut self, id: TimerId, after: Duration) {
        self.set += 1;
        self.timers.insert((Instant::now() + after, self.set), id);
    }

    /// Waits for the next timer; for ever when none is set. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> TimerId {
        let Some((&(at, _), _)) = self.timers.first_key_value() else {
            return std::future::pending().await;
        };
        sleep_until(at).await;
        match self.timers.pop_first() {
            Some((_, id)) => id,
            None => std::future::pending().await,
        }
    }
}
