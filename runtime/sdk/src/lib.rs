//! Manta for Rust: functions as tasks on a cluster.
//!
//! ```no_run
//! #[manta::task]
//! fn square(number: u64) -> u64 {
//!     number * number
//! }
//!
//! fn main() -> Result<(), manta::Error> {
//!     let _session = manta::init()?;
//!     let refs: Vec<_> = (0..10).map(|number| square.remote(number)).collect();
//!     assert_eq!(manta::get_all(&refs)?.iter().sum::<u64>(), 285);
//!     Ok(())
//! }
//! ```
//!
//! The same binary is driver and worker: nodes start it again, and there [`init`] never returns but runs tasks. So what comes before
//! `init` in `main` runs in every worker too, and what comes after it only in the driver.

mod arguments;
mod context;
mod error;
mod object_ref;
mod options;
mod panics;
mod registry;
mod session;
mod worker;

pub use arguments::{Arg, IntoArg};
pub use context::{Context, Node, context, nodes};
pub use error::{Error, TaskError, TaskErrorKind};
pub use manta_macros::task;
pub use object_ref::{ObjectRef, get, get_all, get_timeout, put, wait};
pub use options::TaskOptions;
pub use session::{Options, Session, init, init_with};

/// What `#[manta::task]` expands to; not for other use.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        option_methods,
        options::{submit, task_options},
        registry::{Arguments, Fallible, Outcome, TaskDefinition, finish, finish_result},
    };
    pub use inventory;
}
