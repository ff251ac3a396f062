//! `setVariable`: changes a variable of a paused task.

use dap::{RequestMessage, SetVariableArguments, SetVariableResponseBody, VariablesReference, requests};

use super::{Handled, Refusal};
use crate::{
    arena::{ArenaId, HandleKind},
    ids::TargetId,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: SetVariableArguments = request.arguments()?;
    let parent = session.arenas.resolve(HandleKind::Variables, arguments.variables_reference.0)?;
    let asked = SetVariableArguments { variables_reference: VariablesReference(parent.id), ..arguments };
    let pending =
        Pending::new(Some(origin(request)), parent.target, Some(parent.arena), Purpose::SetVariable);
    session.ask::<requests::SetVariable>(&asked, pending)?;
    Ok(None)
}

pub(crate) fn answered(
    session: &mut Session,
    target: &TargetId,
    arena: ArenaId,
    body: SetVariableResponseBody,
) -> Result<SetVariableResponseBody, Refusal> {
    let reference = match body.variables_reference {
        Some(reference) => Some(session.shown_reference(reference, arena)?),
        None => None,
    };
    Ok(SetVariableResponseBody {
        variables_reference: reference,
        type_: session.shown_type(body.type_),
        memory_reference: session.shown_memory(body.memory_reference, target),
        value_location_reference: None,
        ..body
    })
}
