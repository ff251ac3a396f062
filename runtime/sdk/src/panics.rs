//! Panics of tasks: caught, and told to their owner instead of to the terminal.

use std::{
    any::Any,
    backtrace::Backtrace,
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::Once,
};

/// What is known of a panic.
pub(crate) struct Caught {
    pub message: String,
    pub location: Option<String>,
    pub backtrace: Option<String>,
    /// It is no panic: the actor ends itself.
    pub exits: bool,
}

/// What unwinds through a method that ends its actor.
pub(crate) struct ExitActor;

thread_local! {
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    static SEEN: RefCell<Option<(Option<String>, String)>> = const { RefCell::new(None) };
}

/// Runs a task; a panic comes back as what is known of it.
pub(crate) fn catch<R>(run: impl FnOnce() -> R) -> Result<R, Caught> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| if IN_TASK.get() { see(info) } else { previous(info) }));
    });
    let outer = IN_TASK.replace(true);
    // What a task leaves half done in its own values goes with them; statics are the user's to guard, as in any thread.
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    IN_TASK.set(outer);
    result.map_err(|payload| {
        let (location, backtrace) = SEEN.take().unzip();
        let exits = payload.is::<ExitActor>();
        Caught { message: message(payload.as_ref()), location: location.flatten(), backtrace, exits }
    })
}

/// Runs on the panicking thread, while the panicking frames are still there.
fn see(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string);
    SEEN.set(Some((location, Backtrace::force_capture().to_string())));
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
