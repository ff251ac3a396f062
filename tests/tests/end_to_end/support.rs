//! What several of these tests do.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use dap::{Thread, ThreadId, events};
use manta_tests::{Cluster, DapClient, Driver, program};

/// A language in which tasks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    Python,
    Rust,
}

pub const BOTH: [Language; 2] = [Language::Python, Language::Rust];

impl Language {
    /// The source of one of its fixtures.
    pub fn source(self, fixture: &str) -> PathBuf {
        match self {
            Self::Python => program::python_source(fixture),
            Self::Rust => program::rust_source(fixture),
        }
    }

    /// Starts one of its fixtures.
    pub fn start(self, cluster: &Cluster, fixture: &str, arguments: &[&str]) -> Result<Driver> {
        match self {
            Self::Python => Driver::python(cluster, fixture, arguments),
            Self::Rust => Driver::rust(cluster, fixture, arguments),
        }
    }

    /// In which of them a paused task is, by its file.
    pub fn of(client: &mut DapClient, task: ThreadId) -> Result<Self> {
        let source = client.top_frame(task)?.source.context("a paused task's frame has no source")?;
        let path = source.path.or(source.name).unwrap_or_default();
        match path.rsplit('.').next() {
            Some("py") => Ok(Self::Python),
            Some("rs") => Ok(Self::Rust),
            _ => bail!("a task is paused in {path:?}"),
        }
    }
}

/// Adds to a failure what became of the drivers: a driver that failed is its likely cause.
pub fn explained<T>(result: Result<T>, drivers: &mut Vec<Driver>) -> Result<T> {
    result.map_err(|error| {
        let said = drivers.drain(..).map(|mut driver| {
            if driver.is_running() {
                return "a driver still runs".to_owned();
            }
            driver.end().map_or_else(|error| error.to_string(), |ended| format!("a driver ended: {ended:?}"))
        });
        error.context(said.collect::<Vec<_>>().join("\n"))
    })
}

/// Removes the breakpoints, resumes every task that is paused, and gives the stdout of the jobs, which end then.
pub fn resume_until_done(client: &mut DapClient, mut drivers: Vec<Driver>) -> Result<Vec<String>> {
    let resumed = resume_all(client);
    explained(resumed, &mut drivers)?;
    drivers.into_iter().map(Driver::result).collect()
}

/// Removes the breakpoints of `forty_tasks` and resumes what is paused.
fn resume_all(client: &mut DapClient) -> Result<()> {
    for language in BOTH {
        client.set_breakpoints(&language.source("forty_tasks"), Vec::new())?;
    }
    client.threads()?.iter().try_for_each(|task| client.resume(task.id))
}

/// The numbers of the paused tasks of `forty_tasks`, each with its language.
pub fn numbers(client: &mut DapClient, paused: &[Thread]) -> Result<Vec<(Language, u64)>> {
    let mut found = Vec::new();
    for task in paused {
        let value = client.local(task.id, "number")?.value;
        let number = value
            .parse()
            .with_context(|| format!("the local `number` of {} shows as {value:?}", task.name))?;
        found.push((Language::of(client, task.id)?, number));
    }
    found.sort_unstable();
    Ok(found)
}

/// Waits until a thread is gone from the client's list.
pub fn thread_gone(client: &mut DapClient, task: ThreadId) -> Result<()> {
    let gone = |event: dap::ThreadEventBody| {
        (event.thread_id == task && event.reason == dap::ThreadEventReason::Exited).then_some(())
    };
    client.event_where::<events::Thread, _>(&format!("thread {task} exited"), gone)
}

/// The results of the forty tasks, without a debugger.
pub fn undisturbed(cluster: &Cluster, language: Language) -> Result<String> {
    language.start(cluster, "forty_tasks", &["--seed", "7"])?.result()
}

/// The node in a thread's name.
pub fn node(task: &Thread) -> &str {
    task.name.split(" · ").nth(1).unwrap_or_default()
}
