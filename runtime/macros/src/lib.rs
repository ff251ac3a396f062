//! `#[manta::task]` and `#[manta::actor]`.
//!
//! The macro only writes down what the SDK's `__private` module then does; it holds no logic of the runtime.

use proc_macro::TokenStream;
use syn::{ItemFn, ItemImpl, parse_macro_input};

mod actor;
mod arguments;
mod signature;
mod task;

/// Makes a function a task: `name.remote(..)` submits it, `name(..)` still calls it here.
/// An `async fn` is driven on a thread of its worker; `name(..).await` calls it here.
///
/// Options, as in `#[manta::task(num_cpus = 2.0, name = "resize")]`: `name`, `num_cpus`, `num_gpus`, `memory`, `max_retries` (how often it
/// runs again after its worker died, 3 by default), `retry_errors` (whether its own failures are retried too), `max_calls` (after how many
/// calls a worker ends, for functions that leak; 0, the default, for no limit).
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    let function = parse_macro_input!(item as ItemFn);
    task::expand(&arguments, &function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a type an actor: its function `new` becomes `Type::remote(..)`, which starts one and gives its handle, and its methods become
/// calls, `handle.method(..).remote()`.
///
/// Every method in the block with `&self` or `&mut self` can be called from elsewhere, with owned arguments; helpers go into an
/// `impl` block without the attribute. Methods may be `async`. What a method returns in a `Result` as its error, or panics with, fails
/// that call alone.
///
/// Options, as in `#[manta::actor(max_restarts = 2)]`: `num_cpus`, `num_gpus`, `memory`, `max_restarts`, `max_task_retries`,
/// `max_pending_calls`, `max_concurrency`, and `concurrency_groups(io = 2)`, for methods with `#[method(concurrency_group = "io")]`.
/// `Type::options()` changes them for one actor.
#[proc_macro_attribute]
pub fn actor(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    let block = parse_macro_input!(item as ItemImpl);
    actor::expand(&arguments, &block).unwrap_or_else(syn::Error::into_compile_error).into()
}
