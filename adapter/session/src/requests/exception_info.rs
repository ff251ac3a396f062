//! `exceptionInfo`: why a task stopped at an exception or a panic.

use dap::{ExceptionInfoArguments, RequestMessage, ThreadId, requests};

use super::Handled;
use crate::{
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: ExceptionInfoArguments = request.arguments()?;
    let thread = session.paused(arguments.thread_id.0)?;
    let asked = ExceptionInfoArguments { thread_id: ThreadId(thread.target_thread) };
    let pending = Pending::new(Some(origin(request)), thread.target.clone(), None, Purpose::ExceptionInfo);
    session.ask::<requests::ExceptionInfo>(&asked, pending)?;
    Ok(None)
}
