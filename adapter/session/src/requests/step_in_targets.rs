//! `stepInTargets`: the calls of a frame's line that `stepIn` can enter.

use dap::{
    FrameId, RequestMessage, StepInTarget, StepInTargetId, StepInTargetsArguments, StepInTargetsResponseBody,
    requests as dap_requests,
};

use super::{Handled, Refusal};
use crate::{
    arena::{ArenaId, HandleKind},
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: StepInTargetsArguments = request.arguments()?;
    let frame = session.arenas.resolve(HandleKind::Frame, arguments.frame_id.0)?;
    let asked = StepInTargetsArguments { frame_id: FrameId(frame.id) };
    let pending =
        Pending::new(Some(origin(request)), frame.target, Some(frame.arena), Purpose::StepInTargets);
    session.ask::<dap_requests::StepInTargets>(&asked, pending)?;
    Ok(None)
}

pub(crate) fn answered(
    session: &mut Session,
    arena: ArenaId,
    body: StepInTargetsResponseBody,
) -> Result<StepInTargetsResponseBody, Refusal> {
    let mut targets = Vec::with_capacity(body.targets.len());
    for target in body.targets {
        targets.push(StepInTarget {
            id: StepInTargetId(session.arenas.handle(arena, HandleKind::StepTarget, target.id.0)?),
            line: target.line.map(|line| session.shown_line(line)),
            column: target.column.map(|column| session.shown_column(column)),
            end_line: target.end_line.map(|line| session.shown_line(line)),
            end_column: target.end_column.map(|column| session.shown_column(column)),
            ..target
        });
    }
    Ok(StepInTargetsResponseBody { targets })
}
