//! The engine on living programs.

use std::time::Instant;

use crate::support::{Agent, Build, Program, at, line_of, source};
use serde_json::json;

const RESULT: &str = "results";

fn tasks(mark: &str) -> u32 {
    line_of("tasks", mark)
}

#[test]
fn a_breakpoint_stops_each_task_alone_and_the_result_is_right() {
    let mut program = Program::start("tasks", Build::Plain);
    let undisturbed = {
        let mut alone = Program::start("tasks", Build::Plain);
        alone.go();
        alone.line()
    };
    let mut agent = Agent::attach(&program);
    let body = agent.configure("tasks", &[("format", json!({}))]);
    assert_eq!(body["breakpoints"][0]["verified"], true);
    assert_eq!(body["breakpoints"][0]["line"], tasks("format"));
    program.go();
    let first = agent.stopped();
    let second = agent.stopped();
    assert_ne!(first["threadId"], second["threadId"]);
    for stop in [&first, &second] {
        assert_eq!(at(stop), format!("tasks::work:{}", tasks("format")));
        assert_eq!(stop["reason"], "breakpoint");
        assert_eq!(stop["hitBreakpointIds"], json!([1]));
        let name = stop["task"]["name"].as_str().unwrap();
        assert!(["task-1", "task-2"].contains(&name), "{name}");
        assert_eq!(
            agent.stack(stop)[..2],
            [format!("tasks::work:{}", tasks("format")), format!("tasks::run_task:{}", tasks("task") + 1)]
        );
        let n = if name == "task-1" { 1 } else { 2 };
        assert_eq!(
            agent.locals(stop),
            [format!("n: u64 = {n}"), "name: &str = \"name\"".to_owned(), format!("total: u64 = {}", n + 3)]
        );
    }
    agent.go_on(&first);
    assert_eq!(agent.event("mantaContinued")["threadId"], first["threadId"]);
    // The other one is still there.
    assert_eq!(agent.evaluate(&second, "total > 3 && name.len() == 4"), "true");
    agent.go_on(&second);
    assert_eq!(program.line(), undisturbed);
    program.ends_well();
}

#[test]
fn steps_go_by_lines_into_functions_and_out_of_them() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.configure("tasks", &[("first", json!({"condition": "n == 1"}))]);
    program.go();
    let stop = agent.stopped();
    assert_eq!(at(&stop), format!("tasks::work:{}", tasks("first")));
    let stop = agent.step("next", &stop);
    assert_eq!(at(&stop), format!("tasks::work:{}", tasks("loop") - 1));
    let stop = agent.step("next", &stop);
    assert_eq!(at(&stop), format!("tasks::work:{}", tasks("loop")));
    let stop = agent.step("stepIn", &stop);
    assert_eq!(at(&stop), format!("tasks::add:{}", tasks("add")));
    assert_eq!(agent.locals(&stop), ["a: u64 = 1", "b: u64 = 0"]);
    let stop = agent.step("stepOut", &stop);
    assert_eq!(at(&stop), format!("tasks::work:{}", tasks("loop")));
    let stop = agent.step("next", &stop);
    assert_eq!(at(&stop), format!("tasks::work:{}", tasks("loop") - 1));
    agent.go_on(&stop);
    assert!(program.line().starts_with(RESULT));
    program.ends_well();
}

#[test]
fn a_step_over_a_recursion_stays_in_its_own_frame() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.configure("tasks", &[("fib", json!({"condition": "n == 5"}))]);
    program.go();
    let stops = [agent.stopped(), agent.stopped()];
    let after = agent.step("next", &stops[0]);
    assert_eq!(at(&after), format!("tasks::fib:{}", tasks("fib") + 1));
    assert_eq!(agent.evaluate(&after, "n"), "5");
    let after = agent.step("next", &after);
    assert_eq!(at(&after), format!("tasks::fib:{}", tasks("fib-sum")));
    assert_eq!(agent.evaluate(&after, "left * 10 + right"), "32");
    agent.go_on(&after);
    agent.go_on(&stops[1]);
    assert!(program.line().starts_with(RESULT));
}

/// All six lines of `six`, one more than the debug registers hold twice over.
const MANY: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];

#[test]
fn more_breakpoints_than_debug_registers_are_patched_and_run_out_of_line() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    let marks: Vec<_> = MANY.iter().map(|mark| (*mark, json!({}))).collect();
    let body = agent.configure("tasks", &marks);
    assert!(body["breakpoints"].as_array().unwrap().iter().all(|breakpoint| breakpoint["verified"] == true));
    program.go();
    // Two tasks, each at each of the lines, in whatever order.
    let mut lines = Vec::new();
    for _ in 0..12 {
        let stop = agent.stopped();
        lines.push((
            stop["task"]["name"].as_str().unwrap().to_owned(),
            stop["topFrame"]["line"].as_u64().unwrap(),
        ));
        agent.go_on(&stop);
    }
    for name in ["task-1", "task-2"] {
        let own: Vec<u64> = lines.iter().filter(|(task, _)| task == name).map(|(_, line)| *line).collect();
        assert_eq!(own, MANY.map(|mark| u64::from(tasks(mark))), "{name}");
    }
    assert_eq!(program.line(), undisturbed());
    program.ends_well();
}

