//! `#[manta::task]`.
//!
//! The macro only writes down what the SDK's `__private` module then does; it holds no logic of the runtime.

use proc_macro::TokenStream;
use syn::{ItemFn, parse_macro_input};

mod arguments;
mod task;

/// Makes a function a task: `name.remote(..)` submits it, `name(..)` still calls it here.
///
/// Options, as in `#[manta::task(num_cpus = 2.0, name = "resize")]`: `name`, `num_cpus`, `num_gpus`, `max_retries` (how often it
/// runs again after its worker died, 3 by default), `retry_errors` (whether its own failures are retried too).
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    let function = parse_macro_input!(item as ItemFn);
    task::expand(&arguments, &function).unwrap_or_else(syn::Error::into_compile_error).into()
}
