//! The expressions that users type: conditions, watches, log messages.
//!
//! A small part of Rust's own syntax, evaluated by reading. Nothing of the program is ever called.

pub mod evaluate;
pub mod parse;

pub use evaluate::{Evaluated, Names, evaluate};
pub use parse::{Expression, parse};
