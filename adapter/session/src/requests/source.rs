//! `source`: the text of a file that the client lacks, from a target that has it.

use dap::{ErrorMessage, RequestMessage, Source, SourceArguments, SourceReference, requests};

use super::{Handled, Refusal};
use crate::{
    pending::{Pending, Purpose},
    session::{Session, origin},
    sources::Held,
    threads::Origin,
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: SourceArguments = request.arguments()?;
    let in_source = arguments.source.and_then(|source| source.source_reference);
    let SourceReference(reference) = in_source.unwrap_or(arguments.source_reference);
    let held = session
        .sources
        .held(reference)
        .ok_or_else(|| Refusal::from(format!("there is no source {reference} in this session")))?;
    ask_next(session, &origin(request), held)?;
    Ok(None)
}

/// One target could not say it; perhaps the next one can.
pub(crate) fn refused(
    session: &mut Session,
    origin: Option<&Origin>,
    held: Held,
    error: ErrorMessage,
) -> Handled {
    match origin {
        Some(origin) if !held.targets.is_empty() => ask_next(session, origin, held).map(|()| None),
        _ => Err(Refusal(error)),
    }
}

fn ask_next(session: &mut Session, origin: &Origin, mut held: Held) -> Result<(), Refusal> {
    if held.targets.is_empty() {
        return Err(Refusal::from(
            "the process that had this source is gone, and the file is not on this machine",
        ));
    }
    let target = held.targets.remove(0);
    let source = Source {
        path: held.path.clone(),
        source_reference: Some(SourceReference(held.reference)),
        ..Default::default()
    };
    let asked = SourceArguments { source: Some(source), source_reference: SourceReference(held.reference) };
    let pending = Pending::new(Some(origin.clone()), target, None, Purpose::Source(held));
    session.ask::<requests::Source>(&asked, pending)
}
