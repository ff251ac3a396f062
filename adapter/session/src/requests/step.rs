//! `next`, `stepIn`, `stepOut`: always of one task. Answered when the step's stop is at hand, for a bounded time.

use dap::{NextArguments, RequestMessage, StepInArguments};

use super::{Handled, Refusal};
use crate::{
    arena::HandleKind,
    resuming::StepKind,
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage, kind: StepKind) -> Handled {
    // The two have these arguments in common.
    let arguments: NextArguments = request.arguments()?;
    session.step_thread(arguments.thread_id.0, kind, arguments.granularity, origin(request))?;
    Ok(None)
}

pub(super) fn handle_in(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: StepInArguments = request.arguments()?;
    let thread = arguments.thread_id.0;
    let into = match arguments.target_id {
        None => None,
        Some(target) => {
            let found = session.arenas.resolve(HandleKind::StepTarget, target.0)?;
            let is_of_thread = session.paused(thread)?.stop().is_some_and(|stop| stop.arena == found.arena);
            if !is_of_thread {
                return Err(Refusal::from(format!("step-in target {target} is of another task")));
            }
            Some(found.id)
        }
    };
    session.step_thread(thread, StepKind::In(into), arguments.granularity, origin(request))?;
    Ok(None)
}
