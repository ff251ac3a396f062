//! What the client sees of tokio's tasks: a scope of the top frame, and behind a stack those that wait for its task.

use std::cell::OnceCell;
use std::rc::Rc;

use dap::{Scope, ScopesResponseBody, StackFrame, StackFramePresentationHint, Variable, VariablesReference};

use super::variables::TOO_MANY;
use super::{Answer, Answered, Server};
use crate::address::Tid;
use crate::engine::handles::{Handle, TokioTasks};
use crate::engine::report::source_body;
use crate::engine::stops::Stack;
use crate::engine::threads::Thread;
use crate::engine::user_code::is_user_file;
use crate::expression::{Evaluated, Names, evaluate, parse};
use crate::target::Memory;
use crate::tokio::{Details, Runtime, State, TASK_FRAMES, Task, Tasks};
use crate::values::future::{AWAITS, Chain, End, Waiting, chain};
use crate::values::render::{Shown, Style};
use crate::values::view::{View, display_type, view};
use crate::values::{Child, Value};

/// The variables that a suspended async function has saved, by name.
struct Saved<'a> {
    future: &'a Value,
    memory: &'a dyn Memory,
}

impl Names for Saved<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        let View::Future { fields, .. } = view(self.future, self.memory) else { return None };
        fields.into_iter().find(|field| field.name == name).map(|field| field.value)
    }
}

impl Server {
    fn runtime_of(&self, tid: Tid) -> Option<Runtime> {
        let engine = &self.engine;
        let stop = engine.threads.get(tid).and_then(Thread::stop)?;
        engine.tokio.runtime(engine.modules.program().ok()?, &engine.process, stop.registers.fs_base)
    }

    /// The scope of the tasks of the thread's runtime, if it has one.
    pub(super) fn tokio_scope(&mut self, tid: Tid) -> Result<Option<Scope>, String> {
        let Some(runtime) = self.runtime_of(tid) else { return Ok(None) };
        let tasks = Rc::new(TokioTasks { runtime, tasks: OnceCell::new() });
        let id = self.engine.handles.add(tid, Handle::TokioTasks(tasks)).ok_or(TOO_MANY)?;
        Ok(Some(Scope {
            name: "Tokio tasks".to_owned(),
            variables_reference: VariablesReference(id),
            // The list is walked when it is opened.
            expensive: true,
            ..Default::default()
        }))
    }

    /// Tasks as variables: what each does, and where it waits.
    pub(super) fn tokio_tasks(
        &mut self,
        tid: Tid,
        tasks: &Rc<TokioTasks>,
        start: usize,
        most: usize,
    ) -> Result<Vec<Variable>, String> {
        let engine = &self.engine;
        let known: &Tasks = tasks
            .tasks
            .get_or_init(|| engine.tokio.tasks(&tasks.runtime, &engine.process))
            .as_ref()
            .map_err(Clone::clone)?;
        let mut variables = Vec::new();
        for task in known.tasks.iter().skip(start).take(most) {
            let details = self.engine.tokio.details(&tasks.runtime, task, &self.engine.process);
            let chain = details.as_ref().and_then(|details| self.chain_of(details));
            let has_parts = chain.as_ref().is_some_and(|chain| {
                !chain.waiting.is_empty() || matches!(chain.end, End::Leaf(_) | End::Idle(_))
            });
            let handle = Handle::TokioTask(Rc::clone(tasks), task.clone());
            let reference =
                if has_parts { self.engine.handles.add(tid, handle).ok_or(TOO_MANY)? } else { 0 };
            variables.push(Variable {
                name: format!("task {}", task.id),
                value: line_of(details.as_ref(), chain.as_ref()),
                type_: details.and_then(|details| details.type_name).map(|name| display_type(&name)),
                variables_reference: VariablesReference(reference),
                ..Default::default()
            });
        }
        if known.is_cut && start + most >= known.tasks.len() {
            let value = format!("there are more; {} are listed", known.tasks.len());
            variables.push(Variable { name: "…".to_owned(), value, ..Default::default() });
        }
        Ok(variables)
    }

    /// One of a task that runs is being changed, and nothing can be said of it.
    fn chain_of(&self, details: &Details) -> Option<Chain> {
        if matches!(details.state, State::Running { .. }) {
            return None;
        }
        Some(chain(details.future.as_ref()?, &self.engine.process))
    }

    /// What a task waits for: the innermost first, as in a stack.
    pub(super) fn tokio_task(
        &mut self,
        tid: Tid,
        tasks: &TokioTasks,
        task: &Task,
    ) -> Result<Vec<Variable>, String> {
        let details = self.engine.tokio.details(&tasks.runtime, task, &self.engine.process);
        let chain = details.as_ref().and_then(|details| self.chain_of(details));
        let Some(chain) = chain else { return Err("The task runs on; its stack has changed.".to_owned()) };
        let mut variables = Vec::new();
        match chain.end {
            End::Leaf(leaf) => variables.push(self.leaf(tid, leaf)?),
            End::Idle(future) => {
                let value = future.to_string();
                variables.push(Variable { name: future.name, value, ..Default::default() });
            }
            End::Several | End::Cut | End::Unreadable => {}
        }
        for waiting in chain.waiting.into_iter().rev() {
            let (Shown { counts, .. }, reference) = self.shown(tid, &waiting.future, Style::LINE)?;
            variables.push(Variable {
                name: waiting.name,
                value: waiting.at.to_string(),
                type_: Some(display_type(&waiting.future.of.name)),
                variables_reference: reference,
                named_variables: i32::try_from(counts.named).ok().filter(|count| *count > 0),
                ..Default::default()
            });
        }
        Ok(variables)
    }

