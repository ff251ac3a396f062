//! `configurationDone`: the client has said all that it wants to stop at.

use dap::{RequestMessage, requests};

use super::Handled;
use crate::session::Session;

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    session.is_configured = true;
    session.reply(request.ok::<requests::ConfigurationDone>(&dap::Empty));
    session.start_driver_if_ready();
    Ok(None)
}
