//! Sessions, agents and breakpoints that come and go.

use crate::support::{Agent, Build, Program, line_of};
use serde_json::json;

/// So many programs are tried where a test needs one that goes on for a while.
const PROGRAMS_MAX: usize = 20;

#[test]
fn breakpoints_come_and_go_while_threads_are_made_and_end() {
    const MARKS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let expected = {
        let mut alone = Program::start("storm", Build::Plain);
        alone.go();
        alone.line()
    };
    for kill in [false, true] {
        let mut program = Program::start("storm", Build::Plain);
        let mut agent = Agent::attach(&program);
        let set = |agent: &mut Agent, count: usize, condition: &str| {
            let marks: Vec<_> =
                MARKS[..count].iter().map(|mark| (*mark, json!({"condition": condition}))).collect();
            agent.configure("storm", &marks);
        };
        set(&mut agent, 5, "x % 64 == 0");
        program.go();
        let mut stops = 0;
        let mut printed = None;
        for round in 0..60 {
            // More than the debug registers hold, fewer, none; and conditions that now and then are true.
            set(&mut agent, [5, 2, 0, 4, 1][round % 5], "x % 64 == 0");
            stops += agent.resume_those_stopped();
            printed = program.line_so_far();
            if printed.is_some() {
                break;
            }
        }
        if kill {
            set(&mut agent, 5, "x % 8 == 0");
            agent.kill();
        } else {
            agent.close();
        }
        assert_eq!(printed.unwrap_or_else(|| program.line()), expected, "after {stops} stops");
        program.ends_well();
    }
}

/// A thread that is about to end refuses to be traced as one does that is traced already; nothing may wait for it.
#[test]
fn agents_come_and_go_while_threads_are_made_and_end() {
    let lines = json!([{"id": 1, "line": line_of("storm", "a"), "condition": "x == 1"}]);
    let sources = json!([{"source": {}, "paths": [crate::support::source("storm")], "breakpoints": lines}]);
    let set = json!({"generation": 1, "sessionId": "00", "sources": sources});
    let mut sessions = 0;
    // On a busy machine a program may be over before the first agent has come; then the next one is tried.
    for _ in 0..PROGRAMS_MAX {
        let mut program = Program::start("storm", Build::Plain);
        program.go();
        while program.line_so_far().is_none() {
            let mut agent = Agent::attach(&program);
            // Answered when every running thread has its debug registers; not at all when the program has ended by then.
            let answer = agent.last_request("mantaConfigure", &set);
            agent.close();
            if answer.is_none() {
                break;
            }
            sessions += 1;
        }
        program.ends_well();
        if sessions > 0 {
            return;
        }
    }
    panic!("none of {PROGRAMS_MAX} programs went on for long enough");
}

#[test]
fn a_release_of_a_session_leaves_the_next_one_alone() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.configure("tasks", &[("first", json!({"condition": "n == 1"}))]);
    program.go();
    let old = agent.stopped();
    let path = crate::support::source("tasks");
    let last = json!({"id": 5, "line": line_of("tasks", "last"), "condition": "n == 1"});
    let sources = json!([{"source": {}, "paths": [path], "breakpoints": [last]}]);
    agent.request("mantaConfigure", &json!({"generation": 1, "sessionId": "next", "sources": sources}));
    agent.request("mantaRelease", &json!({"sessionId": "00"}));
    assert_eq!(agent.event("mantaContinued")["stop"], old["stop"]);
    let new = agent.stopped();
    assert_eq!(new["hitBreakpointIds"], json!([5]));
    agent.request("mantaRelease", &json!({"sessionId": "next"}));
    let mut alone = Program::start("tasks", Build::Plain);
    alone.go();
    assert_eq!(program.line(), alone.line());
}

#[test]
fn a_client_that_asks_for_the_programs_end_gets_it_and_others_leave_it_running() {
    for ends in [true, false] {
        let mut program = Program::start("tasks", Build::Plain);
        let (mut agent, capabilities) = Agent::attach_over_tcp(&program);
        assert_eq!(capabilities["supportTerminateDebuggee"], true);
        agent.request("attach", &json!({}));
        agent.request("configurationDone", &json!({}));
        agent.request("disconnect", &json!({"terminateDebuggee": ends}));
        agent.close();
        if ends {
            assert_eq!(program.ends_by_signal(), libc::SIGKILL);
        } else {
            program.go();
            assert!(program.line().starts_with("results"));
            program.ends_well();
        }
    }
}
