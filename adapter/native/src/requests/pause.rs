//! `pause`: one thread.

use dap::PauseArguments;

use super::{Answer, Answered, Server};

impl Server {
    pub(super) fn pause(&mut self, arguments: PauseArguments) -> Answered<dap::Empty> {
        let id = arguments.thread_id;
        let thread = self
            .engine
            .threads
            .by_id(id.0)
            .ok_or_else(|| format!("There is no thread {id}; it may have ended."))?;
        let tid = thread.tid;
        self.engine.pause(tid)?;
        Ok(Answer::Now(dap::Empty))
    }
}
