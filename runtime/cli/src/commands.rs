//! One command a module.

pub mod completions;
pub mod dap;
pub mod debug_agent;
pub mod drain;
pub mod explain;
pub mod head;
pub mod job;
pub mod list;
pub mod local;
pub mod logs;
pub mod memory;
pub mod node;
pub mod stack;
pub mod start;
pub mod status;
pub mod stop;
pub mod timeline;
pub mod watch;
