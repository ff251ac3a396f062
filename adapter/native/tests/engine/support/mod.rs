//! A debugged program and the agent that debugs it, driven step by step. Every wait has a deadline.

mod agent;
mod fixtures;
mod program;
mod without_ptrace;

use std::time::Duration;

pub use agent::Agent;
pub use fixtures::{Build, Split, line_of, plugin, program_file, source, split_program, stripped};
pub use program::Program;
use serde_json::Value;
pub use without_ptrace::{forbid_ptrace, without_capability};

pub const DEADLINE: Duration = Duration::from_secs(20);

/// The function and line of a stop.
pub fn at(stop: &Value) -> String {
    format!("{}:{}", stop["topFrame"]["name"].as_str().unwrap(), stop["topFrame"]["line"])
}
