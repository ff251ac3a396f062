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

mod actor;
mod arguments;
mod cancelled;
mod context;
mod demand;
mod error;
mod foreign;
mod handle;
mod host;
mod object_ref;
mod options;
mod panics;
mod placement_group;
mod registry;
mod runtime;
mod session;
mod tags;
mod values;
mod worker;

// What the macros write names this crate from outside.
extern crate self as manta;

pub use actor::{Actor, ActorOptions, Call, get_actor, get_actor_in, kill, ready, restart};
pub use arguments::{Arg, IntoArg};
pub use cancelled::is_cancelled;
pub use context::{Context, Node, context, nodes};
pub use error::{Error, TaskError, TaskErrorKind};
pub use foreign::{
    ForeignActor, ForeignActorOptions, ForeignCall, ForeignTask, get_any_actor, python, python_actor,
};
pub use handle::{ActorHandle, AnyActor};
pub use host::{current_actor, exit_actor};
pub use manta_macros::{actor, task};
pub use object_ref::{ObjectRef, cancel, get, get_all, get_timeout, put, wait};
pub use options::TaskOptions;
pub use placement_group::{GroupStrategy, NewPlacementGroup, PlacementGroup};
pub use session::{Options, Session, init, init_with};
pub use values::ObjectRefs;

/// What `#[manta::task]` expands to; not for other use.
#[doc(hidden)]
pub mod __private {
    pub use crate::runtime::block_on;
    pub use crate::{
        actor::{Class, RawOptions},
        handle::RawHandle,
        host::{ActorDefinition, Instance, MethodDefinition},
        option_methods,
        options::{Template, submit, task_options},
        placement_group::placed,
        registry::{Arguments, Failure, Fallible, Outcome, TaskDefinition, finish, finish_result},
        values::{finish_result_values, finish_values, submit_stream},
    };
    pub use inventory;
}
