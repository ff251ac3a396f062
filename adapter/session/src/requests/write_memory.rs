//! `writeMemory` of the process in which a task is paused.

use dap::{RequestMessage, WriteMemoryArguments, requests as dap_requests};

use super::Handled;
use crate::{
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: WriteMemoryArguments = request.arguments()?;
    let (target, own) = session.memory_of(&arguments.memory_reference)?;
    let asked = WriteMemoryArguments { memory_reference: own, ..arguments };
    let pending = Pending::new(Some(origin(request)), target, None, Purpose::WriteMemory);
    session.ask::<dap_requests::WriteMemory>(&asked, pending)?;
    Ok(None)
}
