//! Checks a log of a conversation: `cargo run -p dap --example check_log -- LOG [PREFIX]`.
//!
//! PREFIX allows custom requests and events whose names start so. The exit status is 1 where there are findings.

#![allow(clippy::print_stdout, reason = "a program for the command line")]

use std::process::ExitCode;

use dap::Conversation;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        println!("usage: check_log LOG [PREFIX]");
        return ExitCode::from(2);
    };
    let log = match std::fs::read_to_string(&path) {
        Ok(log) => log,
        Err(error) => {
            println!("{path} cannot be read: {error}");
            return ExitCode::from(2);
        }
    };
    let mut conversation = Conversation::new();
    if let Some(prefix) = arguments.next() {
        conversation = conversation.allow_prefix(&prefix);
    }
    conversation.observe_log(&log);
    let count = conversation.message_count();
    let findings = conversation.finish();
    for finding in &findings {
        println!("{finding}");
    }
    println!("checked {count} messages, {} findings", findings.len());
    ExitCode::from(u8::from(!findings.is_empty()))
}
