//! `readMemory` of the process in which a task is paused.

use dap::{ReadMemoryArguments, RequestMessage, requests as dap_requests};

use super::{Handled, Refusal};
use crate::{
    limits::MEMORY_BYTES_MAX,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: ReadMemoryArguments = request.arguments()?;
    if arguments.count > MEMORY_BYTES_MAX {
        return Err(Refusal::from(format!(
            "{} bytes are more than the {MEMORY_BYTES_MAX} that are read at a time; ask for less",
            arguments.count
        )));
    }
    let (target, own) = session.memory_of(&arguments.memory_reference)?;
    let asked = ReadMemoryArguments { memory_reference: own, ..arguments };
    let pending = Pending::new(Some(origin(request)), target, None, Purpose::ReadMemory);
    session.ask::<dap_requests::ReadMemory>(&asked, pending)?;
    Ok(None)
}
