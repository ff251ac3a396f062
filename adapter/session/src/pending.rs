//! Requests that wait for a target: each is answered once, whatever becomes of the target.

use std::collections::HashMap;

use dap::{Message, Request, RequestMessage, ResponseMessage, Seq, requests as dap_requests};

use crate::{
    arena::ArenaId,
    effect::Effect,
    event::TimerId,
    ids::TargetId,
    limits::{ANSWER_BYTES_MAX, EVALUATE_SWEEPS_MAX, PENDING_REQUESTS_MAX, SWEEP_EVERY, SWEEPS_MAX},
    requests::{self, Refusal},
    session::Session,
    sources::Held,
    threads::Origin,
};

/// What an answer is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    StackTrace,
    Scopes,
    Variables,
    SetVariable,
    Evaluate,
    ExceptionInfo,
    Pause,
    /// The source, and who else could be asked for it.
    Source(Held),
    /// A thread was to run on or to step from this stop.
    Resume {
        thread: i32,
        stop: i64,
    },
    /// A task that the session lets pass was to run on.
    Pass,
}

/// A request that a target has not answered.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The client's request; absent where the session asked for itself or keeps it elsewhere.
    pub origin: Option<Origin>,
    pub target: TargetId,
    /// The stop that the answer belongs to.
    pub arena: Option<ArenaId>,
    pub purpose: Purpose,
    sweeps_left: u8,
}

impl Pending {
    pub fn new(origin: Option<Origin>, target: TargetId, arena: Option<ArenaId>, purpose: Purpose) -> Self {
        let sweeps_left = match purpose {
            Purpose::Evaluate => EVALUATE_SWEEPS_MAX,
            _ => SWEEPS_MAX,
        };
        Self { origin, target, arena, purpose, sweeps_left }
    }
}

/// All requests that targets have not answered.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pending: HashMap<Seq, Pending>,
    last_seq: Seq,
    is_sweeping: bool,
}

impl Requests {
    pub fn take_of_target(&mut self, target: &TargetId) -> Vec<(Seq, Pending)> {
        self.take(|pending| pending.target == *target)
    }

    pub fn take_all(&mut self) -> Vec<(Seq, Pending)> {
        self.take(|_| true)
    }

    /// Takes the request by which the client's `seq` is answered.
    pub fn take_of_client(&mut self, seq: Seq) -> Option<Pending> {
        let of_client = |pending: &mut Pending| pending.origin.as_ref().is_some_and(|o| o.seq == seq);
        self.take(of_client).pop().map(|(_, pending)| pending)
    }

    /// In the order in which they were asked.
    fn take(&mut self, mut which: impl FnMut(&mut Pending) -> bool) -> Vec<(Seq, Pending)> {
        let mut taken: Vec<_> = self.pending.extract_if(|_, pending| which(pending)).collect();
        taken.sort_by_key(|(seq, _)| *seq);
        taken
    }
}

fn answer_bytes(response: &ResponseMessage) -> usize {
    response.body.as_ref().map_or(0, |body| body.get().len())
}

impl Session {
    /// Asks a target.
    pub(crate) fn ask<R: Request>(
        &mut self,
        arguments: &R::Arguments,
        pending: Pending,
    ) -> Result<(), Refusal> {
        if !self.targets.contains_key(&pending.target) {
            return Err(Refusal::from("the task's process is gone"));
        }
        if self.requests.pending.len() >= PENDING_REQUESTS_MAX && pending.origin.is_some() {
            return Err(Refusal::from(format!(
                "{PENDING_REQUESTS_MAX} requests wait for tasks already; try again when some are answered"
            )));
        }
        self.requests.last_seq += 1;
        let seq = self.requests.last_seq;
        let message = Message::Request(RequestMessage::new::<R>(seq, arguments));
        self.effects.push(Effect::ToTarget { target: pending.target.clone(), message });
        self.requests.pending.insert(seq, pending);
        if !self.requests.is_sweeping {
            self.requests.is_sweeping = true;
            self.effects.push(Effect::SetTimer { id: TimerId::Sweep, after: SWEEP_EVERY });
        }
        Ok(())
    }

