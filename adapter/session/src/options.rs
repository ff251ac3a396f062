//! The configurations `attach` and `launch`, as users write them.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use crate::{filter::TaskFilter, limits, paths::PathMapping};

/// What both configurations have.
#[derive(Debug, Clone, Default)]
pub struct CommonOptions {
    /// Which tasks the session concerns; `None`: all.
    pub tasks: Option<TaskFilter>,
    /// The break budget.
    pub max_paused: usize,
    /// Folders with another name in the cluster.
    pub path_mappings: Vec<PathMapping>,
    /// What `continue` means.
    pub resume: Resume,
    /// How long paused tasks wait for a client that is lost.
    pub grace: Duration,
    /// Whether steps enter the code of libraries and of the runtime.
    pub step_into_framework: bool,
}

/// What `continue` means where the client does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resume {
    /// The one task runs on.
    #[default]
    Task,
    /// All paused tasks run on.
    All,
}

/// How to reach a cluster that runs already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachOptions {
    /// `HOST:PORT` of the head; `None`: the environment's, or the default.
    pub address: Option<String>,
    /// The cluster's token; `None`: the environment's, or the token file's.
    pub token: Option<String>,
    /// How long paused tasks wait for a client that is lost.
    pub grace: Duration,
    /// What the client calls itself.
    pub client: String,
}

/// A driver to run under a private cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchOptions {
    /// The Rust binary or the Python file.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables on top of the adapter's environment; `None` removes one.
    pub env: BTreeMap<String, Option<String>>,
    /// Its working folder.
    pub cwd: Option<String>,
    /// The Python interpreter for a `.py` program.
    pub python: Option<String>,
    /// Nodes of the private cluster.
    pub nodes: u32,
    /// How long paused tasks wait for a client that is lost.
    pub grace: Duration,
    /// What the client calls itself.
    pub client: String,
}

/// Every key that either configuration may have. Clients add keys of their own (`name`, `type`, `__restart`), so unknown ones pass.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    tasks: Option<TaskFilter>,
    max_paused: Option<i64>,
    path_mappings: Option<Vec<PathMapping>>,
    resume: Option<Resume>,
    grace_seconds: Option<f64>,
    stop_on_entry: Option<bool>,
    step_into_framework: Option<bool>,
    address: Option<String>,
    token: Option<String>,
    program: Option<String>,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, Option<String>>>,
    cwd: Option<String>,
    python: Option<String>,
    nodes: Option<u32>,
}

impl Raw {
    fn common(&mut self) -> Result<CommonOptions, String> {
        let max_paused = match self.max_paused {
            None => limits::PAUSED_TASKS,
            Some(asked) => usize::try_from(asked)
                .ok()
                .filter(|asked| (1..=limits::PAUSED_TASKS_MAX).contains(asked))
                .ok_or_else(|| {
                    format!("'maxPaused' is {asked}; it must be from 1 to {}", limits::PAUSED_TASKS_MAX)
                })?,
        };
        let grace = match self.grace_seconds {
            None => limits::GRACE,
            Some(asked) => Duration::try_from_secs_f64(asked)
                .ok()
                .filter(|grace| *grace <= limits::GRACE_MAX)
                .ok_or_else(|| {
                    format!("'graceSeconds' is {asked}; it must be from 0 to {}", limits::GRACE_MAX.as_secs())
                })?,
        };
        if self.stop_on_entry == Some(true) {
            return Err("Manta has no 'stopOnEntry': thousands of tasks may start, in processes that are not there yet. Set a breakpoint at a \
                        task's function by its name, or in its file, and remove 'stopOnEntry'"
                .to_owned());
        }
        Ok(CommonOptions {
            tasks: self.tasks.take(),
            max_paused,
            path_mappings: self.path_mappings.take().unwrap_or_default(),
            resume: self.resume.unwrap_or_default(),
            grace,
            step_into_framework: self.step_into_framework.unwrap_or(false),
        })
    }
}

fn read(request: &str, arguments: &str) -> Result<Raw, String> {
    serde_json::from_str(arguments).map_err(|error| {
        format!("the {request} configuration could not be read: {error}; correct it and try again")
    })
}

/// Reads the arguments of `attach`.
///
/// # Errors
/// A sentence, when a value is of the wrong kind or out of range.
pub fn attach(arguments: &str, client: &str) -> Result<(CommonOptions, AttachOptions), String> {
    let mut raw = read("attach", arguments)?;
    let common = raw.common()?;
    let grace = common.grace;
    Ok((common, AttachOptions { address: raw.address, token: raw.token, grace, client: client.to_owned() }))
}

/// Reads the arguments of `launch`.
///
/// # Errors
/// A sentence, when there is no program, or a value is of the wrong kind or out of range.
pub fn launch(arguments: &str, client: &str) -> Result<(CommonOptions, LaunchOptions), String> {
    let mut raw = read("launch", arguments)?;
    let common = raw.common()?;
    let program = raw.program.filter(|program| !program.is_empty()).ok_or(
        "the launch configuration names no 'program'; give the path of a Rust binary or of a Python file, or use 'attach' \
         for a cluster that runs already",
    )?;
    let launch = LaunchOptions {
        program,
        args: raw.args.unwrap_or_default(),
        env: raw.env.unwrap_or_default(),
        cwd: raw.cwd,
        python: raw.python,
        nodes: raw.nodes.unwrap_or(1).clamp(1, 64),
        grace: common.grace,
        client: client.to_owned(),
    };
    Ok((common, launch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_ranges() {
        let (common, options) =
            attach(r#"{"type":"manta","request":"attach","__restart":null}"#, "nvim").unwrap();
        assert_eq!((common.max_paused, common.resume), (limits::PAUSED_TASKS, Resume::Task));
        assert_eq!(
            options,
            AttachOptions { address: None, token: None, grace: limits::GRACE, client: "nvim".to_owned() }
        );
        for wrong in [
            r#"{"maxPaused":0}"#,
            r#"{"graceSeconds":-1}"#,
            r#"{"resume":"some"}"#,
            r#"{"stopOnEntry":true}"#,
            r#"{"address":7}"#,
        ] {
            assert!(attach(wrong, "").is_err(), "{wrong}");
        }
        assert!(launch("{}", "").unwrap_err().contains("'program'"));
        let (_, options) =
            launch(r#"{"program":"a.py","env":{"A":"1","B":null},"resume":"all"}"#, "").unwrap();
        assert_eq!(options.env["B"], None);
    }
}
