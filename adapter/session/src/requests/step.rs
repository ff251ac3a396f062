//! `next`, `stepIn`, `stepOut`: always of one task. Answered when the step's stop is at hand, for a bounded time.

use dap::{NextArguments, RequestMessage};

use super::Handled;
use crate::{
    resuming::StepKind,
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage, kind: StepKind) -> Handled {
    // The three have these arguments in common; `targetId` is not offered.
    let arguments: NextArguments = request.arguments()?;
    session.step_thread(arguments.thread_id.0, kind, arguments.granularity, origin(request))?;
    Ok(None)
}
