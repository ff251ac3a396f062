//! `setExpression`: gives a new value to anything in a frame that can be assigned to.

use dap::{
    FrameId, RequestMessage, SetExpressionArguments, SetExpressionResponseBody, requests as dap_requests,
};

use super::{Handled, Refusal};
use crate::{
    arena::{ArenaId, HandleKind},
    ids::TargetId,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: SetExpressionArguments = request.arguments()?;
    let Some(FrameId(frame)) = arguments.frame_id else {
        return Err(Refusal::from("an expression is set in a paused task: select a frame of one first"));
    };
    let frame = session.arenas.resolve(HandleKind::Frame, frame)?;
    let asked = SetExpressionArguments { frame_id: Some(FrameId(frame.id)), ..arguments };
    let pending =
        Pending::new(Some(origin(request)), frame.target, Some(frame.arena), Purpose::SetExpression);
    session.ask::<dap_requests::SetExpression>(&asked, pending)?;
    Ok(None)
}

pub(crate) fn answered(
    session: &mut Session,
    target: &TargetId,
    arena: ArenaId,
    body: SetExpressionResponseBody,
) -> Result<SetExpressionResponseBody, Refusal> {
    let reference = match body.variables_reference {
        Some(reference) => Some(session.shown_reference(reference, arena)?),
        None => None,
    };
    Ok(SetExpressionResponseBody {
        variables_reference: reference,
        type_: session.shown_type(body.type_),
        memory_reference: session.shown_memory(body.memory_reference, target),
        value_location_reference: None,
        ..body
    })
}
