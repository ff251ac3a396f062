//! Ids that the client holds for frames and values. They die with their thread's stop, and are never used again.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::calls::StepTarget;
use crate::address::Tid;
use crate::limits::HANDLES_MAX;
use crate::tokio::{Runtime, Task, Tasks};
use crate::values::Value;

/// What an id stands for.
#[derive(Clone)]
pub enum Handle {
    /// A frame, by its position in its thread's stack.
    Frame(usize),
    /// The variables of a frame.
    Variables(usize),
    /// The registers of a frame.
    Registers(usize),
    /// The parts of a value.
    Value(Box<Value>),
    /// An async function that waits behind a stack, as the machine that holds its variables.
    Awaiter(Box<Value>),
    /// What stands between the stack of a task and those that wait for it.
    Label,
    /// The tasks of a tokio runtime.
    TokioTasks(Rc<TokioTasks>),
    /// One of them.
    TokioTask(Rc<TokioTasks>, Task),
    /// What a step can go into.
    StepTarget(StepTarget),
}

/// A tokio runtime whose tasks were asked for.
pub struct TokioTasks {
    /// The runtime.
    pub runtime: Runtime,
    /// Its tasks, read when the client opens them.
    pub tasks: OnceCell<Result<Tasks, String>>,
}

/// All ids of all held threads.
#[derive(Default)]
pub struct Handles {
    handles: HashMap<i32, (Tid, Handle)>,
    /// Expressions for some of the values.
    names: HashMap<i32, String>,
    last: i32,
}

impl Handles {
    /// A new id; `None` when there are too many.
    pub fn add(&mut self, tid: Tid, handle: Handle) -> Option<i32> {
        if self.handles.len() >= HANDLES_MAX {
            return None;
        }
        self.last = self.last.checked_add(1)?;
        self.handles.insert(self.last, (tid, handle));
        Some(self.last)
    }

    /// What an id stands for.
    #[must_use]
    pub fn get(&self, id: i32) -> Option<&(Tid, Handle)> {
        self.handles.get(&id)
    }

    /// Notes the expression for a value, if it has one.
    pub fn name(&mut self, id: i32, expression: Option<&str>) {
        if let Some(expression) = expression.filter(|_| self.handles.contains_key(&id)) {
            self.names.insert(id, expression.to_owned());
        }
    }

    /// The expression for a value.
    #[must_use]
    pub fn name_of(&self, id: i32) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// Forgets all of a thread's.
    pub fn forget(&mut self, tid: Tid) {
        self.handles.retain(|_, (own, _)| *own != tid);
        self.names.retain(|id, _| self.handles.contains_key(id));
    }
}
