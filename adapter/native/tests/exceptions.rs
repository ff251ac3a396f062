//! Panics and fatal signals of living programs.

mod support;

use serde_json::json;
use support::{Agent, Build, Program, at, line_of};

fn armed(build: Build, filter: &str) -> (Program, Agent) {
    let mut program = Program::start("crash", build);
    let mut agent = Agent::attach(&program);
    agent.request("mantaConfigure", &json!({"generation": 1, "sources": [], "exceptionFilters": [filter]}));
    program.go();
    (program, agent)
}

#[test]
fn panics_stop_with_their_message() {
    panics_of(Build::Plain);
}

#[test]
fn panics_stop_with_their_message_in_optimized_code() {
    panics_of(Build::Optimized);
}

#[test]
fn panics_stop_with_their_message_with_the_newer_mangling() {
    panics_of(Build::Dwarf5);
}

fn panics_of(build: Build) {
    let (mut program, mut agent) = armed(build, "panic");
    for (function, text) in
        [("plain", "nothing to add"), ("formatted", "12 is too large"), ("payload", "u16: 77")]
    {
        let stop = agent.stopped();
        assert_eq!(stop["text"], text);
        assert_eq!(stop["reason"], "exception");
        let place = format!("crash::{function}:{}", line_of("crash", function));
        // A function of one call may have become a part of its caller, with the same line.
        assert_eq!(at(&stop), place);
        let info = agent.request("exceptionInfo", &json!({"threadId": stop["threadId"]}));
        assert_eq!((&info["exceptionId"], &info["details"]["message"]), (&json!("panic"), &json!(text)));
        agent.go_on(&stop);
    }
    assert_eq!(program.line(), "caught true");
    assert_eq!(program.ends_by_signal(), libc::SIGSEGV);
    assert_eq!(agent.events_so_far("mantaStopped"), 0, "a panic that goes on is no new one");
}

#[test]
fn a_fatal_signal_stops_before_it_ends_the_program() {
    for build in [Build::Plain, Build::Optimized] {
        let (mut program, mut agent) = armed(build, "signal");
        assert_eq!(program.line(), "caught true");
        let stop = agent.stopped();
        assert_eq!(stop["text"], "SIGSEGV: the address 0x10 was used, and no memory is mapped there");
        assert_eq!(at(&stop), format!("crash::far:{}", line_of("crash", "far")));
        let info = agent.request("exceptionInfo", &json!({"threadId": stop["threadId"]}));
        assert_eq!(info["exceptionId"], "SIGSEGV");
        assert!(info["description"].as_str().unwrap().contains("in crash::far at "), "{info}");
        agent.go_on(&stop);
        agent.event("mantaContinued");
        assert_eq!(program.ends_by_signal(), libc::SIGSEGV);
    }
}

#[test]
fn what_is_not_asked_for_does_not_stop() {
    let (mut program, mut agent) = armed(Build::Plain, "user-unhandled");
    assert_eq!(program.line(), "caught true");
    assert_eq!(program.ends_by_signal(), libc::SIGSEGV);
    assert_eq!(agent.events_so_far("mantaStopped"), 0);
}
