//! Where a thread goes on: into one call of a line, past a panic, or from another line.

use crate::support::{Agent, Build, Program, at, line_of};
use serde_json::{Value, json};

const BUILDS: [Build; 2] = [Build::Plain, Build::Optimized];
const RESULT: &str = "sum 41 caught 2 moved 4 31";

fn place(function: &str, mark: &str) -> String {
    format!("control::{function}:{}", line_of("control", mark))
}

/// Stopped at a mark.
fn stopped(build: Build, mark: &str) -> (Program, Agent, Value) {
    let mut program = Program::start("control", build);
    let mut agent = Agent::attach(&program);
    agent.configure("control", &[(mark, json!({}))]);
    program.go();
    let stop = agent.stopped();
    (program, agent, stop)
}

fn targets(agent: &mut Agent, stop: &Value) -> Vec<Value> {
    let body = agent.request("stepInTargets", &json!({"frameId": stop["topFrame"]["id"]}));
    body["targets"].as_array().unwrap().clone()
}

fn labels(targets: &[Value]) -> Vec<&str> {
    targets.iter().map(|target| target["label"].as_str().unwrap()).collect()
}

/// Each with the place where a step into it ends.
fn calls() -> [(&'static str, String); 5] {
    [
        ("control::second", place("second", "second")),
        ("control::first", place("first", "first")),
        ("control::third", place("third", "third")),
        ("<control::Square as control::Shape>::area", place("area", "area")),
        ("control::inlined", place("inlined", "inlined")),
    ]
}

#[test]
fn a_step_goes_into_the_call_that_was_chosen() {
    for build in BUILDS {
        for (label, ends) in calls() {
            let (mut program, mut agent, stop) = stopped(build, "calls");
            let targets = targets(&mut agent, &stop);
            let wanted = targets.iter().find(|target| target["label"] == label);
            let wanted = wanted.unwrap_or_else(|| panic!("no {label} in {:?}", labels(&targets)));
            let arguments = json!({"threadId": stop["threadId"], "targetId": wanted["id"]});
            agent.request("stepIn", &arguments);
            let inside = agent.stopped();
            // What the optimiser has put at the function's beginning may be a library's, and there is no prologue.
            let found = agent.stack(&inside)[0].clone();
            let (_, line) = ends.rsplit_once(':').unwrap();
            let function = label.rsplit("::").next().unwrap();
            let is_there = found.ends_with(line) || build == Build::Optimized;
            assert!(found.contains(function) && is_there, "{found} in place of {ends}");
            // What it names is gone with its stop.
            let again = agent.try_request("stepIn", &arguments);
            assert!(again["message"].as_str().unwrap().contains("no step-in target"), "{again}");
            if build == Build::Plain {
                let back = agent.step("stepOut", &inside);
                assert_eq!(at(&back), place("calls", "calls"));
                agent.go_on(&back);
            } else {
                agent.go_on(&inside);
            }
            assert_eq!(program.line(), RESULT);
            program.ends_well();
        }
    }
}

#[test]
fn calls_that_were_made_already_are_no_targets() {
    let (_program, mut agent, stop) = stopped(Build::Plain, "calls");
    let all = targets(&mut agent, &stop);
    let known = calls().map(|(label, _)| label);
    let listed: Vec<&str> = labels(&all).into_iter().filter(|label| known.contains(label)).collect();
    assert_eq!(listed.len(), known.len(), "{:?}", labels(&all));
    let inside = agent.step("stepIn", &stop);
    assert_eq!(at(&inside), place("second", "second"));
    let back = agent.step("stepOut", &inside);
    let left = targets(&mut agent, &back);
    assert!(!labels(&left).contains(&"control::second"), "{:?}", labels(&left));
    assert!(labels(&left).contains(&"control::first"), "{:?}", labels(&left));
    // A caller's call is being made, and none can be chosen.
    let stack = agent.request("stackTrace", &json!({"threadId": back["threadId"]}));
    let body = agent.request("stepInTargets", &json!({"frameId": stack["stackFrames"][1]["id"]}));
    assert_eq!(body["targets"], json!([]));
}

#[test]
fn a_step_out_of_inlined_code_ends_in_the_code_around_it() {
    for build in BUILDS {
        let (_program, mut agent, stop) = stopped(build, "inlined");
        assert_eq!(at(&stop), place("inlined", "inlined"));
        let back = agent.step("stepOut", &stop);
        assert!(at(&back).starts_with("control::calls:"), "{back}");
    }
}

#[test]
fn a_step_over_a_call_that_panics_ends_where_the_panic_is_caught() {
    for build in BUILDS {
        let (mut program, mut agent, stop) = stopped(build, "passed-by");
        let after = agent.step("next", &stop);
        let found = at(&after);
        assert!(found.starts_with("control::catches:"), "{found}");
        agent.go_on(&after);
        assert_eq!(program.line(), RESULT);
        program.ends_well();
    }
}

#[test]
fn a_panic_that_is_caught_inside_a_call_does_not_disturb_a_step_over_it() {
    for build in BUILDS {
        let (mut program, mut agent, stop) = stopped(build, "inner-catch");
        let after = agent.step("next", &stop);
        assert_eq!(at(&after), place("inner_catch", "inner-caught"));
        assert_eq!(agent.evaluate(&after, "caught"), "1");
        agent.go_on(&after);
        assert_eq!(program.line(), RESULT);
        program.ends_well();
    }
}

fn goto_target(agent: &mut Agent, mark: &str) -> Value {
    let path = crate::support::source("control");
    let asked = json!({"source": {"path": path}, "line": line_of("control", mark)});
    let body = agent.request("gotoTargets", &asked);
    let [target] = body["targets"].as_array().unwrap().as_slice() else { panic!("{body}") };
    assert_eq!(target["line"], line_of("control", mark));
    target["id"].clone()
}

#[test]
fn a_thread_goes_on_from_another_line_of_its_function() {
    for build in BUILDS {
        let (mut program, mut agent, stop) = stopped(build, "m2");
        let target = goto_target(&mut agent, "m1");
        agent.request("goto", &json!({"threadId": stop["threadId"], "targetId": target}));
        assert_eq!(agent.event("mantaContinued")["stop"], stop["stop"]);
        let moved = agent.stopped();
        assert_eq!((&moved["reason"], at(&moved)), (&json!("goto"), place("moves", "m1")));
        assert_eq!(moved["stop"].as_u64(), stop["stop"].as_u64().map(|number| number + 1));
        // It passes its breakpoint once more.
        agent.go_on(&moved);
        let again = agent.stopped();
        assert_eq!(at(&again), place("moves", "m2"));
        agent.go_on(&again);
        // One was added twice. What the optimiser keeps in registers from line to line does not come back by itself.
        let line = program.line();
        assert!(build == Build::Optimized || line == "sum 41 caught 2 moved 6 31", "{line}");
        program.ends_well();
    }
}

#[test]
fn a_line_of_another_function_is_refused() {
    let (mut program, mut agent, stop) = stopped(Build::Plain, "m2");
    let thread = stop["threadId"].clone();
    let target = goto_target(&mut agent, "caught");
    let refused = agent.try_request("goto", &json!({"threadId": thread, "targetId": target}));
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("is in control::catches") && message.contains("paused in control::moves"));
    let refused = agent.try_request("goto", &json!({"threadId": thread, "targetId": 999}));
    assert!(refused["message"].as_str().unwrap().contains("no goto target 999"), "{refused}");
    let path = crate::support::source("control");
    let none = agent.request("gotoTargets", &json!({"source": {"path": path}, "line": 1}));
    assert_eq!(none["targets"], json!([]));
    // The thread stands where it stood.
    agent.go_on(&stop);
    assert_eq!(program.line(), RESULT);
    program.ends_well();
}

