//! Breakpoints on their way into force: requests that set them wait here until every node has answered.

use dap::{
    BreakpointEventBody, BreakpointEventReason, ResponseMessage, SetBreakpointsResponseBody,
    SetDataBreakpointsResponseBody, SetExceptionBreakpointsResponseBody, SetFunctionBreakpointsResponseBody,
    events, requests as dap_requests,
};

use crate::{
    effect::Effect,
    event::{ConfigAck, TimerId},
    ids::Generation,
    limits::{ACKNOWLEDGE_WITHIN, PUBLISH_GATE},
    profile::Configured,
    session::{Phase, Session},
    threads::Origin,
};

const UNATTACHED: &str = "the session is not attached to a cluster yet";

/// What a request has set.
#[derive(Debug)]
pub(crate) enum Setting {
    /// Breakpoints of a file, by their ids.
    Lines(Vec<i32>),
    /// Breakpoints at functions, by their ids.
    Functions(Vec<i32>),
    /// Breakpoints on values, by their ids.
    Data(Vec<i32>),
    /// So many exception filters.
    Exceptions(usize),
    /// Nothing: the session itself is made known.
    Nothing,
}

/// A request that waits for a generation to be in force.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub origin: Origin,
    generation: Generation,
    setting: Setting,
}

impl Session {
    /// A request has set something. It is answered when that is in force, which it may be already when nothing `is_changed`.
    pub(crate) fn set(&mut self, origin: Origin, setting: Setting, is_changed: bool) {
        let generation = if is_changed { self.publisher.change() } else { self.publisher.newest() };
        if is_changed {
            self.pass_removed();
        }
        self.waiters.push(Waiter { origin, generation, setting });
        if self.phase == Phase::Attached {
            self.publish_if_due();
        } else {
            // No cluster is at hand: the change goes out with the first set.
            self.settle_all();
        }
    }

    pub(crate) fn publish_if_due(&mut self) {
        if self.phase == Phase::Attached && !self.returning.is_away && self.publisher.is_due() {
            let generation = self.publisher.publish();
            let arguments =
                self.breakpoints.configuration(generation, &self.id, self.options.step_into_framework);
            let empty = self.breakpoints.is_empty();
            self.effects.push(Effect::Publish { generation, arguments, empty });
            let gate = TimerId::PublishGate(generation);
            self.effects.push(Effect::SetTimer { id: gate, after: PUBLISH_GATE });
            let deadline = TimerId::Acknowledge(generation);
            self.effects.push(Effect::SetTimer { id: deadline, after: ACKNOWLEDGE_WITHIN });
        }
        self.settle_waiters();
    }

    pub(crate) fn on_config_ack(&mut self, ack: &ConfigAck) {
        for answer in &ack.targets {
            let name = self.target_name(&answer.target);
            match &answer.body {
                Ok(body) => match serde_json::from_str::<Configured>(body) {
                    Ok(configured) => {
                        self.breakpoints.on_configured(&answer.target, &name, &configured);
                        self.learn_from(&configured.breakpoints);
                    }
                    Err(error) => {
                        let why = format!("its answer could not be read: {error}");
                        self.breakpoints.on_target_failed(&answer.target, &name, &why);
                    }
                },
                Err(error) => self.breakpoints.on_target_failed(&answer.target, &name, error),
            }
        }
        self.publisher.on_ack(ack);
        self.publish_if_due();
        self.tell_breakpoint_changes();
    }

    /// Where targets have bound breakpoints in files of other names than they were told, by the content: the same holds of the
    /// folders, so the files beside them get such a name too.
    pub(crate) fn learn_from(&mut self, said: &[dap::Breakpoint]) {
        let mut is_news = false;
        for breakpoint in said.iter().filter(|breakpoint| breakpoint.verified) {
            let remote = breakpoint.source.as_ref().and_then(|source| source.path.as_deref());
            let (Some(id), Some(remote)) = (breakpoint.id, remote) else { continue };
            if let Some(local) = self.breakpoints.unnamed(id.0, remote) {
                is_news |= self.paths.learn(local, remote);
            }
        }
        let paths = &self.paths;
        if is_news && self.breakpoints.rename(|local| paths.to_remote(local)) {
            self.publisher.change();
        }
    }

    /// Answers the requests whose change is in force, or whose nodes have been given up.
    pub(crate) fn settle_waiters(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters {
            if self.publisher.is_settled(waiter.generation) {
                self.answer_setting(&waiter, None);
            } else {
                self.waiters.push(waiter);
            }
        }
        self.tell_breakpoint_changes();
        self.start_driver_if_ready();
    }

    /// Answers all requests, as there is no cluster to wait for.
    fn settle_all(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            self.answer_setting(&waiter, Some(UNATTACHED));
        }
    }

    fn answer_setting(&mut self, waiter: &Waiter, unattached: Option<&str>) {
        let mut armed = self.publisher.armed();
        if let Some(why) = unattached {
            armed.failure = Some(why.to_owned());
        }
        let seq = waiter.origin.seq;
        let mut tell = |ids: &[i32]| {
            ids.iter()
                .map(|id| {
                    let mut told = self.breakpoints.tell(*id, &armed);
                    told.line = told.line.map(|line| line - 1 + self.client.lines_start_at);
                    told
                })
                .collect()
        };
        let response = match &waiter.setting {
            Setting::Lines(ids) => {
                let body = SetBreakpointsResponseBody { breakpoints: tell(ids) };
                ResponseMessage::ok::<dap_requests::SetBreakpoints>(seq, &body)
            }
            Setting::Functions(ids) => {
                let body = SetFunctionBreakpointsResponseBody { breakpoints: tell(ids) };
                ResponseMessage::ok::<dap_requests::SetFunctionBreakpoints>(seq, &body)
            }
            Setting::Data(ids) => {
                let body = SetDataBreakpointsResponseBody { breakpoints: tell(ids) };
                ResponseMessage::ok::<dap_requests::SetDataBreakpoints>(seq, &body)
            }
            Setting::Exceptions(count) => {
                let each = dap::Breakpoint {
                    verified: armed.failure.is_none(),
                    message: armed.failure,
                    ..Default::default()
                };
                let body = SetExceptionBreakpointsResponseBody { breakpoints: Some(vec![each; *count]) };
                ResponseMessage::ok::<dap_requests::SetExceptionBreakpoints>(seq, &body)
            }
            Setting::Nothing => ResponseMessage::ok::<dap_requests::ConfigurationDone>(seq, &dap::Empty),
        };
        self.reply(response);
    }

    /// Tells the client what is no longer as it was told.
    pub(crate) fn tell_breakpoint_changes(&mut self) {
        // While sets are on their way, their answers tell it better.
        if self.phase != Phase::Attached || !self.waiters.is_empty() {
            return;
        }
        for mut breakpoint in self.breakpoints.changes(&self.publisher.armed()) {
            breakpoint.line = breakpoint.line.map(|line| line - 1 + self.client.lines_start_at);
            let body = BreakpointEventBody { reason: BreakpointEventReason::Changed, breakpoint };
            self.emit::<events::Breakpoint>(&body);
        }
    }
}
