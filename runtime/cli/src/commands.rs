//! One command a module.

pub mod completions;
pub mod dap;
pub mod debug_agent;
pub mod head;
pub mod list;
pub mod local;
pub mod node;
pub mod start;
pub mod status;
pub mod stop;
pub mod timeline;
pub mod watch;
