//! `cancel`: gives up a request that waits for a target, and tells the target to give it up too.

use dap::{CancelArguments, RequestMessage, ResponseMessage, requests};

use super::Handled;
use crate::{
    ids::TargetId,
    pending::{Pending, Purpose},
    session::Session,
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: CancelArguments = request.arguments()?;
    // What is answered already, or cannot be given up, is left as it is: the protocol wants no error then.
    if let Some(seq) = arguments.request_id {
        if let Some((of_target, pending)) = session.requests.take_of_client(seq) {
            if let Some(origin) = pending.origin {
                session.reply(ResponseMessage::cancelled(origin.seq, origin.command));
            }
            if matches!(pending.purpose, Purpose::Evaluate | Purpose::SetVariable | Purpose::SetExpression) {
                cancel_in_target(session, pending.target, of_target)?;
            }
        } else if let Some(origin) = session.gatherings.take_of_client(seq) {
            session.reply(ResponseMessage::cancelled(origin.seq, origin.command));
        }
    }
    Ok(Some(request.ok::<requests::Cancel>(&dap::Empty)))
}

fn cancel_in_target(session: &mut Session, target: TargetId, seq: dap::Seq) -> Result<(), super::Refusal> {
    let arguments = CancelArguments { request_id: Some(seq), progress_id: None };
    session.ask::<requests::Cancel>(&arguments, Pending::new(None, target, None, Purpose::Cancel))
}
