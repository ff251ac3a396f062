//! What can go wrong, as sentences.

use std::{fmt, sync::Arc, time::Duration};

use manta_worker::{GetError, JoinError, SubmitError, SystemError, SystemErrorKind};
use serde::{Deserialize, Serialize};

/// Why something did not work.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The task failed: it panicked, or returned an error.
    #[error(transparent)]
    Task(Box<TaskError>),
    /// The actor is dead, and will not come back.
    #[error("{0}")]
    ActorDied(String),
    /// The actor's worker ended under the call; the actor lives on or is made anew. Whether the call had an effect is not known.
    #[error("{0}")]
    ActorUnavailable(String),
    /// The actor is being made anew, and the call was not to wait for that: it had no effect.
    #[error("{0}")]
    ActorRestarting(String),
    /// The task was cancelled.
    #[error("{0}")]
    Cancelled(String),
    /// The runtime could not run the task or keep its result.
    #[error(transparent)]
    System(SystemError),
    /// The value did not come in time.
    #[error("the value did not come within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// A value cannot be written as MessagePack, or is not of the expected type.
    #[error("{0}")]
    Value(String),
    /// The task or value could not be handed to the runtime.
    #[error(transparent)]
    Submit(Arc<SubmitError>),
    /// There is no cluster.
    #[error(transparent)]
    Join(Arc<JoinError>),
    /// The process is not part of a cluster, or has lost it.
    #[error("{0}")]
    Disconnected(String),
}

impl Error {
    pub(crate) fn not_initialized() -> Self {
        Self::Disconnected(
            "this process is not part of a cluster: call manta::init() first, and keep the session that it returns".to_owned(),
        )
    }

    pub(crate) fn from_system(error: SystemError) -> Self {
        match error.kind {
            SystemErrorKind::ActorDied
            | SystemErrorKind::ActorUnschedulable
            | SystemErrorKind::ActorGroupRemoved => Self::ActorDied(error.message),
            SystemErrorKind::ActorUnavailable => Self::ActorUnavailable(error.message),
            SystemErrorKind::ActorRestarting => Self::ActorRestarting(error.message),
            SystemErrorKind::Cancelled => Self::Cancelled(error.message),
            _ => Self::System(error),
        }
    }

    pub(crate) fn from_get(error: GetError) -> Self {
        match error {
            GetError::Timeout(timeout) => Self::Timeout(timeout),
            GetError::Interrupted => Self::Disconnected("the wait was interrupted".to_owned()),
            GetError::Disconnected(cause) => Self::Disconnected(cause),
            GetError::StaleRef => Self::Disconnected(error.to_string()),
        }
    }
}

impl From<SubmitError> for Error {
    fn from(error: SubmitError) -> Self {
        Self::Submit(Arc::new(error))
    }
}

impl From<JoinError> for Error {
    fn from(error: JoinError) -> Self {
        Self::Join(Arc::new(error))
    }
}

/// How a task failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskErrorKind {
    /// It panicked.
    Panic,
    /// It returned `Err`.
    Error,
    /// Its worker does not know it, or could not read its arguments.
    Call,
    /// It raised an exception, in Python.
    Exception,
}

/// A task's failure, as it was where it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// The task's name.
    pub task: String,
    /// How it failed.
    pub kind: TaskErrorKind,
    /// The panic's message, or the error's text.
    pub message: String,
    /// `file:line:column` of a panic.
    pub location: Option<String>,
    /// The panic's backtrace, or the exception's traceback.
    pub backtrace: Option<String>,
}

impl std::error::Error for TaskError {}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, kind, message, location, backtrace } = self;
        match kind {
            TaskErrorKind::Panic => {
                let place = location.as_deref().unwrap_or("an unknown place");
                write!(f, "task '{task}' panicked at {place}: {message}")?;
                backtrace.iter().try_for_each(|backtrace| write!(f, "\n\nIn the worker:\n{backtrace}"))
            }
            TaskErrorKind::Error => write!(f, "task '{task}' failed: {message}"),
            TaskErrorKind::Exception => {
                write!(f, "the Python task '{task}' failed: {message}")?;
                backtrace.iter().try_for_each(|traceback| write!(f, "\n\nIn the worker:\n{traceback}"))
            }
            TaskErrorKind::Call => write!(f, "task '{task}' could not be called: {message}"),
        }
    }
}
