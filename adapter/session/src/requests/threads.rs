//! `threads`: the paused tasks, from memory, so that it is answered whatever the cluster does.

use dap::{RequestMessage, Thread, ThreadId, ThreadsResponseBody, requests};

use super::Handled;
use crate::session::Session;

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let listed = session.threads.iter_held().filter(|thread| thread.is_listed());
    let threads =
        listed.map(|thread| Thread { id: ThreadId(thread.id), name: thread.name.clone() }).collect();
    Ok(Some(request.ok::<requests::Threads>(&ThreadsResponseBody { threads })))
}