fn undisturbed() -> String {
    let mut alone = Program::start("tasks", Build::Plain);
    alone.go();
    alone.line()
}

#[test]
fn steps_pass_patched_instructions() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    let marks: Vec<_> =
        MANY.iter().map(|mark| (*mark, json!({"condition": "seed == 406 && x == 0"}))).collect();
    // It stops one task at the first line, where `x` is not there yet and the condition cannot be evaluated, and nowhere else.
    agent.configure("tasks", &marks);
    program.go();
    let mut stop = agent.stopped();
    assert_eq!(at(&stop), format!("tasks::six:{}", tasks("s0")));
    assert!(stop["text"].as_str().unwrap().contains("no variable \"x\""), "{stop}");
    for mark in &MANY[1..] {
        stop = agent.step("next", &stop);
        assert_eq!(at(&stop), format!("tasks::six:{}", tasks(mark)));
    }
    agent.configure("tasks", &[]);
    agent.close();
    assert_eq!(program.line(), undisturbed());
    program.ends_well();
}

#[test]
fn an_agent_that_is_killed_leaves_a_program_that_finishes_correctly() {
    let expected = undisturbed();
    for marks in [&MANY[..2], &MANY[..]] {
        let mut program = Program::start("tasks", Build::Plain);
        let mut agent = Agent::attach(&program);
        let marks: Vec<_> = marks.iter().map(|mark| (*mark, json!({}))).collect();
        agent.configure("tasks", &marks);
        program.go();
        let first = agent.stopped();
        agent.stopped();
        // One thread is let go to the next breakpoint, the other one is still held at the first.
        agent.go_on(&first);
        agent.stopped();
        agent.kill();
        assert_eq!(program.line(), expected);
        program.ends_well();
    }
}

const STEPS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn a_thread_that_traps_with_signals_blocked_leaves_the_trap_guard_in_force() {
    let mut program = Program::start("masked", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.configure("masked", &STEPS.map(|mark| (mark, json!({}))));
    program.go();
    program.say("all");
    // It runs no task, and so passes each breakpoint.
    assert_eq!(program.line(), "masked 7822683777892285052");
    agent.kill();
    program.say("on");
    assert_eq!(program.line(), "plain 7822683777892285052");
    program.ends_well();
}

#[test]
fn a_thread_that_is_held_with_signals_blocked_outlives_the_agent() {
    for which in ["all", "trap"] {
        let mut program = Program::start("masked", Build::Plain);
        let (mut agent, _) = Agent::attach_over_tcp(&program);
        agent.request("attach", &json!({}));
        let breakpoints = STEPS.map(|mark| json!({"line": line_of("masked", mark)}));
        let source = json!({"path": source("masked")});
        agent.request("setBreakpoints", &json!({"source": source, "breakpoints": breakpoints}));
        agent.request("configurationDone", &json!({}));
        program.go();
        program.say(which);
        let stop = agent.event("stopped");
        let arguments = json!({"threadId": stop["threadId"], "granularity": "instruction"});
        agent.request("next", &arguments);
        agent.event("stopped");
        agent.kill();
        assert_eq!(program.line(), "masked 7822683777892285052");
        program.say("on");
        assert_eq!(program.line(), "plain 7822683777892285052");
        program.ends_well();
    }
}

#[test]
fn an_agent_takes_over_after_one_that_was_killed() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut first = Agent::attach(&program);
    let marks: Vec<_> = MANY.iter().map(|mark| (*mark, json!({}))).collect();
    first.configure("tasks", &marks);
    first.kill();
    let mut agent = Agent::attach(&program);
    agent.configure("tasks", &[("last", json!({}))]);
    program.go();
    let stops = [agent.stopped(), agent.stopped()];
    for stop in &stops {
        assert_eq!(at(stop), format!("tasks::work:{}", tasks("last")));
        agent.go_on(stop);
    }
    assert_eq!(program.line(), undisturbed());
    program.ends_well();
}

#[test]
fn a_closed_connection_lets_every_thread_run_on() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    let marks: Vec<_> = MANY.iter().map(|mark| (*mark, json!({}))).collect();
    agent.configure("tasks", &marks);
    program.go();
    agent.stopped();
    agent.stopped();
    agent.close();
    assert_eq!(program.line(), undisturbed());
    program.ends_well();
}

