//! `goto`: a paused task goes on from another line, once its target has found that line in it.

use dap::{
    GotoArguments, GotoTargetsArguments, GotoTargetsResponseBody, RequestMessage, Source,
    requests as dap_requests,
};

use super::{Handled, Refusal};
use crate::{
    jumps::Jump,
    pending::{Pending, Purpose},
    session::{Session, origin},
    threads::Origin,
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: GotoArguments = request.arguments()?;
    let id = arguments.target_id.0;
    let Jump { path, line, column } =
        session.jumps.get(id).cloned().ok_or_else(|| {
            Refusal::from(format!("there is no goto target {id}; ask for 'gotoTargets' again"))
        })?;
    let thread = session.paused(arguments.thread_id.0)?;
    let Some(stop) = thread.stop() else { return Err(Refusal::from("the task runs")) };
    // The file as this very task knows it, where it stands in it.
    let own = stop.top_frame.as_ref().and_then(|frame| frame.source.as_ref()?.path.clone());
    let is_it = |own: &String| *own == path || session.paths.to_local(own).contains(&path);
    let remote = own.filter(is_it).or_else(|| session.paths.to_remote(&path).into_iter().next());
    let purpose = Purpose::GotoTargets { thread: arguments.thread_id.0 };
    let pending = Pending::new(Some(origin(request)), thread.target.clone(), Some(stop.arena), purpose);
    let asked = GotoTargetsArguments {
        source: Source { path: remote.or(Some(path)), ..Default::default() },
        line,
        column,
    };
    session.ask::<dap_requests::GotoTargets>(&asked, pending)?;
    Ok(None)
}

/// The target has said where the line is in it.
pub(crate) fn found(
    session: &mut Session,
    origin: &Origin,
    thread: i32,
    body: GotoTargetsResponseBody,
) -> Handled {
    let Some(place) = body.targets.into_iter().next() else {
        return Err(Refusal::from(
            "the task cannot go on from this line: choose one of the function in which it is paused",
        ));
    };
    session.move_thread::<dap_requests::Goto>(thread, origin.clone(), |thread_id| GotoArguments {
        thread_id,
        target_id: place.id,
    })?;
    Ok(None)
}
