//! `pause`: a task that the client knows and that runs.

use dap::{PauseArguments, RequestMessage, ThreadId, requests};

use super::{Handled, Refusal};
use crate::{
    pending::{Pending, Purpose},
    session::{Session, origin},
    threads::State,
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: PauseArguments = request.arguments()?;
    let id = arguments.thread_id.0;
    let Some(thread) = session.threads.get(id) else {
        return Err(Refusal::from(format!("the task of thread {id} has ended, or there never was one")));
    };
    if matches!(thread.state, State::Paused(_)) {
        return Ok(Some(request.ok::<requests::Pause>(&dap::Empty)));
    }
    let asked = PauseArguments { thread_id: ThreadId(thread.target_thread) };
    let pending = Pending::new(Some(origin(request)), thread.target.clone(), None, Purpose::Pause);
    session.ask::<requests::Pause>(&asked, pending)?;
    Ok(None)
}
