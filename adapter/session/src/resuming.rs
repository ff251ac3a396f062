//! Threads that run on because the client asked so: from the request, over the target's consent, to the answer.

use dap::{
    ContinueArguments, NextArguments, Request, StepInArguments, StepInTargetId, StepOutArguments, ThreadId,
    requests as dap_requests,
};

use crate::{
    effect::Effect,
    event::TimerId,
    limits::STEP_HOLD,
    looks::Asked,
    pending::{Pending, Purpose},
    requests::Refusal,
    session::Session,
    stops::{continue_answer, step_answer},
    threads::{Origin, Resumption, State, Thread},
};

/// Which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepKind {
    Next,
    /// Into a call; where the target has named several, into the one of this id of its own.
    In(Option<i32>),
    Out,
}

impl Session {
    /// The client's thread `id`, if it stands.
    pub(crate) fn paused(&self, id: i32) -> Result<&Thread, Refusal> {
        let Some(thread) = self.threads.get(id) else {
            return Err(Refusal::from(if self.threads.was_there(id) {
                format!("the task of thread {id} has ended")
            } else {
                format!("there is no thread {id} in this session")
            }));
        };
        match thread.state {
            State::Paused(_) => Ok(thread),
            State::Resuming(..) => Err(Refusal::from(format!("{} is just being resumed", thread.name))),
            State::Stepping { .. } => {
                Err(Refusal::from(format!("{} is making a step; wait for its stop", thread.name)))
            }
            State::Running => Err(Refusal::from(format!("{} is running; pause it first", thread.name))),
        }
    }

    /// Whether the client's thread `id` runs. One whose target has not consented may stay paused.
    pub(crate) fn runs_on(&self, id: i32) -> bool {
        matches!(self.threads.get(id).map(|thread| &thread.state), Some(State::Running))
    }

    /// Lets one thread run on; `origin` is answered when its target has consented.
    pub(crate) fn continue_thread(&mut self, id: i32, origin: Option<Origin>) -> Result<(), Refusal> {
        let (pending, target_thread) = self.resumption_of(id)?;
        let asked = self.asked_at_stop(id);
        let arguments = ContinueArguments { thread_id: target_thread, single_thread: Some(true) };
        self.ask_to_resume::<dap_requests::Continue>(&arguments, asked, pending)?;
        self.begin(id, Resumption::Continue(origin));
        Ok(())
    }

    /// Lets one thread make a step; `origin` is answered when the step's stop is at hand.
    pub(crate) fn step_thread(
        &mut self,
        id: i32,
        kind: StepKind,
        granularity: Option<dap::SteppingGranularity>,
        origin: Origin,
    ) -> Result<(), Refusal> {
        let (pending, thread_id) = self.resumption_of(id)?;
        let asked = self.asked_at_stop(id);
        let single_thread = Some(true);
        match kind {
            StepKind::Next => self.ask_to_resume::<dap_requests::Next>(
                &NextArguments { thread_id, single_thread, granularity },
                asked,
                pending,
            )?,
            StepKind::In(into) => self.ask_to_resume::<dap_requests::StepIn>(
                &StepInArguments {
                    thread_id,
                    single_thread,
                    target_id: into.map(StepInTargetId),
                    granularity,
                },
                asked,
                pending,
            )?,
            StepKind::Out => self.ask_to_resume::<dap_requests::StepOut>(
                &StepOutArguments { thread_id, single_thread, granularity },
                asked,
                pending,
            )?,
        }
        self.begin_step(id, origin);
        Ok(())
    }

    /// Lets one thread go on from another place without running what lies between. To the client that is like a step: it is
    /// answered when the stop at the new place is at hand.
    pub(crate) fn move_thread<R: Request>(
        &mut self,
        id: i32,
        origin: Origin,
        arguments: impl FnOnce(ThreadId) -> R::Arguments,
    ) -> Result<(), Refusal> {
        let (pending, thread_id) = self.resumption_of(id)?;
        self.ask::<R>(&arguments(thread_id), pending)?;
        self.begin_step(id, origin);
        Ok(())
    }

