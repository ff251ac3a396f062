//! Where futures of async tasks and methods are driven.
//!
//! Each call keeps a thread of its own and blocks on its future there. A future that moved between threads would take a debugger's
//! stop with it to calls that are none of its business, and blocking code in one call would hold up others. The runtime behind them
//! serves sockets and timers, and whatever a call spawns.

use std::{future::Future, sync::OnceLock};

use tokio::runtime::{Builder, Runtime};

/// Runs a future to its end on the calling thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let make = || {
        let mut builder = Builder::new_multi_thread();
        let built = builder.worker_threads(1).thread_name("manta-async").enable_all().build();
        built.unwrap_or_else(|error| panic!("the runtime for async tasks could not be started: {error}"))
    };
    RUNTIME.get_or_init(make).block_on(future)
}
