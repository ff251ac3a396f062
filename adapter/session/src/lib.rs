//! The session: one DAP client, many targets.
//!
//! It owns all that is about *many*: ids that mean the same for the whole session, breakpoints for present and future targets, the list of
//! paused tasks, when the client is told of what, and the break budget. It is a pure reactor: [`Session::on`] takes one [`Event`] and
//! gives [`Effect`]s. It must never do I/O, read a clock, or assume that a target belongs to our runtime.

mod arena;
mod breakpoints;
mod effect;
mod event;
mod filter;
mod from_target;
mod gathering;
mod ids;
mod jumps;
mod launch;
pub mod limits;
mod looks;
mod memory;
mod options;
mod output;
mod paths;
mod pending;
mod profile;
mod publisher;
mod requests;
mod resuming;
mod returning;
mod session;
mod setting;
mod shown;
mod sources;
mod stops;
mod threads;

pub use effect::Effect;
pub use event::{ConfigAck, Event, Node, Output, Target, TargetAck, TimerId};
pub use ids::{Generation, JobId, NodeId, TargetId, TaskId};
pub use options::{AttachOptions, LaunchOptions};
pub use session::Session;
pub use sources::ClientFiles;
