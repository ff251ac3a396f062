//! `configurationDone`: the client has said all that it wants to stop at.

use dap::{RequestMessage, requests};

use super::Handled;
use crate::{
    ids::Generation,
    session::{Session, origin},
    setting::Setting,
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    session.is_configured = true;
    if session.publisher.newest() == Generation::default() {
        // A client that has set nothing still has a session: Python's `breakpoint()` stops in it, once the nodes know of it.
        session.set(origin(request), Setting::Nothing, true);
        return Ok(None);
    }
    session.reply(request.ok::<requests::ConfigurationDone>(&dap::Empty));
    session.start_driver_if_ready();
    Ok(None)
}
