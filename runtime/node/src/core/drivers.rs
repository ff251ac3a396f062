//! Drivers of submitted jobs: started by this node, in the job's environment, and watched until they end.

use std::collections::{BTreeMap, VecDeque};

use manta_proto::v1::{
    DriverUpdate, JobConfig, StartDriver, SubmittedJob, node_to_head, submitted_job::State,
};

use super::{
    Core, Effect,
    environments::{EnvironmentKey, Made},
    workers::Exit,
};

/// The interpreter for which an environment of a submitted job is made.
const PYTHON: &str = "python3";

/// Drivers that ended and whose end is told again to a head that comes back.
const ENDED_MAX: usize = 1_000;

/// The drivers that this node runs.
#[derive(Default)]
pub(super) struct Submitted {
    drivers: BTreeMap<String, RunningDriver>,
    /// The last words on those that ended, the oldest first.
    ended: VecDeque<DriverUpdate>,
}

struct RunningDriver {
    job: SubmittedJob,
    /// It is there.
    pid: Option<u32>,
    started: bool,
    stopping: bool,
}

impl RunningDriver {
    fn config(&self) -> JobConfig {
        JobConfig {
            runtime_env: self.job.runtime_env.clone(),
            executable: PYTHON.to_owned(),
            language: "python".to_owned(),
            ..JobConfig::default()
        }
    }
}

impl Submitted {
    pub fn environments(&self) -> impl Iterator<Item = EnvironmentKey> {
        self.drivers.values().filter_map(|driver| EnvironmentKey::of(&driver.config()))
    }

    /// The submission ids of all that the node can say something of.
    pub fn known(&self) -> Vec<String> {
        let ended = self.ended.iter().map(|update| &update.submission_id);
        self.drivers.keys().chain(ended).cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.drivers.is_empty()
    }
}

impl Core {
    pub(super) fn on_start_driver(&mut self, start: StartDriver) {
        let Some(job) = start.job else { return };
        let id = job.submission_id.clone();
        let driver = RunningDriver { job, pid: None, started: false, stopping: false };
        if self.submitted.drivers.contains_key(&id) {
            return;
        }
        // A job of this id was deleted, and another submitted.
        self.submitted.ended.retain(|update| update.submission_id != id);
        self.submitted.drivers.insert(id.clone(), driver);
        self.start_driver(&id);
    }

    /// Starts a driver when its environment is there.
    fn start_driver(&mut self, id: &str) {
        let Some(driver) = self.submitted.drivers.get(id).filter(|driver| !driver.started) else { return };
        let config = driver.config();
        let made = match EnvironmentKey::of(&config) {
            None => Made::default(),
            Some(key) => match self.made(&key, &config) {
                Some(made) => made.clone(),
                None => return,
            },
        };
        let Some(driver) = self.submitted.drivers.get_mut(id) else { return };
        driver.started = true;
        let job = Box::new(driver.job.clone());
        self.effects.push(Effect::StartDriver {
            job,
            sys_path: made.sys_path,
            working_dir: made.working_dir,
            env: made.env,
        });
    }

    pub(super) fn on_environment_of_drivers(&mut self, key: &EnvironmentKey, failure: Option<&str>) {
        let of_key = |driver: &&RunningDriver| {
            !driver.started && EnvironmentKey::of(&driver.config()).as_ref() == Some(key)
        };
        let ids: Vec<String> = self
            .submitted
            .drivers
            .values()
            .filter(of_key)
            .map(|driver| driver.job.submission_id.clone())
            .collect();
        for id in ids {
            match failure {
                None => self.start_driver(&id),
                Some(sentence) => {
                    self.submitted.drivers.remove(&id);
                    let message = format!("The job's environment could not be made: {sentence}");
                    self.tell_of_driver(&id, State::Failed, message, None, true);
                }
            }
        }
    }

    fn tell_driver(&mut self, id: &str, state: State, message: String, exit_code: Option<i32>) {
        self.tell_of_driver(id, state, message, exit_code, false);
    }