#[test]
fn an_ordinary_client_is_told_of_the_new_place() {
    let mut program = Program::start("control", Build::Plain);
    let (mut agent, capabilities) = Agent::attach_over_tcp(&program);
    assert_eq!(capabilities["supportsGotoTargetsRequest"], true);
    assert_eq!(capabilities["supportsStepInTargetsRequest"], true);
    let path = crate::support::source("control");
    let breakpoints = json!([{"line": line_of("control", "m3")}]);
    agent.request("setBreakpoints", &json!({"source": {"path": path}, "breakpoints": breakpoints}));
    program.go();
    let stop = agent.event("stopped");
    let target = goto_target(&mut agent, "m1");
    agent.request("goto", &json!({"threadId": stop["threadId"], "targetId": target}));
    let moved = agent.event("stopped");
    assert_eq!(moved["reason"], "goto");
    assert_eq!(agent.stack(&moved)[0], place("moves", "m1"));
    agent.go_on(&moved);
    let again = agent.event("stopped");
    agent.go_on(&again);
    assert_eq!(program.line(), "sum 41 caught 2 moved 10 31");
}

#[test]
fn a_line_that_begins_with_an_inlined_call_is_shown_as_that_line() {
    for build in [Build::Optimized, Build::OptimizedDwarf5] {
        for mark in ["starts", "begins-inlined", "only-inlined"] {
            let (_program, mut agent, stop) = stopped(build, mark);
            assert_eq!(at(&stop), place("begins", mark));
            assert_eq!(agent.stack(&stop)[0], place("begins", mark));
            // What the line is about to call is not told with the variables.
            assert!(agent.locals(&stop).iter().all(|own| !own.starts_with("dummy")));
        }
    }
}

