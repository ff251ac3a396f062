//! `terminate`: ends the driver that the session launched. A cluster that it attached to is left alone: only the session ends.

use dap::{RequestMessage, events, requests};

use super::Handled;
use crate::{
    effect::Effect,
    session::{Phase, Session},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    session.reply(request.ok::<requests::Terminate>(&dap::Empty));
    if session.phase == Phase::Ended {
        return Ok(None);
    }
    if session.launch.as_ref().is_some_and(|launch| launch.is_started) {
        // Its end is told when it has ended.
        session.effects.push(Effect::KillDriver);
        return Ok(None);
    }
    session.end("the session ends");
    session.effects.push(Effect::Release);
    session.emit::<events::Terminated>(&dap::TerminatedEventBody::default());
    Ok(None)
}