    fn tell_of_driver(
        &mut self,
        id: &str,
        state: State,
        message: String,
        exit_code: Option<i32>,
        environment_failed: bool,
    ) {
        let driver_pid = self.submitted.drivers.get(id).and_then(|driver| driver.pid).unwrap_or(0);
        let update = DriverUpdate {
            submission_id: id.to_owned(),
            state: state.into(),
            message,
            exit_code,
            driver_pid,
            environment_failed,
        };
        if !matches!(state, State::Pending | State::Running) {
            if self.submitted.ended.len() == ENDED_MAX {
                self.submitted.ended.pop_front();
            }
            self.submitted.ended.push_back(update.clone());
        }
        self.tell_head(node_to_head::Message::DriverUpdate(update));
    }

    /// The head is back, and may not have heard the last words before it went.
    pub(super) fn tell_of_drivers_again(&mut self) {
        let running = |(id, driver): (&String, &RunningDriver)| driver.pid.is_some().then(|| id.clone());
        let running: Vec<_> = self.submitted.drivers.iter().filter_map(running).collect();
        for id in running {
            self.tell_running(&id);
        }
        let ended: Vec<_> = self.submitted.ended.iter().cloned().collect();
        for update in ended {
            self.tell_head(node_to_head::Message::DriverUpdate(update));
        }
    }

    fn tell_running(&mut self, id: &str) {
        let message = format!("The job runs on {}.", self.me.name);
        self.tell_driver(id, State::Running, message, None);
    }

    /// The driver's process exists.
    pub fn on_driver_started(&mut self, id: &str, pid: u32) {
        let Some(driver) = self.submitted.drivers.get_mut(id) else { return };
        driver.pid = Some(pid);
        let stopping = driver.stopping;
        self.tell_running(id);
        if stopping {
            self.effects.push(Effect::EndDriver(id.to_owned()));
        }
    }

    pub(super) fn on_stop_driver(&mut self, id: &str) {
        let Some(driver) = self.submitted.drivers.get_mut(id) else { return };
        driver.stopping = true;
        if driver.pid.is_some() {
            self.effects.push(Effect::EndDriver(id.to_owned()));
        } else if !driver.started {
            self.submitted.drivers.remove(id);
            self.tell_driver(
                id,
                State::Stopped,
                "The job was stopped before its driver had started.".to_owned(),
                None,
            );
            self.forget_unused_environments();
        }
    }

    /// The driver's process ended, or never was.
    pub fn on_driver_exited(&mut self, id: &str, exit: &Exit) {
        let Some(driver) = self.submitted.drivers.get(id) else { return };
        let (state, message) = if driver.stopping {
            (State::Stopped, "The job was stopped.".to_owned())
        } else if !exit.spawn_error.is_empty() {
            (
                State::Failed,
                format!("The entrypoint could not be started on {}: {}", self.me.name, exit.spawn_error),
            )
        } else if exit.code == 0 && exit.signal == 0 {
            (State::Succeeded, "The job ended well.".to_owned())
        } else {
            let how = match exit.signal {
                0 => format!("ended with exit code {}", exit.code),
                signal => {
                    let name = nix::sys::signal::Signal::try_from(signal)
                        .map_or("unknown", |signal| signal.as_str());
                    format!("was killed by signal {signal} ({name})")
                }
            };
            let lines = if exit.last_stderr.is_empty() {
                "; it printed nothing".to_owned()
            } else {
                format!("; its last lines:\n{}", exit.last_stderr.join("\n"))
            };
            (State::Failed, format!("The entrypoint {how}{lines}"))
        };
        let code = (exit.spawn_error.is_empty() && exit.signal == 0).then_some(exit.code);
        self.tell_driver(id, state, message, code);
        self.submitted.drivers.remove(id);
        self.forget_unused_environments();
        self.leave_when_drained();
    }
}
