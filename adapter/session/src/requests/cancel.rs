//! `cancel`: gives up a request that waits for a target.

use dap::{CancelArguments, RequestMessage, ResponseMessage, requests};

use super::Handled;
use crate::session::Session;

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: CancelArguments = request.arguments()?;
    // What is answered already, or cannot be given up, is left as it is: the protocol wants no error then.
    let pending = arguments.request_id.and_then(|seq| session.requests.take_of_client(seq));
    if let Some(origin) = pending.and_then(|pending| pending.origin) {
        session.reply(ResponseMessage::cancelled(origin.seq, origin.command));
    }
    Ok(Some(request.ok::<requests::Cancel>(&dap::Empty)))
}
