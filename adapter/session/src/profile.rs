//! The target profile (adapter/README.md) as types: what targets say beyond DAP.

use dap::{SourceBreakpoint, StackFrame};
use serde::{Deserialize, Serialize};

/// The event by which a target says that one of its threads stopped.
pub const STOPPED: &str = "mantaStopped";
/// The event by which a target says that one of its threads runs on.
pub const CONTINUED: &str = "mantaContinued";

/// The event by which a target tells of a stop what it was asked to tell ahead.
pub const LOOK: &str = "mantaLook";

/// What a target is to send right behind the next stop of a thread: an argument `mantaLook` of requests that resume one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LookWanted {
    /// So many frames.
    pub levels: i32,
    /// Whether the scopes of the innermost frame and the variables of the first of them too.
    pub variables: bool,
}

/// Arguments of a request that resumes a thread, with what is to be sent of the thread's next stop.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WithLook<'a, A> {
    #[serde(flatten)]
    pub arguments: &'a A,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manta_look: Option<LookWanted>,
}

/// The body of `mantaLook`. What is absent has to be asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// The target's own thread id.
    pub thread_id: i32,
    /// The stop.
    pub stop: i64,
    /// This one has the stack alone: another follows at once with the rest.
    #[serde(default)]
    pub more: bool,
    /// The innermost frames.
    pub stack_trace: Option<dap::StackTraceResponseBody>,
    /// The frame of the scopes.
    pub frame: Option<dap::FrameId>,
    /// The scopes of that frame.
    pub scopes: Option<dap::ScopesResponseBody>,
    /// The scope of the variables.
    pub scope: Option<dap::VariablesReference>,
    /// All variables of that scope.
    pub variables: Option<dap::VariablesResponseBody>,
}

/// The body of `mantaStopped`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// The target's own thread id.
    pub thread_id: i32,
    /// As in DAP.
    pub reason: String,
    /// As in DAP.
    pub description: Option<String>,
    /// As in DAP.
    pub text: Option<String>,
    /// The session's logical ids.
    pub hit_breakpoint_ids: Option<Vec<i32>>,
    /// Rises by one with each stop of the target.
    pub stop: i64,
    /// What runs on the thread; absent for a thread that runs no task.
    pub task: Option<Task>,
    /// The innermost frame.
    pub top_frame: Option<StackFrame>,
    /// Whether `mantaLook` follows.
    #[serde(default)]
    pub look: bool,
}

/// The body of `mantaContinued`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Continued {
    /// The target's own thread id.
    pub thread_id: i32,
    /// The stop that is over.
    pub stop: i64,
    /// Whether the task has ended, so that no stop of it will follow.
    #[serde(default)]
    pub ended: bool,
}

/// A task attempt, as targets name it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The task.
    pub task_id: String,
    /// Which attempt at it.
    #[serde(default)]
    pub attempt: u32,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
    /// The driver's run that it belongs to.
    #[serde(default)]
    pub job_id: String,
}

/// The body of a target's answer to `mantaConfigure`.
#[derive(Debug, Clone, Deserialize)]
pub struct Configured {
    /// One for each id.
    #[serde(default)]
    pub breakpoints: Vec<dap::Breakpoint>,
}

/// The arguments of `mantaConfigure`: the whole set of breakpoints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration<'a> {
    pub(crate) generation: u64,
    pub(crate) session_id: &'a str,
    pub(crate) sources: Vec<ConfiguredSource<'a>>,
    pub(crate) function_breakpoints: Vec<ConfiguredFunction<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) data_breakpoints: Vec<ConfiguredData<'a>>,
    pub(crate) exception_filters: &'a [String],
    pub(crate) exception_options: &'a [ExceptionOption],
    pub(crate) step_into_framework: bool,
}

/// The breakpoints of one file.
#[derive(Debug, Serialize)]
pub struct ConfiguredSource<'a> {
    pub(crate) source: &'a dap::Source,
    pub(crate) paths: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<&'a str>,
    pub(crate) breakpoints: Vec<ConfiguredLine<'a>>,
}

/// A line breakpoint with the session's id.
#[derive(Debug, Serialize)]
pub struct ConfiguredLine<'a> {
    pub(crate) id: i32,
    #[serde(flatten)]
    pub(crate) spec: &'a SourceBreakpoint,
}

/// A function breakpoint with the session's id.
#[derive(Debug, Serialize)]
pub struct ConfiguredFunction<'a> {
    pub(crate) id: i32,
    #[serde(flatten)]
    pub(crate) spec: &'a dap::FunctionBreakpoint,
}

/// A data breakpoint with the session's id. Its own id names its process, so that others pass over it.
#[derive(Debug, Serialize)]
pub struct ConfiguredData<'a> {
    pub(crate) id: i32,
    #[serde(flatten)]
    pub(crate) spec: &'a dap::DataBreakpoint,
}

/// An exception filter with a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExceptionOption {
    pub(crate) filter_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) condition: Option<String>,
}
