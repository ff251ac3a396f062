//! The core that every driver and worker embeds: ownership of tasks and objects, leases, peers, and the channel to the node.
//!
//! [`Core`] is the handle that language bindings use from any thread. One I/O thread per process does all input and output; the
//! decisions are in a pure reactor that takes events and gives effects. This crate must never interpret a value's bytes.

mod actor;
mod api;
mod convert;
mod current;
pub mod foreign;
mod handle;
mod head;
mod idle;
mod io;
mod object_ref;
mod parking;
mod placement;
mod placement_groups;
mod reactor;
mod running;
mod shared;
mod stream;
mod submit;
mod telemetry;
mod template;
mod value;
mod waiting;

pub use actor::{ActorOptions, ActorRef, MadeActor};
pub use api::{
    Argument, CreatedActor, CurrentTask, DriverOptions, Function, FunctionId, GetError, JobDescription,
    JoinError, Language, NewTask, NextSlot, NextTask, NodeDescription, OutputHandler, ProcessDescription,
    Program, RunnableTask, SubmitError, TaskFunction, TaskOutputLine,
};
pub use current::get as current_task;
pub use handle::Core;
pub use head::{Answer, AnswerPart, HeadConnection, HeadError, StateQuery};
pub use manta_object_store::{SharedBuffer, StoreError};
pub use manta_proto::ids::{NodeId, TaskId};
pub use object_ref::ObjectRef;
pub use placement::{LabelOperator, Placement};
pub use placement_groups::{GroupDescription, GroupError, GroupStrategy, NewGroup};
pub use stream::Stream;
pub use telemetry::{Measure, MeasureKind};
pub use template::Template;
pub use value::{FetchedValue, Format, NewValue, SystemError, SystemErrorKind};
pub use waiting::{Interrupted, Seen};
