//! `dataBreakpointInfo`: whether a value of a paused task can be watched, and under which id.

use dap::{
    DataBreakpointInfoArguments, FrameId, RequestMessage, VariablesReference, requests as dap_requests,
};

use super::{Handled, Refusal};
use crate::{
    arena::HandleKind,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let mut asked: DataBreakpointInfoArguments = request.arguments()?;
    asked.mode = None;
    let (target, arena) = if asked.as_address == Some(true) {
        let (target, own) = session.memory_of(&asked.name)?;
        (asked.name, asked.variables_reference, asked.frame_id) = (own, None, None);
        (target, None)
    } else if let Some(parent) = asked.variables_reference.filter(|parent| parent.has_children()) {
        let parent = session.arenas.resolve(HandleKind::Variables, parent.0)?;
        (asked.variables_reference, asked.frame_id) = (Some(VariablesReference(parent.id)), None);
        (parent.target, Some(parent.arena))
    } else if let Some(FrameId(frame)) = asked.frame_id {
        let frame = session.arenas.resolve(HandleKind::Frame, frame)?;
        asked.frame_id = Some(FrameId(frame.id));
        (frame.target, Some(frame.arena))
    } else {
        return Err(Refusal::from("a value is watched in a paused task: select a frame of one first"));
    };
    let pending = Pending::new(Some(origin(request)), target, arena, Purpose::DataBreakpointInfo);
    session.ask::<dap_requests::DataBreakpointInfo>(&asked, pending)?;
    Ok(None)
}
