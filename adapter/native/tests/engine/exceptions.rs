//! Panics and fatal signals of living programs.

use crate::support::{Agent, Build, Program, at, line_of};
use serde_json::json;

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
        frames_of_the_panic_are_folded(&mut agent, &stop, function);
        let info = agent.request("exceptionInfo", &json!({"threadId": stop["threadId"]}));
        assert_eq!((&info["exceptionId"], &info["details"]["message"]), (&json!("panic"), &json!(text)));
        agent.go_on(&stop);
    }
    assert_eq!(program.line(), "caught true");
    assert_eq!(program.ends_by_signal(), libc::SIGSEGV);
    assert_eq!(agent.events_so_far("mantaStopped"), 0, "a panic that goes on is no new one");
}

/// Down to the user's own function, which is not.
fn frames_of_the_panic_are_folded(agent: &mut Agent, stop: &serde_json::Value, function: &str) {
    let trace = agent.request("stackTrace", &json!({"threadId": stop["threadId"]}));
    let frames = trace["stackFrames"].as_array().unwrap();
    let own = frames.iter().position(|frame| frame["name"] == format!("crash::{function}"));
    let (machinery, own) = frames.split_at(own.unwrap_or_else(|| panic!("no crash::{function} in {trace}")));
    assert!(
        !machinery.is_empty() && machinery.iter().all(|frame| frame["presentationHint"] == "subtle"),
        "{trace}"
    );
    assert!(own[0].get("presentationHint").is_none(), "{}", own[0]);
}

#[test]
fn the_code_that_a_signal_interrupted_is_under_its_handler() {
    for build in [Build::Plain, Build::Dwarf5] {
        let mut program = Program::start("signals", build);
        let mut agent = Agent::attach(&program);
        agent.configure("signals", &[("handler", json!({}))]);
        program.go();
        let stop = agent.stopped();
        assert_eq!(at(&stop), format!("signals::handler:{}", line_of("signals", "handler")));
        let trace = agent.request("stackTrace", &json!({"threadId": stop["threadId"]}));
        let frames = trace["stackFrames"].as_array().unwrap();
        let own = frames
            .iter()
            .find(|frame| frame["name"] == "signals::interrupted")
            .expect("it is under the handler");
        assert_eq!(own["line"], line_of("signals", "interrupted"));
        // Its registers are those that the kernel has saved.
        let locals = agent.locals(&json!({"topFrame": own}));
        assert!(locals.contains(&"twice: u64 = 8".to_owned()), "{locals:?}");
        assert!(frames.iter().any(|frame| frame["name"] == "signals::main"), "{trace}");
        agent.go_on(&stop);
        assert_eq!(program.line(), format!("result 12 {}", libc::SIGUSR1));
    }
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
