//! Requests that wait for a target: each is answered once, whatever becomes of the target.

use std::collections::HashMap;

use dap::{Request, RequestMessage, ResponseMessage, Seq, requests as dap_requests};

use crate::{
    arena::ArenaId,
    effect::Effect,
    event::TimerId,
    ids::TargetId,
    limits::{ANSWER_BYTES_MAX, EVALUATE_SWEEPS_MAX, PENDING_REQUESTS_MAX, SWEEP_EVERY, SWEEPS_MAX},
    looks::Asked,
    profile::WithLook,
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
    SetExpression,
    Completions,
    DataBreakpointInfo,
    StepInTargets,
    /// A line is looked for in a task that is to go on from there.
    GotoTargets {
        thread: i32,
    },
    /// A part of what several targets are asked for.
    Gather(u64),
    /// A target was told that nobody waits for an answer any more.
    Cancel,
    ReadMemory,
    WriteMemory,
    Disassemble,
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

    /// Takes the request by which the client's `seq` is answered, and the number under which its target knows it.
    pub fn take_of_client(&mut self, seq: Seq) -> Option<(Seq, Pending)> {
        self.take(|pending| pending.origin.as_ref().is_some_and(|origin| origin.seq == seq)).pop()
    }

    /// In the order in which they were asked.
    fn take(&mut self, mut which: impl FnMut(&mut Pending) -> bool) -> Vec<(Seq, Pending)> {
        let mut taken: Vec<_> = self.pending.extract_if(|_, pending| which(pending)).collect();
        taken.sort_by_key(|(seq, _)| *seq);
        taken
    }
}

fn respond<R: Request>(seq: Seq, body: &R::Response) -> requests::Handled {
    Ok(Some(ResponseMessage::ok::<R>(seq, body)))
}

