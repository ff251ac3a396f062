//! `continue`: one task, or all of them where the client or the configuration says so.

use dap::{ContinueArguments, RequestMessage};

use super::Handled;
use crate::{
    options::Resume,
    session::{Session, origin},
    stops::continue_answer,
    threads::State,
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: ContinueArguments = request.arguments()?;
    let id = arguments.thread_id.0;
    if session.runs_on(id) {
        // Clients send it twice for a quick second click, and what it asks for is so already.
        session.reply(continue_answer(&origin(request), false));
        return Ok(None);
    }
    let all = match arguments.single_thread {
        Some(single) => !single,
        None => session.options.resume == Resume::All,
    };
    if !all {
        session.continue_thread(id, Some(origin(request)))?;
        return Ok(None);
    }
    session.paused(id)?;
    let paused = session.threads.iter_held().filter(|thread| matches!(thread.state, State::Paused(_)));
    let ids: Vec<i32> = paused.map(|thread| thread.id).collect();
    session.reply(continue_answer(&origin(request), true));
    for other in ids {
        if let Err(refusal) = session.continue_thread(other, None) {
            session.console(&refusal.0.text());
        }
    }
    session.announcer.focus = Some(id);
    Ok(None)
}
