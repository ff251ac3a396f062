//! `completions`: what could follow a text in the debug console, in a frame of a paused task.

use dap::{
    CompletionItem, CompletionsArguments, CompletionsResponseBody, FrameId, RequestMessage,
    requests as dap_requests,
};

use super::{Handled, Refusal};
use crate::{
    arena::HandleKind,
    limits::COMPLETIONS_MAX,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: CompletionsArguments = request.arguments()?;
    let Some(FrameId(frame)) = arguments.frame_id else {
        return Err(Refusal::from("completions are of a paused task: select a frame of one first"));
    };
    let frame = session.arenas.resolve(HandleKind::Frame, frame)?;
    let asked = CompletionsArguments {
        frame_id: Some(FrameId(frame.id)),
        column: arguments.column + 1 - session.client.columns_start_at,
        line: arguments.line.map(|line| line + 1 - session.client.lines_start_at),
        ..arguments
    };
    let pending = Pending::new(Some(origin(request)), frame.target, Some(frame.arena), Purpose::Completions);
    session.ask::<dap_requests::Completions>(&asked, pending)?;
    Ok(None)
}

pub(crate) fn answered(session: &Session, mut body: CompletionsResponseBody) -> CompletionsResponseBody {
    body.targets.truncate(COMPLETIONS_MAX);
    let counts_from_0 = session.client.columns_start_at == 0;
    let from_client = |item: CompletionItem| CompletionItem {
        start: item.start.map(|start| if counts_from_0 { start - 1 } else { start }),
        ..item
    };
    CompletionsResponseBody { targets: body.targets.into_iter().map(from_client).collect() }
}