/// Whether what a target does for this request may change values in its memory.
fn may_change_values(message: &RequestMessage) -> bool {
    match message.command.as_str() {
        "stackTrace"
        | "scopes"
        | "variables"
        | "source"
        | "exceptionInfo"
        | "completions"
        | "readMemory"
        | "disassemble"
        | "stepInTargets"
        | "gotoTargets"
        | "loadedSources"
        | "breakpointLocations"
        | "dataBreakpointInfo"
        | "pause"
        | "cancel" => false,
        "evaluate" => message
            .arguments::<dap::EvaluateArguments>()
            .is_ok_and(|arguments| arguments.context != Some(dap::EvaluateContext::Hover)),
        _ => true,
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
        self.ask_message(RequestMessage::new::<R>(0, arguments), pending)
    }

    /// Asks a target to resume a thread, and for what the client will ask at the thread's next stop.
    pub(crate) fn ask_to_resume<R: Request>(
        &mut self,
        arguments: &R::Arguments,
        asked: Asked,
        pending: Pending,
    ) -> Result<(), Refusal> {
        let arguments = WithLook { arguments, manta_look: asked.wanted() };
        let arguments = serde_json::value::to_raw_value(&arguments)
            .map_err(|error| Refusal::from(format!("the request cannot be passed on: {error}")))?;
        let message = RequestMessage { seq: 0, command: R::COMMAND.to_owned(), arguments: Some(arguments) };
        self.ask_message(message, pending)
    }

    fn ask_message(&mut self, mut message: RequestMessage, pending: Pending) -> Result<(), Refusal> {
        if self.returning.is_away {
            return Err(Refusal::from(
                "the connection to the cluster is lost; try again when the head is back",
            ));
        }
        if !self.targets.contains_key(&pending.target) {
            return Err(Refusal::from("the task's process is gone"));
        }
        if self.requests.pending.len() >= PENDING_REQUESTS_MAX && pending.origin.is_some() {
            return Err(Refusal::from(format!(
                "{PENDING_REQUESTS_MAX} requests wait for tasks already; try again when some are answered"
            )));
        }
        self.requests.last_seq += 1;
        message.seq = self.requests.last_seq;
        if may_change_values(&message) {
            self.looks.forget_variables(&pending.target);
        }
        let seq = message.seq;
        if let Some(message) = self.returning.keep(&pending.target, message) {
            let effect = Effect::ToTarget { target: pending.target.clone(), message: message.into() };
            self.effects.push(effect);
        }
        self.requests.pending.insert(seq, pending);
        self.sweep_later();
        Ok(())
    }

    /// Something is to grow older from now on.
    pub(crate) fn sweep_later(&mut self) {
        if !self.requests.is_sweeping {
            self.requests.is_sweeping = true;
            self.effects.push(Effect::SetTimer { id: TimerId::Sweep, after: SWEEP_EVERY });
        }
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
            (Purpose::Pass, None) | (Purpose::Cancel, _) => return,
            (Purpose::Gather(id), error) => {
                return self.on_gathered(id, target, error.map_or(Ok(response), Err));
            }
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
        // Where the answer carries ids of the stop, it is of no use once that is over.
        let stop = self.check_arena(arena);
        match purpose {
            Purpose::StackTrace => {
                let body = requests::stack_trace::answered(self, target, stop?, response.body()?)?;
                respond::<dap_requests::StackTrace>(seq, &body)
            }
            Purpose::Scopes => {
                let body = requests::scopes::answered(self, target, stop?, response.body()?)?;
                respond::<dap_requests::Scopes>(seq, &body)
            }
            Purpose::Variables => {
                let body = requests::variables::answered(self, target, stop?, response.body()?)?;
                respond::<dap_requests::Variables>(seq, &body)
            }
            Purpose::SetVariable => {
                let body = requests::set_variable::answered(self, target, stop?, response.body()?)?;
                respond::<dap_requests::SetVariable>(seq, &body)
            }
            Purpose::SetExpression => {
                let body = requests::set_expression::answered(self, target, stop?, response.body()?)?;
                respond::<dap_requests::SetExpression>(seq, &body)
            }
            Purpose::Evaluate => {
                let body = requests::evaluate::answered(self, target, stop?, response.body()?)?;
                respond::<dap_requests::Evaluate>(seq, &body)
            }
            Purpose::StepInTargets => {
                let body = requests::step_in_targets::answered(self, stop?, response.body()?)?;
                respond::<dap_requests::StepInTargets>(seq, &body)
            }
            Purpose::GotoTargets { thread } => {
                stop?;
                requests::goto::found(self, origin, *thread, response.body()?)
            }
            _ => self.answer_of_target(target, purpose, seq, response),
        }
    }

    /// Answers that concern a target, whether or not the task has run on.
    fn answer_of_target(
        &mut self,
        target: &TargetId,
        purpose: &Purpose,
        seq: Seq,
        response: &ResponseMessage,
    ) -> requests::Handled {
        match purpose {
            Purpose::Completions => {
                let body = requests::completions::answered(self, response.body()?);
                respond::<dap_requests::Completions>(seq, &body)
            }
            Purpose::Disassemble => {
                let body: Option<_> = response.body()?;
                let body = body.map(|body| requests::disassemble::answered(self, target, body));
                respond::<dap_requests::Disassemble>(seq, &body)
            }
            Purpose::ExceptionInfo => respond::<dap_requests::ExceptionInfo>(seq, &response.body()?),
            Purpose::DataBreakpointInfo => {
                respond::<dap_requests::DataBreakpointInfo>(seq, &response.body()?)
            }
            Purpose::ReadMemory => respond::<dap_requests::ReadMemory>(seq, &response.body()?),
            Purpose::WriteMemory => respond::<dap_requests::WriteMemory>(seq, &response.body()?),
            Purpose::Source(_) => respond::<dap_requests::Source>(seq, &response.body()?),
            Purpose::Pause => respond::<dap_requests::Pause>(seq, &dap::Empty),
            // These were seen to before, or are of no client's request.
            _ => Ok(None),
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
                (Purpose::Gather(id), _) => {
                    self.on_gathered(id, &pending.target, Err(sentence.as_str().into()));
                }
                (Purpose::Cancel, _) => {}
                (_, Some(origin)) => self.refuse(&origin, &sentence),
                (_, None) => self.console(&sentence),
            }
        }
        let are_looks_left = self.sweep_looks();
        self.requests.is_sweeping = false;
        if are_looks_left || !self.requests.pending.is_empty() {
            self.sweep_later();
        }
    }
}
