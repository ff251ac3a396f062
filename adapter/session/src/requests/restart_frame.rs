//! `restartFrame`: a paused task goes back to the beginning of one of its functions, where its target can do that.

use dap::{FrameId, RequestMessage, RestartFrameArguments, requests as dap_requests};

use super::Handled;
use crate::{
    arena::HandleKind,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: RestartFrameArguments = request.arguments()?;
    let frame = session.arenas.resolve(HandleKind::Frame, arguments.frame_id.0)?;
    let asked = RestartFrameArguments { frame_id: FrameId(frame.id) };
    let thread = session.threads.of_arena(frame.arena);
    let pending = Pending::new(Some(origin(request)), frame.target, Some(frame.arena), Purpose::RestartFrame);
    session.ask::<dap_requests::RestartFrame>(&asked, pending)?;
    session.announcer.focus = thread;
    Ok(None)
}
