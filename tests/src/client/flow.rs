//! What people do with a debugger, in one call each: attach, set breakpoints, wait for paused tasks, look, step, go on.

use std::path::Path;

use anyhow::{Context, Result, bail};
use dap::{
    ContinueArguments, EvaluateArguments, FrameId, InitializeRequestArguments, NextArguments,
    ScopesArguments, Seq, SetBreakpointsArguments, Source, SourceBreakpoint, StackFrame, StackTraceArguments,
    StoppedEventBody, Thread, ThreadId, Variable, VariablesArguments, VariablesReference, events, requests,
};
use serde_json::{Map, Value, json};

use super::DapClient;
use crate::{Cluster, program};

/// A breakpoint as the adapter answered it.
pub type Breakpoint = dap::Breakpoint;
/// A frame of a paused task's stack.
pub type Frame = StackFrame;
/// What a `stopped` event says.
pub type Stop = StoppedEventBody;

impl DapClient {
    /// The handshake's first half: `initialize`, then `attach` to the cluster. More attach arguments may be given as an object.
    /// The number is that of the attach request, for [`DapClient::configured`].
    ///
    /// # Errors
    /// When the adapter refuses or `initialized` does not come.
    pub fn attach(&mut self, cluster: &Cluster, more: &Value) -> Result<Seq> {
        self.attach_to(cluster.address(), cluster.token(), more)
    }

    /// As [`DapClient::attach`], with any address and token.
    ///
    /// # Errors
    /// When the adapter refuses or `initialized` does not come.
    pub fn attach_to(&mut self, address: &str, token: &str, more: &Value) -> Result<Seq> {
        self.initialize()?;
        let seq = self.send_attach(address, token, more)?;
        self.event::<events::Initialized>("after attach")?;
        Ok(seq)
    }

    /// Sends `initialize`.
    ///
    /// # Errors
    /// When the adapter refuses it.
    pub fn initialize(&mut self) -> Result<dap::Capabilities> {
        self.request::<requests::Initialize>(&InitializeRequestArguments {
            client_id: Some("manta-tests".to_owned()),
            client_name: Some("Manta's tests".to_owned()),
            adapter_id: "manta".to_owned(),
            lines_start_at1: Some(true),
            columns_start_at1: Some(true),
            supports_variable_type: Some(true),
            supports_variable_paging: Some(true),
            ..InitializeRequestArguments::default()
        })
    }

    /// Sends `attach` and does not wait.
    ///
    /// # Errors
    /// When the adapter is gone.
    pub fn send_attach(&mut self, address: &str, token: &str, more: &Value) -> Result<Seq> {
        let mut arguments =
            Map::from_iter([("address".to_owned(), json!(address)), ("token".to_owned(), json!(token))]);
        arguments.extend(more.as_object().cloned().unwrap_or_default());
        self.send::<requests::Attach>(&serde_json::from_value(Value::Object(arguments))?)
    }

    /// The handshake's second half: `configurationDone`, and the answer to attach.
    ///
    /// # Errors
    /// When either is refused.
    pub fn configured(&mut self, attach: Seq) -> Result<()> {
        self.request::<requests::ConfigurationDone>(&Default::default())?;
        match self.answer::<requests::Attach>(attach)? {
            Ok(_) => Ok(()),
            Err(refusal) => bail!("attach was refused: {refusal}"),
        }
    }

    /// Attaches, sets one breakpoint at each source's marked line, and finishes the handshake.
    ///
    /// # Errors
    /// When a step of it fails or a breakpoint is not verified.
    pub fn attach_with_breakpoints(
        &mut self,
        cluster: &Cluster,
        more: &Value,
        sources: &[&Path],
    ) -> Result<Vec<Breakpoint>> {
        let attach = self.attach(cluster, more)?;
        let mut set = Vec::new();
        for source in sources {
            let answer = self.break_at_mark(source, None)?;
            if !answer.verified {
                bail!(
                    "the breakpoint in {} is not verified: {}",
                    source.display(),
                    answer.message.unwrap_or_default()
                );
            }
            set.push(answer);
        }
        self.configured(attach)?;
        Ok(set)
    }

    /// Sets one breakpoint at a source's marked line, and no other in it.
    ///
    /// # Errors
    /// When the line is not found or the request fails.
    pub fn break_at_mark(&mut self, source: &Path, condition: Option<&str>) -> Result<Breakpoint> {
        let line = program::marked_line(source, "stop here")?;
        let condition = condition.map(str::to_owned);
        let mut answer = self.set_breakpoints(
            source,
            vec![SourceBreakpoint { line, condition, ..SourceBreakpoint::default() }],
        )?;
        match (answer.pop(), answer.len()) {
            (Some(breakpoint), 0) => Ok(breakpoint),
            (_, more) => bail!("one breakpoint was set and {} were answered", more + 1),
        }
    }

