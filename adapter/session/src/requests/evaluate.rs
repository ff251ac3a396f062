//! `evaluate`: an expression in a frame of a paused task.

use dap::{EvaluateArguments, EvaluateResponseBody, FrameId, RequestMessage, requests};

use super::{Handled, Refusal};
use crate::{
    arena::{ArenaId, HandleKind},
    ids::TargetId,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: EvaluateArguments = request.arguments()?;
    let Some(FrameId(frame)) = arguments.frame_id else {
        return Err(Refusal::from(
            "an expression is evaluated in a paused task: select a frame of one first",
        ));
    };
    let frame = session.arenas.resolve(HandleKind::Frame, frame)?;
    // Where the text stands in the client's file says nothing to a target.
    let asked = EvaluateArguments {
        frame_id: Some(FrameId(frame.id)),
        line: None,
        column: None,
        source: None,
        ..arguments
    };
    let pending = Pending::new(Some(origin(request)), frame.target, Some(frame.arena), Purpose::Evaluate);
    session.ask::<requests::Evaluate>(&asked, pending)?;
    Ok(None)
}

pub(crate) fn answered(
    session: &mut Session,
    target: &TargetId,
    arena: ArenaId,
    body: EvaluateResponseBody,
) -> Result<EvaluateResponseBody, Refusal> {
    Ok(EvaluateResponseBody {
        variables_reference: session.shown_reference(body.variables_reference, arena)?,
        type_: session.shown_type(body.type_),
        memory_reference: session.shown_memory(body.memory_reference, target),
        value_location_reference: None,
        ..body
    })
}
