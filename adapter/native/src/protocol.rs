//! The requests and events of the target profile that DAP itself does not have.

use dap::{Breakpoint, Event, Request, StackFrame, StoppedEventReason};
use serde::{Deserialize, Serialize};

use crate::dwarf::provided::Part;

/// Replaces the whole set of breakpoints.
pub enum MantaConfigure {}

impl Request for MantaConfigure {
    const COMMAND: &'static str = "mantaConfigure";
    const NEEDS_ARGUMENTS: bool = true;
    const NEEDS_BODY: bool = true;
    type Arguments = ConfigureArguments;
    type Response = ConfigureResponseBody;
}

/// The session is gone.
pub enum MantaRelease {}

impl Request for MantaRelease {
    const COMMAND: &'static str = "mantaRelease";
    type Arguments = ReleaseArguments;
    type Response = dap::Empty;
}

/// A task stopped.
pub enum MantaStopped {}

impl Event for MantaStopped {
    const EVENT: &'static str = "mantaStopped";
    const NEEDS_BODY: bool = true;
    type Body = StoppedBody;
}

/// A task runs on.
pub enum MantaContinued {}

impl Event for MantaContinued {
    const EVENT: &'static str = "mantaContinued";
    const NEEDS_BODY: bool = true;
    type Body = ContinuedBody;
}

/// A node's own requests to a target have numbers from here on; a session's are below.
pub const NODE_SEQ_MIN: dap::Seq = 1 << 30;

/// Debug information is missing that others in the cluster may have.
pub enum MantaNeedsDebugInfo {}

impl Event for MantaNeedsDebugInfo {
    const EVENT: &'static str = "mantaNeedsDebugInfo";
    const NEEDS_BODY: bool = true;
    type Body = NeedsDebugInfoBody;
}

/// What has become of that.
pub enum MantaDebugInfo {}

impl Request for MantaDebugInfo {
    const COMMAND: &'static str = "mantaDebugInfo";
    const NEEDS_ARGUMENTS: bool = true;
    type Arguments = DebugInfoArguments;
    type Response = dap::Empty;
}

/// Body of `mantaNeedsDebugInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NeedsDebugInfoBody {
    /// Of the program or library, in hexadecimal.
    pub build_id: String,
    /// What is missing.
    pub kind: Part,
    /// Its path as its process knows it, for people.
    pub name: String,
}

/// Arguments of `mantaDebugInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DebugInfoArguments {
    /// As it was asked for.
    pub build_id: String,
    /// As it was asked for.
    pub kind: Part,
    /// The file.
    pub path: Option<String>,
    /// Why there is none: a part of a sentence.
    pub message: Option<String>,
    /// It is still being looked for; another answer follows.
    #[serde(default)]
    pub pending: bool,
}

/// Arguments of `mantaConfigure`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigureArguments {
    /// Rises with each change.
    pub generation: u64,
    /// Whose breakpoints they are.
    pub session_id: Option<String>,
    /// Line breakpoints by file.
    pub sources: Vec<ConfigureSource>,
    /// Breakpoints on functions.
    pub function_breakpoints: Vec<ConfigureBreakpoint>,
    /// Watched places.
    pub data_breakpoints: Vec<ConfigureData>,
    /// Names of filters that are on.
    pub exception_filters: Vec<String>,
    /// Filters that are on under a condition.
    pub exception_options: Vec<ConfigureException>,
    /// Steps go into libraries and the runtime too.
    pub step_into_framework: bool,
}

/// One file's breakpoints.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigureSource {
    /// The file as the client has it.
    pub source: dap::Source,
    /// The names under which a target may know it, the best one first.
    pub paths: Vec<String>,
    /// The hash of the client's content, in hexadecimal.
    pub sha256: Option<String>,
    /// Its breakpoints.
    pub breakpoints: Vec<ConfigureBreakpoint>,
}

/// One breakpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigureBreakpoint {
    /// The session's id.
    pub id: i32,
    /// The line; of a function breakpoint, nothing.
    pub line: u32,
    /// The function; of a line breakpoint, nothing.
    pub name: String,
    /// Stop only if this is true.
    pub condition: Option<String>,
    /// Stop only at some of the hits.
    pub hit_condition: Option<String>,
    /// Do not stop: print this.
    pub log_message: Option<String>,
}

/// One watched place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigureData {
    /// The session's id.
    pub id: i32,
    /// What `dataBreakpointInfo` of the target has given; other targets answer that it is not theirs.
    pub data_id: String,
    /// A write when nothing is said.
    pub access_type: Option<dap::DataBreakpointAccessType>,
    /// Stop only if this is true.
    pub condition: Option<String>,
    /// Stop only at some of the hits.
    pub hit_condition: Option<String>,
}

/// A filter under a condition.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigureException {
    /// The filter.
    pub filter_id: String,
    /// Its condition.
    pub condition: Option<String>,
}

/// The answer to `mantaConfigure`: one breakpoint for each id.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigureResponseBody {
    /// The generation that is in force now.
    pub generation: u64,
    /// How well the process can be debugged, in a few words.
    pub level: String,
    /// Where each breakpoint landed.
    pub breakpoints: Vec<Breakpoint>,
}

/// Arguments of `mantaRelease`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseArguments {
    /// The session that is gone.
    pub session_id: Option<String>,
}

/// Which task a thread runs.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TaskBody {
    /// In hexadecimal.
    pub task_id: String,
    /// Which try.
    pub attempt: u32,
    /// Its name.
    pub name: String,
    /// In hexadecimal.
    pub job_id: String,
}

/// What `mantaStopped` tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoppedBody {
    /// The target's own id of the thread.
    pub thread_id: i32,
    /// Why.
    pub reason: StoppedEventReason,
    /// For people, as a row's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// For people, in more words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Breakpoints that were hit.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hit_breakpoint_ids: Vec<i32>,
    /// The other threads run on.
    pub all_threads_stopped: bool,
    /// The generation of breakpoints under which it stopped.
    pub generation: u64,
    /// Rises with each stop of the target.
    pub stop: u64,
    /// What the thread runs, if it runs a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskBody>,
    /// The innermost frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_frame: Option<StackFrame>,
    /// Whether `mantaLook` follows.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub look: bool,
}

/// What is to be told of a thread's next stop ahead of being asked: the argument `mantaLook` of a request that resumes it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct LookWanted {
    /// So many frames.
    pub levels: i32,
    /// The scopes of the innermost frame, and the variables of the first of them, too.
    #[serde(default)]
    pub variables: bool,
}

/// What was asked for ahead, right behind `mantaStopped`.
pub enum MantaLook {}

impl Event for MantaLook {
    const EVENT: &'static str = "mantaLook";
    const NEEDS_BODY: bool = true;
    type Body = LookBody;
}

/// What `mantaLook` tells. What is absent has to be asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookBody {
    /// The target's own id of the thread.
    pub thread_id: i32,
    /// The stop.
    pub stop: u64,
    /// This one has the stack alone: another follows at once with the rest.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub more: bool,
    /// The innermost frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_trace: Option<dap::StackTraceResponseBody>,
    /// The frame of the scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<dap::FrameId>,
    /// Its scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<dap::ScopesResponseBody>,
    /// The scope of the variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<dap::VariablesReference>,
    /// All its variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables: Option<dap::VariablesResponseBody>,
}

/// What `mantaContinued` tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContinuedBody {
    /// The target's own id of the thread.
    pub thread_id: i32,
    /// The stop that is over.
    pub stop: u64,
    /// Whether the task has ended, so that no stop of it will follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<bool>,
    /// What the thread runs, if it runs a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskBody>,
}
