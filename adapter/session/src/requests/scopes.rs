//! `scopes` of a frame.

use dap::{FrameId, RequestMessage, Scope, ScopesArguments, ScopesResponseBody, requests};

use super::{Handled, Refusal};
use crate::{
    arena::{ArenaId, HandleKind},
    ids::TargetId,
    looks::Found,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: ScopesArguments = request.arguments()?;
    let frame = session.arenas.resolve(HandleKind::Frame, arguments.frame_id.0)?;
    match session.looks.scopes(frame.arena, FrameId(frame.id)) {
        Found::Answer(body) => {
            session.note_asked(frame.arena, 0, true);
            let body = answered(session, &frame.target, frame.arena, body)?;
            return Ok(Some(request.ok::<requests::Scopes>(&body)));
        }
        Found::Wait => {
            session.looks.hold(frame.arena, request.clone());
            return Ok(None);
        }
        Found::Nothing => session.note_asked(frame.arena, 0, true),
    }
    let asked = ScopesArguments { frame_id: FrameId(frame.id) };
    let pending = Pending::new(Some(origin(request)), frame.target, Some(frame.arena), Purpose::Scopes);
    session.ask::<requests::Scopes>(&asked, pending)?;
    Ok(None)
}

pub(crate) fn answered(
    session: &mut Session,
    target: &TargetId,
    arena: ArenaId,
    body: ScopesResponseBody,
) -> Result<ScopesResponseBody, Refusal> {
    let mut scopes = Vec::with_capacity(body.scopes.len());
    for scope in body.scopes {
        scopes.push(Scope {
            variables_reference: session.shown_reference(scope.variables_reference, arena)?,
            source: scope.source.map(|source| session.shown_source(source, target)),
            line: scope.line.map(|line| session.shown_line(line)),
            column: scope.column.map(|column| session.shown_column(column)),
            end_line: scope.end_line.map(|line| session.shown_line(line)),
            end_column: scope.end_column.map(|column| session.shown_column(column)),
            ..scope
        });
    }
    Ok(ScopesResponseBody { scopes })
}
