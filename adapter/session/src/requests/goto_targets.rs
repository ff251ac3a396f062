//! `gotoTargets`: a line that a paused task could go on from. Which task that will be, only `goto` says, so its target is asked then.

use dap::{
    GotoTarget, GotoTargetId, GotoTargetsArguments, GotoTargetsResponseBody, RequestMessage,
    requests as dap_requests,
};

use super::{Handled, Refusal};
use crate::{jumps::Jump, session::Session};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: GotoTargetsArguments = request.arguments()?;
    let reference = arguments.source.source_reference.map_or(0, i32::from);
    let held = session.sources.held(reference).and_then(|held| held.path);
    let path = held.or(arguments.source.path).filter(|path| !path.is_empty()).ok_or_else(|| {
        Refusal::from("'gotoTargets' names no file: 'source' has neither a path nor a reference of one")
    })?;
    let jump = Jump {
        path,
        line: arguments.line + 1 - session.client.lines_start_at,
        column: arguments.column.map(|column| column + 1 - session.client.columns_start_at),
    };
    let label = format!("line {}", jump.line);
    let target = GotoTarget {
        id: GotoTargetId(session.jumps.add(jump)?),
        label,
        line: arguments.line,
        column: arguments.column,
        ..Default::default()
    };
    Ok(Some(request.ok::<dap_requests::GotoTargets>(&GotoTargetsResponseBody { targets: vec![target] })))
}
