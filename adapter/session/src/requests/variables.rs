//! `variables`: the children of a scope or of a value, in pages.

use dap::{
    RequestMessage, Variable, VariablesArguments, VariablesReference, VariablesResponseBody, requests,
};

use super::{Handled, Refusal};
use crate::{
    arena::{ArenaId, HandleKind},
    ids::TargetId,
    limits::VARIABLES_MAX,
    looks::Found,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: VariablesArguments = request.arguments()?;
    let parent = session.arenas.resolve(HandleKind::Variables, arguments.variables_reference.0)?;
    let is_whole = arguments.format.is_none()
        && arguments.filter.is_none()
        && arguments.start.unwrap_or(0) == 0
        && arguments.count.unwrap_or(0) == 0;
    if is_whole {
        match session.looks.take_variables(parent.arena, VariablesReference(parent.id)) {
            Found::Answer(body) => {
                let body = answered(session, &parent.target, parent.arena, body)?;
                return Ok(Some(request.ok::<requests::Variables>(&body)));
            }
            Found::Wait => {
                session.looks.hold(parent.arena, request.clone());
                return Ok(None);
            }
            Found::Nothing => {}
        }
    }
    let asked = VariablesArguments {
        variables_reference: VariablesReference(parent.id),
        count: arguments.count.map(|count| count.min(VARIABLES_MAX)),
        ..arguments
    };
    let pending = Pending::new(Some(origin(request)), parent.target, Some(parent.arena), Purpose::Variables);
    session.ask::<requests::Variables>(&asked, pending)?;
    Ok(None)
}

pub(crate) fn answered(
    session: &mut Session,
    target: &TargetId,
    arena: ArenaId,
    body: VariablesResponseBody,
) -> Result<VariablesResponseBody, Refusal> {
    let mut variables = Vec::with_capacity(body.variables.len());
    for variable in body.variables {
        variables.push(Variable {
            variables_reference: session.shown_reference(variable.variables_reference, arena)?,
            type_: session.shown_type(variable.type_),
            memory_reference: session.shown_memory(variable.memory_reference, target),
            declaration_location_reference: None,
            value_location_reference: None,
            ..variable
        });
    }
    Ok(VariablesResponseBody { variables })
}
