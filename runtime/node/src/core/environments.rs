//! Environments of workers and drivers (`runtime_env`): made once on this node, by the edge, then shared by all who ask for the same.
//!
//! Who asks for one that is not there yet waits in its pool. When the making fails, all who wait are refused with the reason, and
//! the next request tries anew.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use manta_proto::v1::{JobConfig, TaskOutput, WorkerPlace, node_to_process};
use serde_json::{Value, json};

use super::{Core, Effect, workers::PoolKey};

/// The name under which a driver is shown what is being installed.
const OUTPUT_NAME: &str = "runtime_env";

/// Where Python looks for modules.
const SEARCH_PATH: &str = "PYTHONPATH";

/// Environments are the same when their descriptions are, and they are for the same interpreter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentKey {
    /// The JSON.
    pub json: Arc<str>,
    /// The interpreter, or the native program.
    pub executable: String,
}

/// What the edge has made.
#[derive(Clone, Default)]
pub struct Made {
    /// Folders to import from, before the driver's.
    pub sys_path: Vec<String>,
    /// In the place of the driver's.
    pub working_dir: Option<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// In the place of the driver's interpreter.
    pub executable: Option<String>,
    /// Arguments of that before the worker's own.
    pub arguments: Vec<String>,
    /// Keeps what it is made of from being removed.
    pub hold: Vec<Arc<dyn Send + Sync>>,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Made({:?}, {:?})", self.working_dir, self.executable)
    }
}

enum Environment {
    Making,
    Ready(Box<Made>),
}

/// The environments of this node.
#[derive(Default)]
pub(super) struct Environments {
    known: HashMap<EnvironmentKey, Environment>,
    /// How the making of each went the last time, the oldest first.
    records: VecDeque<Record>,
}

/// What people are told of an environment.
struct Record {
    key: EnvironmentKey,
    /// None while it is being made.
    outcome: Option<Result<(), String>>,
    took: Duration,
}

/// Environments of which it is remembered how their making went.
const RECORDS_MAX: usize = 1_000;

impl Environments {
    fn record(&mut self, key: &EnvironmentKey, outcome: Option<Result<(), String>>, took: Duration) {
        self.records.retain(|record| record.key != *key);
        if self.records.len() >= RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(Record { key: key.clone(), outcome, took });
    }
}

impl EnvironmentKey {
    pub fn of(config: &JobConfig) -> Option<Self> {
        (!config.runtime_env.is_empty())
            .then(|| Self { json: config.runtime_env.as_str().into(), executable: config.executable.clone() })
    }
}

impl PoolKey {
    pub fn environment_key(&self) -> Option<EnvironmentKey> {
        let json = self.environment.clone()?;
        Some(EnvironmentKey { json, executable: self.executable.clone() })
    }
}

impl Core {
    /// Whether the pool's environment is there; if not, it is being made now.
    pub(super) fn has_environment(&mut self, key: &PoolKey, config: &JobConfig) -> bool {
        key.environment_key().is_none_or(|environment| self.made(&environment, config).is_some())
    }

    /// The environment when it is there; if not, it is being made now.
    pub(super) fn made(&mut self, key: &EnvironmentKey, config: &JobConfig) -> Option<&Made> {
        if !self.environments.known.contains_key(key) {
            self.environments.known.insert(key.clone(), Environment::Making);
            self.environments.record(key, None, Duration::ZERO);
            self.effects.push(Effect::MakeEnvironment { key: key.clone(), config: Box::new(config.clone()) });
        }
        match self.environments.known.get(key) {
            Some(Environment::Ready(made)) => Some(made),
            _ => None,
        }
    }

    /// Whether somebody waits for it.
    pub(super) fn is_being_made(&self, key: &EnvironmentKey) -> bool {
        matches!(self.environments.known.get(key), Some(Environment::Making))
    }

    /// Environments that were made here, or could not be, the newest first, as JSON.
    #[must_use]
    pub fn list_environments(&self) -> Value {
        let mut users: HashMap<EnvironmentKey, usize> = HashMap::new();
        let drivers = self.drivers.values().filter_map(|driver| EnvironmentKey::of(&driver.config));
        let workers = self.workers.values().filter_map(|worker| worker.key.environment_key());
        for key in drivers.chain(workers).chain(self.submitted.environments()) {
            *users.entry(key).or_default() += 1;
        }
        let row = |record: &Record| {
            let outcome = record.outcome.as_ref();
            json!({
                "runtime_env": serde_json::from_str::<Value>(&record.key.json).unwrap_or_default(),
                "executable": record.key.executable,
                "state": match outcome { None => "CREATING", Some(Ok(())) => "CREATED", Some(Err(_)) => "FAILED" },
                "success": outcome.map(Result::is_ok),
                "creation_time_ms": outcome.map(|_| record.took.as_secs_f64() * 1000.0),
                "ref_cnt": users.get(&record.key).copied().unwrap_or(0),
                "error": outcome.and_then(|outcome| outcome.as_ref().err()),
            })
        };
        self.environments.records.iter().rev().map(row).collect()
    }

