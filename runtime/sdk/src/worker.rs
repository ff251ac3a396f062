//! Worker mode: this binary, started by a node, runs the job's tasks.

use std::{process, sync::Arc, thread};

use manta_worker::{Core, Format, NewValue, NextSlot, NextTask, RunnableTask, TaskFunction};

use crate::{
    TaskError, TaskErrorKind, cancelled, host, object_ref,
    panics::{self, Caught},
    registry::{self, Arguments, Done, Failure, Outcome, Runnable},
    session,
    values::Sender,
};

/// What nodes show people; the version of the compiler is not known at run time.
pub(crate) const LANGUAGE_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");

/// Tasks get the stack that a main thread has, since people try their code there first.
pub(crate) const STACK_BYTES: usize = 8 * 1024 * 1024;

/// Whether a node has started this process.
pub(crate) fn is_worker() -> bool {
    std::env::var_os("MANTA_WORKER").is_some_and(|kind| kind == "native")
}

/// Runs tasks until the node says that it is enough.
pub(crate) fn run() -> ! {
    if let Err(error) = manta_guard::install() {
        fail(&format!("the guard against abandoned breakpoints could not be installed: {error}"));
    }
    let core = Core::worker_from_env(LANGUAGE_VERSION).unwrap_or_else(|error| fail(&error.to_string()));
    session::set_core(core.clone());
    cancelled::listen(&core);
    loop {
        match core.next_slot() {
            NextSlot::Exit(_) => process::exit(0),
            NextSlot::Start(slot) => {
                let core = core.clone();
                let thread =
                    thread::Builder::new().name(format!("manta-task-{slot}")).stack_size(STACK_BYTES);
                if let Err(error) = thread.spawn(move || run_slot(&core, slot)) {
                    fail(&format!("the thread of slot {slot} could not be started: {error}"));
                }
            }
        }
    }
}

/// The node reads stderr and puts its last lines into the message about this worker's end.
fn fail(sentence: &str) -> ! {
    use std::io::Write;
    // Nothing can be done about a stderr that is closed.
    let _ = writeln!(std::io::stderr(), "manta worker: {sentence}");
    process::exit(1)
}

/// The task that was looked up last, by its name: the next one is mostly the same.
type Known = Option<(Arc<str>, &'static Runnable)>;

fn run_slot(core: &Core, slot: u32) {
    let mut known = None;
    loop {
        match core.next_task(slot, None) {
            NextTask::Run(task) if task.creates.is_some() => {
                if host::create(core, *task) {
                    return host::serve();
                }
            }
            NextTask::Run(task) if task.streaming => run_streaming(core, *task, &mut known),
            NextTask::Run(task) => run_plain(core, task, &mut known),
            NextTask::Nothing => {}
            NextTask::Exit(_) => return,
        }
    }
}

fn find(path: &Arc<str>, known: &mut Known) -> Option<&'static Runnable> {
    if let Some((_, found)) = known.as_ref().filter(|(name, _)| Arc::ptr_eq(name, path)) {
        return Some(found);
    }
    let found = registry::find(path)?;
    *known = Some((Arc::clone(path), found));
    Some(found)
}

fn run_plain(core: &Core, mut task: Box<RunnableTask>, known: &mut Known) {
    let arguments = Arguments::of(&mut task);
    run_task(core, &task, arguments, known);
    core.recycle(task);
}

/// Runs a task that gives its values one by one.
fn run_streaming(core: &Core, mut task: RunnableTask, known: &mut Known) {
    let mut arguments = Arguments::of(&mut task);
    let task = Arc::new(task);
    arguments.sender = Some(Sender { core: core.clone(), task: Arc::clone(&task) });
    run_task(core, &task, arguments, known);
}

fn run_task(core: &Core, task: &RunnableTask, mut arguments: Arguments, known: &mut Known) {
    let found = match &task.function {
        TaskFunction::Named(path) => find(path, known).ok_or_else(|| {
            format!(
                "this binary has no task '{path}'; it is another program, or another version of it, than its caller thinks"
            )
        }),
        TaskFunction::Method(method) => Err(format!("the call of '{method}' came to a worker as a task")),
        TaskFunction::Python(_) => Err("it is a Python task, and this is a native worker".to_owned()),
    };
    let outcome = match &found {
        Ok(found) => guarded(task, || (found.definition.run)(&mut arguments)),
        Err(sentence) => Ok(Err(Failure::Call(sentence.clone()))),
    };
    // Refs among unread arguments go before the task ends, so that its end is the end of its needs.
    drop(arguments);
    cancelled::forget(task.id);
    if found.is_ok_and(Runnable::is_last_call) {
        core.retire(task);
    }
    finish(core, task, outcome);
}

/// Runs a task's code where debuggers see whose it is, and panics come back.
pub(crate) fn guarded<R>(task: &RunnableTask, run: impl FnOnce() -> R) -> Result<R, Caught> {
    let current = manta_guard::enter_task(task.id.0, task.attempt, task.job_id.0, &task.name);
    let outcome = panics::catch(run);
    drop(current);
    outcome
}

/// Ends a task with what its code has come to.
pub(crate) fn finish(core: &Core, task: &RunnableTask, outcome: Result<Outcome, Caught>) {
    let error = match outcome {
        Ok(Ok(Done(result))) => {
            core.finish(task, &[result.as_new_value()], false);
            return object_ref::recycle(result);
        }
        Ok(Err(Failure::Returned(message))) => error(task, TaskErrorKind::Error, message),
        Ok(Err(Failure::Call(message))) => error(task, TaskErrorKind::Call, message),
        Err(caught) if caught.exits => error(
            task,
            TaskErrorKind::Error,
            "it called exit_actor(), and is no method of an actor".to_owned(),
        ),
        Err(caught) => panic_error(task, caught),
    };
    core.failing(task, error.message.lines().next().unwrap_or_default());
    // Strings and options of strings: nothing that MessagePack could not hold.
    let bytes = rmp_serde::to_vec_named(&error).unwrap_or_default();
    core.finish(task, &[NewValue::plain(Format::RustError, &bytes)], true);
}

pub(crate) fn panic_error(task: &RunnableTask, caught: Caught) -> TaskError {
    let Caught { message, location, backtrace, .. } = caught;
    TaskError { location, backtrace, ..error(task, TaskErrorKind::Panic, message) }
}

fn error(task: &RunnableTask, kind: TaskErrorKind, message: String) -> TaskError {
    TaskError { task: task.name.to_string(), kind, message, location: None, backtrace: None }
}