    /// What the innermost async function awaits.
    fn leaf(&mut self, tid: Tid, leaf: Value) -> Result<Variable, String> {
        let joined = self.engine.tokio.joined(&leaf, &self.engine.process);
        let mut variable =
            self.variable_body(tid, Child { name: AWAITS.to_owned(), value: leaf }, Style::LINE)?;
        if let Some(id) = joined {
            variable.value = format!("the end of task {id}");
        }
        Ok(variable)
    }

    /// Behind a stack in which a tokio task runs: the tasks that wait for it, each with its async functions, after a label.
    pub(super) fn awaiters(&mut self, tid: Tid, stack: &Stack) -> Result<Rc<Vec<StackFrame>>, String> {
        let stop = self.engine.threads.get(tid).and_then(Thread::stop).ok_or("The thread is not paused.")?;
        if let Some(known) = &stop.awaiters {
            return Ok(Rc::clone(known));
        }
        let mut frames = Vec::new();
        // Only a task's stack is worth the search for its runtime.
        if stack.frames.iter().any(|frame| frame.code.name.starts_with(TASK_FRAMES))
            && let Some(runtime) = self.runtime_of(tid)
        {
            for task in self.engine.tokio.awaiters(&runtime, &self.engine.process) {
                let details = self.engine.tokio.details(&runtime, &task, &self.engine.process);
                let Some(chain) = details.as_ref().and_then(|details| self.chain_of(details)) else { break };
                let name = chain.waiting.first().map_or_else(String::new, |outer| format!(" {}", outer.name));
                frames.push(self.label(tid, &format!("awaited by task {}{name}", task.id))?);
                for waiting in chain.waiting.into_iter().rev() {
                    frames.push(self.awaiter(tid, waiting)?);
                }
            }
        }
        let frames = Rc::new(frames);
        if let Some(stop) = self.engine.threads.get_mut(tid).and_then(Thread::stop_mut) {
            stop.awaiters = Some(Rc::clone(&frames));
        }
        Ok(frames)
    }

    fn label(&mut self, tid: Tid, name: &str) -> Result<StackFrame, String> {
        let id = self.engine.handles.add(tid, Handle::Label).ok_or(TOO_MANY)?;
        Ok(StackFrame {
            id: dap::FrameId(id),
            name: name.to_owned(),
            can_restart: Some(false),
            presentation_hint: Some(StackFramePresentationHint::Label),
            ..Default::default()
        })
    }

    fn awaiter(&mut self, tid: Tid, waiting: Waiting) -> Result<StackFrame, String> {
        let id = self.engine.handles.add(tid, Handle::Awaiter(Box::new(waiting.future))).ok_or(TOO_MANY)?;
        let is_user = waiting.at.file.as_deref().is_some_and(is_user_file);
        Ok(StackFrame {
            id: dap::FrameId(id),
            name: waiting.name,
            source: waiting.at.file.as_deref().map(|path| source_body(path, is_user)),
            line: i64::from(waiting.at.line),
            can_restart: Some(false),
            presentation_hint: (!is_user).then_some(StackFramePresentationHint::Subtle),
            ..Default::default()
        })
    }

    /// An async function behind a stack has what it has saved.
    pub(super) fn scopes_of_awaiter(&mut self, tid: Tid, future: Box<Value>) -> Answered<ScopesResponseBody> {
        let id = self.engine.handles.add(tid, Handle::Value(future)).ok_or(TOO_MANY)?;
        let scope = Scope {
            name: "Locals".to_owned(),
            presentation_hint: Some(dap::ScopePresentationHint::Locals),
            variables_reference: VariablesReference(id),
            ..Default::default()
        };
        Ok(Answer::Now(ScopesResponseBody { scopes: vec![scope] }))
    }

    /// What an expression comes to among the variables that an async function has saved.
    pub(super) fn evaluated_in(&self, future: &Value, expression: &str) -> Result<Evaluated, String> {
        let say = |reason| format!("This cannot be evaluated: {reason}.");
        let expression = parse(expression).map_err(say)?;
        let memory = &self.engine.process;
        evaluate(&expression, &Saved { future, memory }, memory).map_err(say)
    }
}

/// A task on one line.
fn line_of(details: Option<&Details>, chain: Option<&Chain>) -> String {
    let Some(details) = details else { return "<its type is not described>".to_owned() };
    let name = match chain.and_then(|chain| chain.waiting.first()) {
        Some(outer) => outer.name.clone(),
        None => details.type_name.as_deref().map_or_else(|| "a future".to_owned(), display_type),
    };
    let place = match chain {
        // What a library does inside of an await is of less interest than who awaits it.
        Some(Chain { waiting, end }) => match (innermost_of_user(waiting), end) {
            (_, End::Idle(future)) => format!(", {future}"),
            (Some(inner), End::Several) => format!(", waits for several futures at {}", inner.at),
            (Some(inner), _) => format!(", waits at {}", inner.at),
            (None, End::Several) => ", waits for several futures".to_owned(),
            (None, _) => String::new(),
        },
        None => String::new(),
    };
    match details.state {
        State::Running { by_this_thread: true } => format!("{name}: it is the one that stopped"),
        State::Running { by_this_thread: false } => format!("{name}: runs on another thread"),
        State::Scheduled => format!("{name}: scheduled{place}"),
        State::Idle => format!("{name}: idle{place}"),
        State::Complete => format!("{name}: complete"),
    }
}

fn innermost_of_user(waiting: &[Waiting]) -> Option<&Waiting> {
    let is_user = |own: &&Waiting| own.at.file.as_deref().is_some_and(is_user_file);
    waiting.iter().rev().find(is_user).or(waiting.last())
}
