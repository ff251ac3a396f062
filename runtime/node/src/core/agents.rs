//! The debug agents of native workers: a worker outlives its agent, and gets another while a session wants one.

use bytes::Bytes;
use manta_proto::{
    ids::ProcessId,
    v1::{self, node_to_head, node_to_process},
};

use super::{Core, debug::Request};

/// A debug agent that ends this often without having taken breakpoints is not started again.
const AGENT_FAILURES_MAX: u32 = 3;

/// How well a worker can be debugged whose agent does not stay.
const NO_LEVEL: &str = "none";

impl Core {
    /// The agent of a native worker runs; the worker must let it trace.
    pub fn on_agent_started(&mut self, worker: ProcessId, pid: u32) {
        self.tell_process(worker, node_to_process::Message::AllowTracer(v1::AllowTracer { pid }));
    }

    /// The agent of a native worker ended, as it was told to or not. Its worker runs on.
    pub fn on_agent_ended(&mut self, id: ProcessId, cause: &str) {
        self.forget_debug_files(id);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.incarnation = worker.incarnation.next();
        }
        let Some(target) = self.debug.targets.get_mut(&id) else { return };
        target.agent_runs = false;
        target.loaded = false;
        target.agent_failures += 1;
        let failures = target.agent_failures;
        let requests: Vec<_> = std::mem::take(&mut target.requests).into_values().collect();
        let paused: Vec<_> = target.paused.keys().copied().collect();
        for task in paused {
            self.on_task_paused(id, task, false);
        }
        let wanted = self.debug.config.as_ref().is_some_and(|config| !config.empty);
        if wanted && failures < AGENT_FAILURES_MAX {
            self.tell_agent_lost(id, cause);
            self.send_config(id);
            return;
        }
        for request in requests {
            if let Request::Configure { generation, .. } = request {
                self.on_configured(id, generation, Bytes::new(), cause.to_owned());
            }
        }
        if wanted {
            self.on_debug_level(id, NO_LEVEL.to_owned());
            let cause = format!("{cause}; it was started {failures} times and is not started again");
            self.tell_head(node_to_head::Message::TargetDown(v1::TargetDown {
                target_id: id.to_bytes(),
                cause,
            }));
        } else if self.debug.config.is_some() {
            // The session has no breakpoints any more, and still shows the tasks that were paused; the line may have told it of some that
            // this node has not heard of.
            self.tell_agent_lost(id, cause);
        } else if let Some(up) = self.target_up(id) {
            // For the next session.
            self.tell_head(node_to_head::Message::TargetUp(up));
        }
    }

    /// The session forgets what the agent held. A later one is another target to it, although of the same worker.
    fn tell_agent_lost(&mut self, id: ProcessId, cause: &str) {
        let Some(up) = self.target_up(id) else { return };
        let down = v1::TargetDown { target_id: id.to_bytes(), cause: cause.to_owned() };
        self.tell_head(node_to_head::Message::TargetDown(down));
        self.tell_head(node_to_head::Message::TargetUp(up));
    }

    fn target_up(&self, id: ProcessId) -> Option<v1::TargetUp> {
        self.workers.get(&id)?.target_up(id, &self.me)
    }
}