    /// A target answered.
    pub(crate) fn on_target_response(&mut self, target: &TargetId, response: &ResponseMessage) {
        let seq = response.request_seq;
        let is_its_own = self.requests.pending.get(&seq).is_some_and(|pending| pending.target == *target);
        let Some(pending) = is_its_own.then(|| self.requests.pending.remove(&seq)).flatten() else {
            // Cancelled, or given up.
            return;
        };
        let Pending { origin, arena, purpose, .. } = pending;
        let handled = match (purpose, response.error()) {
            (Purpose::Resume { thread, stop }, error) => {
                return self.on_resumed(thread, stop, error.map(|error| error.text()));
            }
            (Purpose::Pass, Some(error)) => {
                let name = self.target_name(target);
                return self.console(&format!(
                    "a task on {name} should have run on and may be paused: {}",
                    error.text()
                ));
            }
            (Purpose::Pass, None) => return,
            (Purpose::Source(held), Some(error)) => {
                requests::source::refused(self, origin.as_ref(), held, error)
            }
            (_, Some(error)) => Err(Refusal(error)),
            (_, None) if answer_bytes(response) > ANSWER_BYTES_MAX => Err(Refusal::from(format!(
                "the answer has {} bytes and the limit is {ANSWER_BYTES_MAX}; ask for less at a time",
                answer_bytes(response)
            ))),
            (purpose, None) => self.answer(target, arena, &purpose, origin.as_ref(), response),
        };
        let Some(origin) = origin else { return };
        match handled {
            Ok(Some(answer)) => self.reply(answer),
            Ok(None) => {}
            Err(Refusal(error)) => self.reply(ResponseMessage::err(origin.seq, origin.command, error)),
        }
    }

    fn answer(
        &mut self,
        target: &TargetId,
        arena: Option<ArenaId>,
        purpose: &Purpose,
        origin: Option<&Origin>,
        response: &ResponseMessage,
    ) -> requests::Handled {
        let Some(origin) = origin else { return Ok(None) };
        let seq = origin.seq;
        // These carry ids of the stop, so they are of no use once it is over.
        let of_stop = || self.check_arena(arena);
        match purpose {
            Purpose::StackTrace => {
                let arena = of_stop()?;
                let body = requests::stack_trace::answered(self, target, arena, response.body()?)?;
                Ok(Some(ResponseMessage::ok::<dap_requests::StackTrace>(seq, &body)))
            }
            Purpose::Scopes => {
                let arena = of_stop()?;
                let body = requests::scopes::answered(self, target, arena, response.body()?)?;
                Ok(Some(ResponseMessage::ok::<dap_requests::Scopes>(seq, &body)))
            }
            Purpose::Variables => {
                let arena = of_stop()?;
                let body = requests::variables::answered(self, arena, response.body()?)?;
                Ok(Some(ResponseMessage::ok::<dap_requests::Variables>(seq, &body)))
            }
            Purpose::SetVariable => {
                let arena = of_stop()?;
                let body = requests::set_variable::answered(self, arena, response.body()?)?;
                Ok(Some(ResponseMessage::ok::<dap_requests::SetVariable>(seq, &body)))
            }
            Purpose::Evaluate => {
                let arena = of_stop()?;
                let body = requests::evaluate::answered(self, arena, response.body()?)?;
                Ok(Some(ResponseMessage::ok::<dap_requests::Evaluate>(seq, &body)))
            }
            Purpose::ExceptionInfo => {
                Ok(Some(ResponseMessage::ok::<dap_requests::ExceptionInfo>(seq, &response.body()?)))
            }
            Purpose::Source(_) => {
                Ok(Some(ResponseMessage::ok::<dap_requests::Source>(seq, &response.body()?)))
            }
            Purpose::Pause => Ok(Some(ResponseMessage::ok::<dap_requests::Pause>(seq, &dap::Empty))),
            Purpose::Resume { .. } | Purpose::Pass => Ok(None),
        }
    }

    /// Requests grow older; those that are too old fail.
    pub(crate) fn on_sweep(&mut self) {
        let too_old = |pending: &mut Pending| {
            let is_last = pending.sweeps_left == 0;
            pending.sweeps_left = pending.sweeps_left.saturating_sub(1);
            is_last
        };
        for (_, pending) in self.requests.take(too_old) {
            let name = self.target_name(&pending.target);
            let sentence =
                format!("{name} does not answer; its process may hang, or its node may be out of reach");
            match (pending.purpose, pending.origin) {
                (Purpose::Resume { thread, stop }, _) => self.on_resumed(thread, stop, Some(sentence)),
                (_, Some(origin)) => self.refuse(&origin, &sentence),
                (_, None) => self.console(&sentence),
            }
        }
        self.requests.is_sweeping = !self.requests.pending.is_empty();
        if self.requests.is_sweeping {
            self.effects.push(Effect::SetTimer { id: TimerId::Sweep, after: SWEEP_EVERY });
        }
    }
}