    fn begin_step(&mut self, id: i32, origin: Origin) {
        self.steps += 1;
        let step = self.steps;
        self.begin(id, Resumption::Step { step, held: Some(origin) });
        self.effects.push(Effect::SetTimer { id: TimerId::Step(step), after: STEP_HOLD });
    }

    fn resumption_of(&self, id: i32) -> Result<(Pending, ThreadId), Refusal> {
        let thread = self.paused(id)?;
        let stop = thread.stop().map_or(0, |stop| stop.number);
        let purpose = Purpose::Resume { thread: id, stop };
        Ok((Pending::new(None, thread.target.clone(), None, purpose), ThreadId(thread.target_thread)))
    }

    fn asked_at_stop(&self, id: i32) -> Asked {
        self.threads.get(id).and_then(Thread::stop).map_or_else(Asked::default, |stop| stop.asked)
    }

    fn begin(&mut self, id: i32, resumption: Resumption) {
        self.announcer.focus = Some(id);
        if let Some(State::Paused(stop)) = self.threads.replace_state(id, State::Running) {
            self.threads.replace_state(id, State::Resuming(stop, resumption));
        }
    }

    /// The target has let the thread go: by its answer, or by what it tells next.
    pub(crate) fn confirm(&mut self, id: i32) {
        if !self.threads.get(id).is_some_and(|thread| matches!(thread.state, State::Resuming(..))) {
            return;
        }
        let Some(State::Resuming(stop, resumption)) = self.threads.replace_state(id, State::Running) else {
            return;
        };
        self.returning.has_thread(id);
        self.close_arena(stop.arena);
        match resumption {
            Resumption::Continue(origin) => {
                if let Some(origin) = origin {
                    self.reply(continue_answer(&origin, false));
                }
            }
            Resumption::Step { step, held } => {
                self.threads.replace_state(id, State::Stepping { step, held });
            }
        }
        if self.threads.get(id).is_some_and(|thread| thread.has_ended) {
            self.end_thread(id, None);
        }
    }

    /// The target answered the request to resume `id` from `stop`.
    pub(crate) fn on_resumed(&mut self, id: i32, stop: i64, error: Option<String>) {
        let is_current = self.threads.get(id).is_some_and(
            |thread| matches!(&thread.state, State::Resuming(current, _) if current.number == stop),
        );
        if !is_current {
            // What the target told meanwhile has settled it.
            return;
        }
        let Some(error) = error else { return self.confirm(id) };
        let Some(State::Resuming(stop, resumption)) = self.threads.replace_state(id, State::Running) else {
            return;
        };
        self.threads.replace_state(id, State::Paused(stop));
        match resumption {
            Resumption::Continue(Some(origin)) | Resumption::Step { held: Some(origin), .. } => {
                self.refuse(&origin, &error);
            }
            Resumption::Continue(None) | Resumption::Step { held: None, .. } => {
                self.console(&format!("a task could not be resumed: {error}"));
                self.announce_again(id);
            }
        }
        self.announce();
    }

    /// A step has held its answer long enough: the client shows the task as running until it stops.
    pub(crate) fn on_step_timer(&mut self, timed_out: u64) {
        let held_by = |thread: &&Thread| {
            matches!(
                thread.state,
                State::Stepping { step, held: Some(_) }
                    | State::Resuming(_, Resumption::Step { step, held: Some(_) }) if step == timed_out
            )
        };
        let Some(id) = self.threads.iter_held().find(held_by).map(|thread| thread.id) else { return };
        let Some(thread) = self.threads.get_mut(id) else { return };
        let origin = match &mut thread.state {
            State::Stepping { held, .. } | State::Resuming(_, Resumption::Step { held, .. }) => held.take(),
            State::Paused(_) | State::Resuming(..) | State::Running => None,
        };
        if let Some(origin) = origin {
            self.reply(step_answer(&origin));
        }
        self.announce();
    }
}