    /// The edge has made an environment, or could not, in this time.
    pub fn on_environment_made(&mut self, key: &EnvironmentKey, made: Result<Made, String>, took: Duration) {
        let outcome = made.as_ref().map(drop).map_err(String::clone);
        self.environments.record(key, Some(outcome), took);
        let failure = match made {
            Ok(made) => {
                self.environments.known.insert(key.clone(), Environment::Ready(Box::new(made)));
                None
            }
            Err(sentence) => {
                self.environments.known.remove(key);
                Some(sentence)
            }
        };
        let mut pools: Vec<PoolKey> =
            self.pools.keys().filter(|pool| pool.environment_key().as_ref() == Some(key)).cloned().collect();
        pools.sort();
        for pool in pools {
            if let Some(sentence) = &failure {
                self.refuse_for_environment(&pool, sentence);
            }
            self.serve_pool(&pool);
        }
        match &failure {
            None => self.prestart_environment(key),
            Some(sentence) => tracing::warn!(sentence, "an environment could not be made"),
        }
        self.on_environment_of_drivers(key, failure.as_deref());
        self.forget_unused_environments();
    }

    fn refuse_for_environment(&mut self, key: &PoolKey, sentence: &str) {
        let waiting =
            self.pools.get_mut(key).map(|pool| std::mem::take(&mut pool.waiting)).unwrap_or_default();
        for pending in waiting {
            self.refuse_reserved_for(pending, sentence, true);
        }
        if self.pools.get(key).is_some_and(super::workers::Pool::is_unused) {
            self.pools.remove(key);
        }
        self.dispatch();
    }

    /// Drivers whose job has this environment get their first workers now.
    fn prestart_environment(&mut self, key: &EnvironmentKey) {
        let mut configs: Vec<JobConfig> = self
            .drivers
            .values()
            .filter(|driver| EnvironmentKey::of(&driver.config).as_ref() == Some(key))
            .map(|driver| driver.config.clone())
            .collect();
        configs.sort_by(|a, b| a.job_id.cmp(&b.job_id));
        for config in configs {
            self.prestart_config(&config);
        }
    }

    /// What the edge starts a worker with: the job's wishes as they are in its environment.
    pub(super) fn launch(&self, key: &PoolKey, config: &JobConfig) -> JobConfig {
        let mut launch = self.with_visible_gpus(key, config);
        let made = key.environment_key().and_then(|key| match self.environments.known.get(&key) {
            Some(Environment::Ready(made)) => Some(made),
            _ => None,
        });
        let Some(made) = made else { return launch };
        launch.here = Some(place_in(made, config));
        for (name, value) in &made.env {
            // What the driver's interpreter needs to find its own modules stays, after what is the environment's.
            let after = launch.env.get(name).filter(|before| name == SEARCH_PATH && !before.is_empty());
            let value = after.map_or_else(|| value.clone(), |after| format!("{value}:{after}"));
            launch.env.insert(name.clone(), value);
        }
        if let Some(executable) = &made.executable {
            launch.executable.clone_from(executable);
        }
        if let Some(working_dir) = &made.working_dir {
            launch.working_dir.clone_from(working_dir);
        }
        launch
    }

    /// The arguments before a worker's own.
    #[must_use]
    pub fn launch_arguments(&self, key: &EnvironmentKey) -> Vec<String> {
        match self.environments.known.get(key) {
            Some(Environment::Ready(made)) => made.arguments.clone(),
            _ => Vec::new(),
        }
    }

    /// The edge tells what it does, for the drivers that wait for it.
    pub fn on_environment_progress(&mut self, key: &EnvironmentKey, text: &str) {
        let output = TaskOutput {
            node_id: self.me.id.to_bytes(),
            node_name: self.me.name.clone(),
            task_name: OUTPUT_NAME.to_owned(),
            stderr: true,
            text: format!("{text}\n"),
            ..TaskOutput::default()
        };
        let waits = |job: &manta_proto::ids::JobId| {
            self.pools.iter().any(|(pool, state)| {
                pool.job == *job && pool.environment_key().as_ref() == Some(key) && !state.waiting.is_empty()
            })
        };
        let told = self.drivers.iter().filter(|(_, driver)| {
            EnvironmentKey::of(&driver.config).as_ref() == Some(key)
                || manta_proto::ids::JobId::try_from(&driver.config.job_id).is_ok_and(|job| waits(&job))
        });
        let mut told: Vec<_> = told.map(|(id, _)| *id).collect();
        told.sort_unstable();
        for driver in told {
            self.tell_process(driver, node_to_process::Message::Output(output.clone()));
        }
    }

    /// Environments that nothing here uses any more are let go of; what they are made of stays in the edge's cache for a while.
    pub(super) fn forget_unused_environments(&mut self) {
        if self.environments.known.is_empty() {
            return;
        }
        let mut used: std::collections::HashSet<EnvironmentKey> =
            self.drivers.values().filter_map(|driver| EnvironmentKey::of(&driver.config)).collect();
        used.extend(self.workers.values().filter_map(|worker| worker.key.environment_key()));
        let pools = self.pools.iter().filter(|(_, pool)| !pool.is_unused());
        used.extend(pools.filter_map(|(key, _)| key.environment_key()));
        used.extend(self.submitted.environments());
        self.environments
            .known
            .retain(|key, environment| used.contains(key) || matches!(environment, Environment::Making));
    }
}

/// Where a worker of this environment looks for modules and files.
pub(super) fn place_in(made: &Made, config: &JobConfig) -> WorkerPlace {
    let mut sys_path = made.sys_path.clone();
    sys_path.extend(config.sys_path.iter().cloned());
    WorkerPlace {
        sys_path,
        working_dir: made.working_dir.clone().unwrap_or_else(|| config.working_dir.clone()),
    }
}
