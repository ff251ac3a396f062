//! Tasks whose values come one by one: the refs that their caller goes through, and the worker's side.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use manta_worker::{Core, RunnableTask, Stream};
use serde::Serialize;

use crate::{
    Arg, Error, ObjectRef, TaskOptions, arguments, is_cancelled,
    object_ref::{self, Serialized},
    options,
    registry::{Arguments, Failure, Fallible, Outcome, finish},
    session,
};

/// How often a task that waits for its caller looks whether it was cancelled.
const ROOM_POLL: Duration = Duration::from_millis(50);

/// The values of a task that returns an iterator: the ref of each, as soon as the task has made it. When the task fails, the last ref
/// says why. What was not taken when this is dropped is let go.
///
/// ```no_run
/// #[manta::task]
/// fn count(to: u32) -> impl Iterator<Item = u32> {
///     0..to
/// }
///
/// # fn main() -> Result<(), manta::Error> {
/// let _session = manta::init()?;
/// for number in count.remote(10) {
///     println!("{}", manta::get(&number)?);
/// }
/// # Ok(()) }
/// ```
pub struct ObjectRefs<T> {
    // A task that could not be submitted has values too: one, whose `get` says why.
    stream: Result<Stream, Option<Error>>,
    kind: PhantomData<fn() -> T>,
}

impl<T> ObjectRefs<T> {
    fn new(stream: Result<Stream, Error>) -> Self {
        Self { stream: stream.map_err(Some), kind: PhantomData }
    }

    /// A ref that is ready when the task is over, and fails as the task does. [`crate::cancel`] of it cancels the task.
    #[must_use]
    pub fn completed(&self) -> ObjectRef<()> {
        ObjectRef::new(match &self.stream {
            Ok(stream) => Ok(stream.result().clone()),
            Err(error) => Err(error.clone().unwrap_or_else(Error::not_initialized)),
        })
    }
}

impl<T> Iterator for ObjectRefs<T> {
    type Item = ObjectRef<T>;

    /// Waits for the next value, or for the task's end.
    fn next(&mut self) -> Option<ObjectRef<T>> {
        let stream = match &mut self.stream {
            Ok(stream) => stream,
            Err(error) => return error.take().map(|error| ObjectRef::new(Err(error))),
        };
        let (next, index) = stream.next()?;
        let awaited = std::slice::from_ref(&next);
        let waited = session::core().and_then(|core| {
            core.wait(awaited, 1, None, false, &mut || false).map_err(Error::from_get).map(drop)
        });
        match waited {
            Ok(()) => (!stream.is_past(index)).then(|| ObjectRef::new(Ok(next))),
            Err(error) => {
                self.stream = Err(None);
                Some(ObjectRef::new(Err(error)))
            }
        }
    }
}

impl<T> fmt::Debug for ObjectRefs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stream {
            Ok(stream) => write!(f, "ObjectRefs({})", stream.task()),
            Err(error) => write!(f, "ObjectRefs({error:?})"),
        }
    }
}

/// Submits a task that gives its values one by one. If that fails, `get` of its one ref says why.
pub fn submit_stream<T>(options: &TaskOptions, arguments: Vec<Arg>) -> ObjectRefs<T> {
    ObjectRefs::new(try_submit(options, arguments))
}

fn try_submit(options: &TaskOptions, given: Vec<Arg>) -> Result<Stream, Error> {
    let core = session::core()?;
    let given = arguments::given(given.into_iter().map(|argument| (None, argument)).collect())?;
    let args: Vec<_> = given.iter().map(|(name, given)| (name.as_deref(), given.argument())).collect();
    options::with_task(options, &args, |task| Ok(core.submit_stream(task, options.backpressure)?))
}

/// The worker's side: where a task's values go.
pub(crate) struct Sender {
    pub core: Core,
    pub task: Arc<RunnableTask>,
}

impl Sender {
    /// Sends a value, and waits while too many were not taken; `false` when nobody wants another.
    fn send(&self, index: u32, value: &Serialized) -> Result<bool, Failure> {
        let sent = self.core.yield_value(&self.task, index, &value.as_new_value());
        if !sent.map_err(|error| Failure::Returned(error.to_string()))? {
            return Ok(false);
        }
        while !self.core.wait_for_room(&self.task, ROOM_POLL) {
            if is_cancelled() {
                break;
            }
        }
        Ok(!is_cancelled())
    }
}

/// Sends what a task gives.
///
/// # Errors
/// When a value cannot be serialized.
pub fn finish_values<I: Iterator<Item: Serialize>>(arguments: &Arguments, values: I) -> Outcome {
    send_all(arguments, values.map(Ok))
}

/// Sends what a task gives, up to the first error.
///
/// # Errors
/// With that error, or when a value cannot be serialized.
pub fn finish_result_values<I>(arguments: &Arguments, values: I) -> Outcome
where
    I: Iterator<Item: Fallible<Value: Serialize>>,
{
    send_all(arguments, values.map(Fallible::split))
}

fn send_all<T: Serialize>(arguments: &Arguments, values: impl Iterator<Item = Result<T, String>>) -> Outcome {
    let sender = arguments.sender.as_ref().ok_or_else(|| {
        Failure::Call("it gives its values one by one, and was called for a single result".to_owned())
    })?;
    for (index, value) in (0..).zip(values) {
        let value = value.map_err(Failure::Returned)?;
        let value = object_ref::serialize(&value).map_err(|error| Failure::Returned(error.to_string()))?;
        if !sender.send(index, &value)? {
            break;
        }
    }
    finish(())
}