    /// Replaces a source's breakpoints.
    ///
    /// # Errors
    /// When it is refused.
    pub fn set_breakpoints(
        &mut self,
        source: &Path,
        breakpoints: Vec<SourceBreakpoint>,
    ) -> Result<Vec<Breakpoint>> {
        let name = source.file_name().map(|name| name.to_string_lossy().into_owned());
        let source = Source { name, path: Some(source.display().to_string()), ..Source::default() };
        let arguments = SetBreakpointsArguments {
            source,
            breakpoints: Some(breakpoints),
            ..SetBreakpointsArguments::default()
        };
        Ok(self.request::<requests::SetBreakpoints>(&arguments)?.breakpoints)
    }

    /// The paused tasks, as the client's list has them.
    ///
    /// # Errors
    /// When the adapter refuses.
    pub fn threads(&mut self) -> Result<Vec<Thread>> {
        Ok(self.request::<requests::Threads>(&Default::default())?.threads)
    }

    /// Waits until `count` tasks are paused at once. Stops come in batches, so the list is the truth, and an event says to look again.
    ///
    /// # Errors
    /// When there are not as many in time.
    pub fn paused(&mut self, count: usize) -> Result<Vec<Thread>> {
        loop {
            let threads = self.threads()?;
            if threads.len() >= count {
                return Ok(threads);
            }
            self.event::<events::Stopped>(&format!("{} of {count} tasks are paused", threads.len()))?;
        }
    }

    /// A paused task's stack.
    ///
    /// # Errors
    /// When the adapter refuses.
    pub fn stack(&mut self, thread: ThreadId, levels: i32) -> Result<Vec<Frame>> {
        let arguments = StackTraceArguments {
            thread_id: thread,
            start_frame: Some(0),
            levels: Some(levels),
            ..StackTraceArguments::default()
        };
        Ok(self.request::<requests::StackTrace>(&arguments)?.stack_frames)
    }

    /// The frame at which a task is paused.
    ///
    /// # Errors
    /// When the adapter refuses or the stack is empty.
    pub fn top_frame(&mut self, thread: ThreadId) -> Result<Frame> {
        self.stack(thread, 1)?.into_iter().next().context("the stack of a paused task is empty")
    }

    /// The variables of a frame's first scope: its locals.
    ///
    /// # Errors
    /// When the adapter refuses or there is no scope.
    pub fn locals(&mut self, frame: FrameId) -> Result<Vec<Variable>> {
        let scopes = self.request::<requests::Scopes>(&ScopesArguments { frame_id: frame })?.scopes;
        let first = scopes.first().context("the frame has no scope")?;
        self.children(first.variables_reference)
    }

    /// A container's children.
    ///
    /// # Errors
    /// When the adapter refuses.
    pub fn children(&mut self, container: VariablesReference) -> Result<Vec<Variable>> {
        let arguments =
            VariablesArguments { variables_reference: container, ..VariablesArguments::default() };
        Ok(self.request::<requests::Variables>(&arguments)?.variables)
    }

    /// One local of the frame at which a task is paused.
    ///
    /// # Errors
    /// When there is no such local.
    pub fn local(&mut self, thread: ThreadId, name: &str) -> Result<Variable> {
        let frame = self.top_frame(thread)?;
        let locals = self.locals(frame.id)?;
        let names: Vec<&str> = locals.iter().map(|variable| variable.name.as_str()).collect();
        let found = locals.iter().find(|variable| variable.name == name);
        found
            .cloned()
            .with_context(|| format!("{} has no local {name}; it has {}", frame.name, names.join(", ")))
    }

    /// Evaluates an expression in the frame at which a task is paused.
    ///
    /// # Errors
    /// When the adapter refuses.
    pub fn evaluate(&mut self, thread: ThreadId, expression: &str) -> Result<String> {
        let frame = self.top_frame(thread)?;
        let arguments = EvaluateArguments {
            expression: expression.to_owned(),
            frame_id: Some(frame.id),
            ..EvaluateArguments::default()
        };
        Ok(self.request::<requests::Evaluate>(&arguments)?.result)
    }

    /// Lets one task run on.
    ///
    /// # Errors
    /// When the adapter refuses.
    pub fn resume(&mut self, thread: ThreadId) -> Result<()> {
        let arguments = ContinueArguments { thread_id: thread, ..ContinueArguments::default() };
        let answer = self.request::<requests::Continue>(&arguments)?;
        if answer.all_threads_continued != Some(false) {
            bail!("continue of one task answered allThreadsContinued {:?}", answer.all_threads_continued);
        }
        Ok(())
    }

    /// Steps one task over its line and waits for its stop.
    ///
    /// # Errors
    /// When the adapter refuses or the task does not stop again.
    pub fn step_over(&mut self, thread: ThreadId) -> Result<Stop> {
        self.request::<requests::Next>(&NextArguments { thread_id: thread, ..NextArguments::default() })?;
        self.stopped(thread, "step")
    }

    /// Waits for the stop of one task with a reason.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn stopped(&mut self, thread: ThreadId, reason: &str) -> Result<Stop> {
        let reason: dap::StoppedEventReason = serde_json::from_value(json!(reason))?;
        self.event_where::<events::Stopped, _>(&format!("thread {thread}, {reason:?}"), |stop| {
            (stop.thread_id == Some(thread) && stop.reason == reason).then_some(stop)
        })
    }
}
