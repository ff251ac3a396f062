//! The tasks of this binary, by path, and what runs them.

use std::{
    collections::HashMap,
    fmt::Display,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use manta_worker::{FetchedValue, RunnableTask};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error,
    object_ref::{self, Serialized},
    values::Sender,
};

/// One `#[manta::task]`.
pub struct TaskDefinition {
    /// `crate::module::name`.
    pub path: &'static str,
    /// Reads the arguments, calls the function, and serializes what it returns.
    pub run: fn(&mut Arguments) -> Outcome,
    /// After so many calls a worker ends; 0 for no limit.
    pub max_calls: u32,
}

/// A task in the process that runs it.
pub(crate) struct Runnable {
    pub definition: &'static TaskDefinition,
    calls: AtomicU32,
}

impl Runnable {
    /// Counts a call in this process. True when it is to be the last one.
    pub fn is_last_call(&self) -> bool {
        let max = self.definition.max_calls;
        max > 0 && self.calls.fetch_add(1, Ordering::Relaxed) + 1 >= max
    }
}

inventory::collect!(TaskDefinition);

/// The serialized result, or why there is none.
pub type Outcome = Result<Done, Failure>;

/// A serialized result.
pub struct Done(pub(crate) Serialized);

/// Why a task has no result.
pub enum Failure {
    /// It returned an error.
    Returned(String),
    /// It could not be called.
    Call(String),
}

/// The task with this path, if this binary has it.
pub(crate) fn find(path: &str) -> Option<&'static Runnable> {
    static TASKS: OnceLock<HashMap<&'static str, Runnable>> = OnceLock::new();
    let runnable = |definition| Runnable { definition, calls: AtomicU32::new(0) };
    let by_path =
        || inventory::iter::<TaskDefinition>.into_iter().map(|task| (task.path, runnable(task))).collect();
    TASKS.get_or_init(by_path).get(path)
}

/// A task's arguments, taken one after the other.
pub struct Arguments {
    values: std::vec::IntoIter<FetchedValue>,
    /// Where the values of a task go that gives them one by one.
    pub(crate) sender: Option<Sender>,
}

impl Arguments {
    /// Takes a task's arguments out of it. Rust has no keyword arguments: those that came by name stand in their order.
    pub(crate) fn of(task: &mut RunnableTask) -> Self {
        let values: Vec<_> = std::mem::take(&mut task.args).into_iter().map(|(_, value)| value).collect();
        Self { values: values.into_iter(), sender: None }
    }

    /// Says when there are more arguments than parameters.
    ///
    /// # Errors
    /// Then.
    pub fn end(&mut self) -> Result<(), Failure> {
        match self.values.len() {
            0 => Ok(()),
            more => Err(Failure::Call(format!("{more} arguments more than it takes were given"))),
        }
    }

    /// The next argument, named for messages.
    ///
    /// # Errors
    /// When there is none, or it is of another type.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Failure> {
        let value = self.values.next().ok_or_else(|| {
            Failure::Call(format!(
                "argument '{name}' is missing; the driver was built from another version of the program"
            ))
        })?;
        object_ref::deserialize(&value).map_err(|error| Failure::Call(format!("argument '{name}': {error}")))
    }
}

/// A `Result` that a task returns.
pub trait Fallible {
    /// What it holds when all went well.
    type Value;
    /// Splits it; the error as text.
    ///
    /// # Errors
    /// When it is an error.
    fn split(self) -> Result<Self::Value, String>;
}

impl<T, E: Display> Fallible for Result<T, E> {
    type Value = T;

    fn split(self) -> Result<T, String> {
        // The alternate form has the causes, where the type knows of any.
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Serializes what a task returned.
///
/// # Errors
/// When it cannot be serialized.
pub fn finish<T: Serialize>(value: T) -> Outcome {
    object_ref::serialize(&value).map(Done).map_err(|error: Error| Failure::Returned(error.to_string()))
}

/// Serializes what a task returned if it is no error.
///
/// # Errors
/// When it is an error, or cannot be serialized.
pub fn finish_result<R: Fallible<Value: Serialize>>(result: R) -> Outcome {
    result.split().map_err(Failure::Returned).and_then(finish)
}
