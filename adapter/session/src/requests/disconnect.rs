//! `disconnect`: the client leaves. Paused tasks run on at once; a driver that it launched ends with it.

use dap::{RequestMessage, requests};

use super::Handled;
use crate::{
    effect::Effect,
    session::{Phase, Session},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    if session.phase != Phase::Ended {
        session.end("the session ends");
        if session.launch.is_some() {
            session.effects.push(Effect::KillDriver);
        }
        session.effects.push(Effect::Release);
    }
    session.reply(request.ok::<requests::Disconnect>(&dap::Empty));
    session.effects.push(Effect::Close);
    Ok(None)
}
