//! A node that is being drained takes nothing new. It leaves when what it runs has ended, or when its time is over.

use std::time::Duration;

use manta_proto::v1::Drain;

use super::{Core, Effect, Timer};

impl Core {
    pub(super) fn on_drain(&mut self, drain: Drain) {
        let reason = if drain.reason.is_empty() { "no reason was given".to_owned() } else { drain.reason };
        self.draining = Some(reason);
        if drain.deadline_ms > 0 {
            self.effects.push(Effect::Timer(Timer::Drain, Duration::from_millis(drain.deadline_ms)));
        }
        self.arm_infeasible();
        self.dispatch();
        self.leave_when_drained();
    }

    pub(super) fn on_drain_deadline(&mut self) {
        if let Some(reason) = &self.draining {
            let cause = format!("it was drained ({reason}), and the time for what it ran is over");
            self.effects.push(Effect::Exit { cause });
        }
    }

    /// Leaves when nothing runs here any more. Objects that others need are made anew by their owners, or were copied by whoever read them.
    pub(super) fn leave_when_drained(&mut self) {
        let Some(reason) = &self.draining else { return };
        let idle = self.leases.granted.is_empty()
            && self.leases.pendings.is_empty()
            && self.drivers.is_empty()
            && self.submitted.is_empty();
        if idle {
            let cause = format!("it was drained ({reason})");
            self.effects.push(Effect::Exit { cause });
        }
    }
}
