//! `restartFrame`: a paused task goes back to the beginning of one of its functions, where its target can do that.

use dap::{FrameId, RequestMessage, RestartFrameArguments, requests as dap_requests};

use super::{Handled, Refusal};
use crate::{
    arena::HandleKind,
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: RestartFrameArguments = request.arguments()?;
    let frame = session.arenas.resolve(HandleKind::Frame, arguments.frame_id.0)?;
    let thread = session
        .threads
        .of_arena(frame.arena)
        .ok_or_else(|| Refusal::from("the task has run on in the meantime"))?;
    let frame_id = FrameId(frame.id);
    session.move_thread::<dap_requests::RestartFrame>(thread, origin(request), |_| {
        RestartFrameArguments { frame_id }
    })?;
    Ok(None)
}
