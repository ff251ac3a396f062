//! One command a module.

pub mod completions;
pub mod dap;
pub mod debug_agent;
pub mod head;
pub mod local;
pub mod node;
pub mod start;
pub mod status;
pub mod stop;
pub mod watch;
