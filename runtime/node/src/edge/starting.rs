//! Starting workers and drivers.

use std::sync::Arc;

use manta_proto::{ids::ProcessId, v1::JobConfig};

use super::{FollowUp, Shared, State, driver, process, programs};
use crate::core::Exit;

impl Shared {
    /// Starts a worker, as soon as its program is on this machine.
    pub(super) fn prepare_worker(
        self: &Arc<Self>,
        state: &mut State,
        worker: ProcessId,
        job: Box<JobConfig>,
    ) -> FollowUp {
        if programs::is_there(&job, &self.machine_id) {
            return self.start_worker(state, worker, &job, None);
        }
        let shared = Arc::clone(self);
        let preparing = tokio::spawn(async move {
            let ready = programs::ready(&shared, &job).await;
            shared.worker_prepared(worker, *job, ready);
        });
        state.preparing.insert(worker, preparing.abort_handle());
        Box::new(move |core| core.on_program_awaited(worker))
    }

    fn worker_prepared(
        self: &Arc<Self>,
        worker: ProcessId,
        mut job: JobConfig,
        ready: Result<programs::Ready, String>,
    ) {
        let mut state = self.lock();
        // Nobody wants it any more when it is not there.
        if state.preparing.remove(&worker).is_none() {
            return;
        }
        let follow_up: FollowUp = match ready {
            Ok(program) => {
                job.executable = program.path.display().to_string();
                self.start_worker(&mut state, worker, &job, Some(program.hold))
            }
            Err(sentence) => not_started(worker, sentence),
        };
        follow_up(&mut state.core);
        self.settle(&mut state);
    }

    fn start_worker(
        self: &Arc<Self>,
        state: &mut State,
        worker: ProcessId,
        job: &JobConfig,
        program: Option<Arc<()>>,
    ) -> FollowUp {
        let arguments = state.core.launch_arguments(&crate::core::EnvironmentKey {
            json: job.runtime_env.as_str().into(),
            executable: state.core.executable_of(worker),
        });
        match process::start(self, worker, job, &arguments, program) {
            Ok(handle) => {
                let pid = handle.pid();
                self.host.watch_group(pid);
                state.workers.insert(worker, handle);
                Box::new(move |core| core.on_worker_spawned(worker, pid))
            }
            Err(error) => not_started(worker, error.to_string()),
        }
    }

    pub(super) fn start_driver(
        self: &Arc<Self>,
        state: &mut State,
        job: &manta_proto::v1::SubmittedJob,
        place: driver::Place,
    ) -> FollowUp {
        let id = job.submission_id.clone();
        match driver::start(self, job, place) {
            Ok(handle) => {
                let pid = handle.pid();
                self.host.watch_group(pid);
                state.drivers.insert(id.clone(), handle);
                Box::new(move |core| core.on_driver_started(&id, pid))
            }
            Err(error) => {
                let exit = Exit { spawn_error: error.to_string(), ..Exit::default() };
                Box::new(move |core| core.on_driver_exited(&id, &exit))
            }
        }
    }

    /// The driver of a submitted job was reaped.
    pub fn driver_exited(self: &Arc<Self>, id: &str, pid: u32, exit: &Exit) {
        let mut state = self.lock();
        state.drivers.remove(id);
        self.host.forget_group(pid);
        state.core.on_driver_exited(id, exit);
        self.settle(&mut state);
        drop(state);
        self.worker_gone.notify_waiters();
        self.worker_gone.notify_one();
    }

    /// Ends the drivers that this node runs, since it ends itself.
    pub fn end_drivers(&self) {
        self.lock().drivers.values().for_each(process::Handle::end);
    }

    /// Whether no driver of this node's is left.
    pub fn has_no_drivers(&self) -> bool {
        self.lock().drivers.is_empty()
    }
}

impl State {
    pub(super) fn give_up_preparing(&mut self, worker: ProcessId) -> Option<FollowUp> {
        self.preparing.remove(&worker)?.abort();
        Some(not_started(worker, "it was not wanted any more before its program was there".to_owned()))
    }
}

/// There never was a process.
fn not_started(worker: ProcessId, spawn_error: String) -> FollowUp {
    let exit = Exit { spawn_error, ..Exit::default() };
    Box::new(move |core| core.on_worker_exited(worker, &exit))
}
