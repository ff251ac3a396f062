//! A thread that waits, and reads what peers send meanwhile if nobody else does.

use std::time::Instant;

use parking_lot::MutexGuard;

use crate::{
    current,
    io::{Lead, Ready},
    parking::Parking,
    reactor::State,
    shared::Shared,
};

/// One wait of a thread, from its beginning to its end.
pub(crate) struct Idle<'a> {
    shared: &'a Shared,
    lead: Option<Lead<'a>>,
    /// A thread that runs a task never reads for others: a debugger may stop it at any moment, and that must be the stop of one task.
    may_lead: bool,
}

impl<'a> Idle<'a> {
    pub fn new(shared: &'a Shared) -> Self {
        Self { shared, lead: None, may_lead: current::id().is_none() }
    }

    /// Waits until somebody notifies, something was read, or the deadline has passed; which of these, the caller finds out.
    pub fn park(&mut self, state: &mut MutexGuard<'_, State>, parking: &Parking, deadline: Option<Instant>) {
        let shared = self.shared;
        if self.lead.is_none() && self.may_lead {
            self.lead = shared.incoming.try_lead();
        }
        let Some(lead) = &self.lead else { return parking.wait(state, deadline) };
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        parking.reader_sleeps(&shared.incoming.bell);
        MutexGuard::unlocked(state, || {
            let ready = lead.wait(timeout);
            if shared.read_peers(&ready, Some(parking)) {
                shared.send_now();
            }
        });
        parking.reader_looks();
        state.now = Instant::now();
    }

    /// Lets others read, before the thread does something that may take its time.
    pub fn stop_reading(&mut self) {
        self.lead = None;
    }
}

impl Shared {
    /// Reads what peers have sent, and gives it to the reactor; `true` if somebody has to carry out what comes of it. A thread that waits
    /// in `parking` is not woken for what it will find by itself.
    pub fn read_peers(&self, ready: &Ready, parking: Option<&Parking>) -> bool {
        if ready.is_empty() {
            return false;
        }
        self.incoming.read(ready, |received| {
            if received.messages.is_empty() && received.ended.is_empty() {
                return false;
            }
            received.ended.iter().for_each(|(conn, _)| self.outgoing.remove(*conn));
            let mut state = self.lock();
            parking.into_iter().for_each(Parking::reader_wakes);
            for (conn, message) in received.messages {
                state.on_message(conn, message);
            }
            for (conn, cause) in received.ended {
                state.on_conn_lost(conn, &cause);
            }
            state.needs_wake()
        })
    }
}