#[test]
fn a_release_resumes_all_and_takes_all_breakpoints_out() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.configure("tasks", &[("first", json!({})), ("last", json!({}))]);
    program.go();
    let stops = [agent.stopped(), agent.stopped()];
    agent.request("mantaRelease", &json!({"sessionId": "00"}));
    for stop in &stops {
        let continued = agent.event("mantaContinued");
        assert!(stops.iter().any(|stop| stop["stop"] == continued["stop"]), "{stop}");
    }
    assert_eq!(program.line(), undisturbed());
    assert_eq!(agent.events_so_far("mantaStopped"), 0);
    program.ends_well();
}

#[test]
fn only_tasks_stop() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    // The heart calls `add` all the time.
    agent.configure("tasks", &[("add", json!({"condition": "a == 1 && b == 2"}))]);
    program.go();
    assert_eq!(program.line(), undisturbed());
    assert_eq!(agent.events_so_far("mantaStopped"), 0);
    program.ends_well();
}

#[test]
fn conditions_counts_and_messages() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.configure(
        "tasks",
        &[
            ("loop", json!({"condition": "step == 1 && n == 2", "hitCondition": "1"})),
            ("length", json!({"logMessage": "label={label} n={n}"})),
            ("fib", json!({"hitCondition": ">= 14"})),
        ],
    );
    program.go();
    let stop = agent.stopped();
    assert_eq!(
        (at(&stop), stop["task"]["name"].as_str()),
        (format!("tasks::work:{}", tasks("loop")), Some("task-2"))
    );
    agent.go_on(&stop);
    let printed = [agent.event("output"), agent.event("output")];
    for output in &printed {
        let place = (&output["source"]["path"], &output["line"]);
        assert_eq!(place, (&json!(source("tasks")), &json!(tasks("length"))), "{output}");
    }
    let mut printed = printed.map(|output| output["output"].as_str().unwrap().to_owned());
    printed.sort();
    assert_eq!(printed, ["label=\"name-4\" n=1\n", "label=\"name-5\" n=2\n"]);
    // Two tasks reach the line seven times each.
    let stop = agent.stopped();
    assert_eq!(stop["hitBreakpointIds"], json!([3]));
    agent.go_on(&stop);
    assert_eq!(program.line(), undisturbed());
    assert_eq!(agent.events_so_far("mantaStopped"), 0);
}

#[test]
fn a_breakpoint_is_set_in_every_instance_of_a_generic_function() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.configure("tasks", &[("generic", json!({}))]);
    program.go();
    let mut types = Vec::new();
    for _ in 0..4 {
        let stop = agent.stopped();
        types.extend(agent.locals(&stop));
        agent.go_on(&stop);
    }
    types.sort();
    assert_eq!(types, ["value: u32 = 1", "value: u32 = 2", "value: u8 = 1", "value: u8 = 2"]);
    assert_eq!(program.line(), undisturbed());
}

#[test]
fn a_function_breakpoint_is_set_in_every_instance_of_a_generic_function() {
    for name in ["generic", "tasks::generic"] {
        let mut program = Program::start("tasks", Build::Plain);
        let mut agent = Agent::attach(&program);
        let set =
            json!({"generation": 1, "sessionId": "00", "functionBreakpoints": [{"id": 1, "name": name}]});
        assert_eq!(agent.request("mantaConfigure", &set)["breakpoints"][0]["verified"], true);
        program.go();
        let mut types = Vec::new();
        for _ in 0..4 {
            let stop = agent.stopped();
            assert_eq!(at(&stop), format!("tasks::generic:{}", tasks("generic")));
            types.extend(agent.locals(&stop));
            agent.go_on(&stop);
        }
        types.sort();
        assert_eq!(types, ["value: u32 = 1", "value: u32 = 2", "value: u8 = 1", "value: u8 = 2"]);
        assert_eq!(program.line(), undisturbed());
    }
}

#[test]
fn a_running_thread_is_paused_while_others_are_held_or_run() {
    let mut program = Program::start("tasks", Build::Plain);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    let last = json!({"line": tasks("last"), "condition": "n == 1"});
    agent.request(
        "setBreakpoints",
        &json!({"source": {"path": crate::support::source("tasks")}, "breakpoints": [last]}),
    );
    program.go();
    let held = agent.event("stopped");
    // A thread names itself when it first runs, which may be later than the others' work.
    let named = |thread: &&serde_json::Value| thread["name"].as_str().unwrap().starts_with("heart");
    let until = Instant::now() + crate::support::DEADLINE;
    let heart = loop {
        let threads = agent.request("threads", &json!({}));
        if let Some(heart) = threads["threads"].as_array().unwrap().iter().find(named) {
            break heart["id"].clone();
        }
        assert!(Instant::now() < until, "the heart has a name in time: {threads}");
    };
    agent.request("pause", &json!({"threadId": heart}));
    let paused = agent.event("stopped");
    assert_eq!((&paused["reason"], &paused["threadId"]), (&json!("pause"), &heart));
    let stack = agent.stack(&paused);
    assert!(stack.iter().any(|frame| frame.starts_with("tasks::main::{closure#0}:")), "{stack:?}");
    // Pausing it again changes nothing.
    agent.request("pause", &json!({"threadId": heart}));
    agent.go_on(&paused);
    agent.go_on(&held);
    assert_eq!(program.line(), undisturbed());
    assert_eq!(agent.events_so_far("stopped"), 0);
}