#[test]
fn a_step_goes_from_line_to_line_and_into_inlined_calls_when_it_is_asked_to() {
    for build in [Build::Plain, Build::Optimized, Build::OptimizedDwarf5] {
        let (mut program, mut agent, stop) = stopped(build, "starts");
        let over = agent.step("next", &stop);
        assert_eq!(at(&over), place("begins", "begins-inlined"));
        let last = agent.step("next", &over);
        assert_eq!(at(&last), place("begins", "only-inlined"));
        let inside = agent.step("stepIn", &last);
        assert_eq!(at(&inside), place("small", "small"));
        assert_eq!(agent.stack(&inside)[1], place("begins", "only-inlined"));
        let out = agent.step("stepOut", &inside);
        assert!(at(&out).starts_with("control::begins:") || at(&out).starts_with("control::main:"), "{out}");
        agent.go_on(&out);
        assert_eq!(program.line(), RESULT);
        program.ends_well();
    }
}

#[test]
fn a_condition_is_about_the_line_that_makes_an_inlined_call() {
    let mut program = Program::start("control", Build::Optimized);
    let mut agent = Agent::attach(&program);
    let conditions = [
        ("begins-inlined", json!({"condition": "x == 2"})),
        ("only-inlined", json!({"condition": "y == 11"})),
    ];
    agent.configure("control", &conditions);
    program.go();
    let stop = agent.stopped();
    assert_eq!((at(&stop), &stop["text"]), (place("begins", "begins-inlined"), &Value::Null));
    agent.go_on(&stop);
    assert_eq!(program.line(), RESULT);
    program.ends_well();
}

#[test]
fn what_the_optimiser_left_nothing_of_is_listed_all_the_same() {
    let (_program, mut agent, stop) = stopped(Build::Optimized, "forgotten");
    assert_eq!(at(&stop), place("forgets", "forgotten"));
    let locals = agent.locals(&stop);
    // Arguments stand in the order of the source.
    assert!(locals[0].starts_with("all: ") && locals[1].starts_with("x: "), "{locals:?}");
    for name in ["_dead: u64 = <optimized out>", "kept: "] {
        assert!(locals.iter().any(|own| own.starts_with(name)), "{name}: {locals:?}");
    }
}
