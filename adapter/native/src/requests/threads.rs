//! `threads`

use dap::{Thread, ThreadsResponseBody};

use super::{Answer, Answered, Server};
use crate::engine::Mode;

impl Server {
    /// An ordinary client sees every thread; a session only those that are paused or run a task.
    pub(super) fn threads(&mut self, _: dap::Empty) -> Answered<ThreadsResponseBody> {
        self.engine.look_for_threads();
        let engine = &self.engine;
        let helper = engine.guard.as_ref().and_then(|guard| guard.helper(&engine.process));
        let mut threads = Vec::new();
        for thread in engine.threads.iter().filter(|thread| Some(thread.tid) != helper) {
            let task = match thread.stop() {
                Some(stop) => stop.task.clone(),
                None => engine.guard.as_ref().and_then(|guard| guard.task_of(&engine.process, thread.tid)),
            };
            let name = match (&task, engine.mode) {
                (Some(task), _) => task.name.clone(),
                (None, Mode::Cluster) if !thread.is_held() => continue,
                (None, _) => format!("{} ({})", engine.process.thread_name(thread.tid), thread.tid),
            };
            threads.push(Thread { id: dap::ThreadId(thread.id), name });
        }
        threads.sort_by_key(|thread| thread.id);
        Ok(Answer::Now(ThreadsResponseBody { threads }))
    }
}