#[test]
fn bad_requests_are_answered_with_a_sentence() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    let body = agent.request(
        "mantaConfigure",
        &json!({"generation": 1, "sources": [
            {"source": {}, "paths": ["/nowhere/else.rs"], "breakpoints": [{"id": 1, "line": 3}]},
            {"source": {}, "paths": [crate::support::source("tasks")], "breakpoints": [{"id": 2, "line": 9999}, {"id": 3, "line": 10, "condition": "a +"}]}]}),
    );
    let breakpoints = body["breakpoints"].as_array().unwrap();
    let shown: Vec<_> = breakpoints
        .iter()
        .map(|b| (b["id"].as_i64(), b["verified"].as_bool(), b["reason"].as_str()))
        .collect();
    let no = Some(false);
    assert_eq!(
        shown,
        [(Some(1), no, Some("pending")), (Some(2), no, Some("failed")), (Some(3), no, Some("failed"))]
    );
    let mut refused = |command: &str, arguments| {
        let response = agent.try_request(command, &arguments);
        assert_eq!(response["success"], false);
        response["message"].as_str().unwrap().to_owned()
    };
    assert!(refused("fly", json!({})).contains("does not know the request"));
    assert!(refused("continue", json!({"threadId": 99})).contains("no thread 99"));
    assert!(refused("stackTrace", json!({})).contains("cannot be read"));
    assert!(refused("variables", json!({"variablesReference": 5})).contains("runs on"));
    assert!(
        refused("source", json!({"source": {"path": "/etc/passwd"}, "sourceReference": 0}))
            .contains("was not built from")
    );
    assert!(refused("mantaConfigure", json!({"generation": 0})).contains("older"));
    // Another session counts from its own beginning.
    agent.request("mantaConfigure", &json!({"generation": 0, "sessionId": "ff"}));
    program.go();
    assert_eq!(program.line(), undisturbed());
    program.ends_well();
}

#[test]
fn an_ordinary_client_debugs_a_program_over_tcp() {
    let mut program = Program::start("tasks", Build::Plain);
    let (mut agent, capabilities) = Agent::attach_over_tcp(&program);
    assert_eq!(capabilities["supportsConditionalBreakpoints"], true);
    agent.event("initialized");
    agent.request("attach", &json!({}));
    let breakpoint = |mark: &str| json!({"line": tasks(mark)});
    let source = json!({"path": crate::support::source("tasks")});
    let set =
        agent.request("setBreakpoints", &json!({"source": source, "breakpoints": [breakpoint("last")]}));
    assert_eq!(set["breakpoints"][0]["verified"], true);
    agent.request(
        "setFunctionBreakpoints",
        &json!({"breakpoints": [{"name": "run_task", "condition": "index == 2"}]}),
    );
    agent.request("setExceptionBreakpoints", &json!({"filters": ["panic"]}));
    agent.request("configurationDone", &json!({}));
    program.go();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let stop = agent.event("stopped");
        assert_eq!(stop["allThreadsStopped"], false);
        let threads = agent.request("threads", &json!({}));
        assert!(threads["threads"].as_array().unwrap().len() >= 3, "every thread is listed: {threads}");
        seen.extend(agent.stack(&stop).into_iter().next());
        let answer = agent.request("continue", &json!({"threadId": stop["threadId"]}));
        assert_eq!(answer["allThreadsContinued"], false);
    }
    seen.sort();
    let line = |name: &str, mark: &str| format!("tasks::{name}:{}", tasks(mark));
    assert_eq!(seen, [line("run_task", "task"), line("work", "last"), line("work", "last")]);
    assert_eq!(program.line(), undisturbed());
    program.ends_well();
    agent.event("exited");
    agent.event("terminated");
}

#[test]
fn a_launch_is_refused_with_what_to_do_instead() {
    let program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    let refused = agent.try_request("launch", &json!({}));
    assert!(refused["message"].as_str().unwrap().contains("attach to it"), "{refused}");
    // The end of a conversation leaves the program as it was.
    agent.request("disconnect", &json!({}));
    agent.close();
    let mut program = program;
    program.go();
    assert_eq!(program.line(), undisturbed());
}
