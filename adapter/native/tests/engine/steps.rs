//! Steps beside what other threads do, and steps of tasks that change their thread.

use crate::support::{Agent, Build, Program, at, line_of};
use serde_json::{Value, json};

#[test]
fn a_step_is_not_disturbed_by_a_thread_at_the_same_breakpoint() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    let marks = ["first", "loop", "format", "length", "last"].map(|mark| (mark, json!({})));
    // More than the debug registers hold: some are patched.
    agent.configure("tasks", &marks);
    program.go();
    let stops = [agent.stopped(), agent.stopped()];
    let [mut stepping, mut other] = stops;
    let line = |mark: &str| line_of("tasks", mark);
    let mut steps = Vec::new();
    let mut hits = Vec::new();
    // Each step of one thread while the other runs to the next breakpoint, through the same lines.
    while steps.last() != Some(&u64::from(line("last"))) {
        agent.request("next", &json!({"threadId": stepping["threadId"]}));
        if hits.last() != Some(&u64::from(line("last"))) {
            agent.go_on(&other);
            hits.push(0);
        }
        let is_done = |steps: &[u64], hits: &[u64]| steps.last() != Some(&0) && hits.last() != Some(&0);
        steps.push(0);
        while !is_done(&steps, &hits) {
            let stop = agent.stopped();
            let found = stop["topFrame"]["line"].as_u64().unwrap();
            if stop["threadId"] == stepping["threadId"] {
                *steps.last_mut().unwrap() = found;
                stepping = stop;
            } else {
                assert_eq!(stop["threadId"], other["threadId"]);
                assert_eq!(stop["reason"], "breakpoint", "{stop}");
                *hits.last_mut().unwrap() = found;
                other = stop;
            }
        }
    }
    let lines = |marks: &[&str]| marks.iter().map(|mark| u64::from(line(mark))).collect::<Vec<_>>();
    assert_eq!(hits, lines(&["loop", "loop", "loop", "format", "length", "last"]));
    let turn = u64::from(line("loop"));
    let after = lines(&["format", "length", "last"]);
    assert_eq!(steps, [vec![turn - 1, turn, turn - 1, turn, turn - 1, turn, turn - 1], after].concat());
    agent.configure("tasks", &[]);
    agent.go_on(&stepping);
    agent.go_on(&other);
    assert!(program.line().starts_with("results"));
    program.ends_well();
}

fn stopped_at(build: Build, mark: &str) -> (Program, Agent, Value) {
    let mut program = Program::start("awaits", build);
    let mut agent = Agent::attach(&program);
    agent.configure("awaits", &[(mark, json!({}))]);
    program.go();
    // The other task comes there first.
    let other = agent.stopped();
    assert_eq!(other["task"]["name"], "task-2");
    agent.go_on(&other);
    let stop = agent.stopped();
    assert_eq!(stop["task"]["name"], "task-1");
    (program, agent, stop)
}

const RESULT: &str = "results 12 14";

#[test]
fn a_step_over_an_await_ends_at_the_next_line_of_the_same_task() {
    let (mut program, mut agent, stop) = stopped_at(Build::Plain, "waits");
    let place = |mark| format!("awaits::outer:{}", line_of("awaits", mark));
    assert_eq!(at(&stop), place("waits"));
    // Each time that the function is polled it comes to this line again.
    agent.configure("awaits", &[]);
    let after = agent.step("next", &stop);
    assert_eq!((at(&after), &after["reason"]), (place("goes on"), &json!("step")), "{after}");
    assert_eq!(after["task"]["name"], "task-1");
    assert_ne!(after["threadId"], stop["threadId"]);
    assert_eq!(agent.evaluate(&after, "first"), "1");
    // One that is ready at once does not leave its thread.
    let ready = agent.step("next", &after);
    assert_eq!(at(&ready), place("ready"));
    let alone = agent.step("next", &ready);
    assert_eq!((at(&alone), &alone["threadId"]), (place("alone"), &after["threadId"]));
    // A statement of two lines is come to twice, with what it waits for between.
    let mut last = alone;
    for _ in 0..4 {
        last = agent.step("next", &last);
        assert_eq!(last["task"]["name"], "task-1");
        if at(&last) == place("last") {
            break;
        }
    }
    assert_eq!(at(&last), place("last"));
    agent.go_on(&last);
    assert_eq!(program.line(), RESULT);
    program.ends_well();
}

#[test]
fn a_step_over_an_await_waits_in_optimized_code_too() {
    let (mut program, mut agent, stop) = stopped_at(Build::Optimized, "goes on");
    // The optimiser has moved lines about; that the task stays the same is what counts.
    agent.configure("awaits", &[]);
    let mut stop = stop;
    for _ in 0..2 {
        stop = agent.step("next", &stop);
        assert!(agent.stack(&stop)[0].starts_with("awaits::outer:"), "{stop}");
        assert_eq!(stop["task"]["name"], "task-1");
    }
    agent.go_on(&stop);
    assert_eq!(program.line(), RESULT);
    program.ends_well();
}

#[test]
fn a_client_goes_while_its_step_waits() {
    let (mut program, mut agent, stop) = stopped_at(Build::Plain, "waits");
    agent.request("next", &json!({"threadId": stop["threadId"]}));
    agent.request("mantaRelease", &json!({"sessionId": "00"}));
    agent.close();
    assert_eq!(program.line(), RESULT);
    program.ends_well();
}

/// How often each task stops at a line, when it goes on at once each time.
fn stops_at(fixture: &str, build: Build, mark: &str) -> Vec<String> {
    let mut program = Program::start(fixture, build);
    let mut agent = Agent::attach(&program);
    agent.configure(fixture, &[(mark, json!({})), ("over", json!({}))]);
    program.go();
    let mut tasks = Vec::new();
    loop {
        let stop = agent.stopped();
        if stop["topFrame"]["line"] == line_of(fixture, "over") {
            agent.go_on(&stop);
            break;
        }
        assert_eq!(at(&stop).split(':').next_back(), Some(line_of(fixture, mark).to_string().as_str()));
        tasks.push(stop["task"]["name"].as_str().unwrap().to_owned());
        agent.go_on(&stop);
    }
    program.line();
    program.ends_well();
    tasks.sort();
    tasks
}

#[test]
fn a_breakpoint_at_an_await_stops_when_its_line_is_reached_and_not_at_each_poll() {
    for mark in ["waits", "inner waits", "ready", "alone"] {
        assert_eq!(stops_at("awaits", Build::Plain, mark), ["task-1", "task-2"], "{mark}");
    }
    assert_eq!(stops_at("awaits", Build::Optimized, "waits"), ["task-1", "task-2"]);
    for mark in ["ask waits", "answer waits"] {
        assert_eq!(stops_at("inlined", Build::Optimized, mark), ["task-1", "task-2"], "{mark}");
    }
    assert_eq!(stops_at("inlined", Build::Optimized, "hold waits"), ["over"]);
    // Each turn of the loop comes to it.
    let turns = ["task-1", "task-1", "task-1", "task-2", "task-2", "task-2"];
    assert_eq!(stops_at("inlined", Build::Optimized, "turn waits"), turns);
}

/// Stops the first task of a pair at a mark, when the second has gone on from there.
fn stopped_inlined(build: Build, mark: &str) -> (Program, Agent, Value) {
    let mut program = Program::start("inlined", build);
    let mut agent = Agent::attach(&program);
    agent.configure("inlined", &[(mark, json!({}))]);
    program.go();
    let other = agent.stopped();
    assert_eq!(other["task"]["name"], "task-2");
    agent.go_on(&other);
    let stop = agent.stopped();
    assert_eq!(stop["task"]["name"], "task-1");
    agent.configure("inlined", &[]);
    (program, agent, stop)
}

/// Each step ends at the line with the next mark, of the same task.
fn steps_lead_to(build: Build, mark: &str, steps: &[(&str, &str)]) {
    let (mut program, mut agent, mut stop) = stopped_inlined(build, mark);
    for (command, mark) in steps {
        stop = agent.step(command, &stop);
        assert_eq!(
            (stop["topFrame"]["line"].as_u64(), stop["task"]["name"].as_str()),
            (Some(u64::from(line_of("inlined", mark))), Some("task-1")),
            "{command} to {mark}: {stop}"
        );
    }
    agent.go_on(&stop);
    assert_eq!(program.line(), "asked [7, 9] turned [16, 17] yielded [2, 4] held 9");
    program.ends_well();
}

#[test]
fn a_step_over_an_await_stays_with_a_future_that_is_inlined_into_its_poller() {
    steps_lead_to(Build::Optimized, "asks", &[("next", "ask waits"), ("next", "asked")]);
}

#[test]
fn a_step_over_an_await_stays_with_a_future_that_is_inlined_into_another() {
    let all = ["answer waits", "answer goes on", "answered", "ask waits", "asked"];
    let mut steps: Vec<_> = all.iter().map(|mark| ("next", *mark)).collect();
    // Where the function ends is a line of its own.
    steps.insert(3, ("next", "answers end"));
    for build in [Build::Optimized, Build::OptimizedDwarf5] {
        steps_lead_to(build, "answers", &steps);
    }
}

#[test]
fn a_step_out_of_an_async_function_waits_until_it_is_ready() {
    for build in [Build::Plain, Build::Optimized] {
        steps_lead_to(build, "answers", &[("stepOut", "ask waits"), ("next", "asked")]);
        steps_lead_to(build, "answers", &[("next", "answer waits"), ("stepOut", "ask waits")]);
    }
}

#[test]
fn steps_over_the_awaits_of_a_loop_stop_once_a_line() {
    let turn = [("next", "turn"), ("next", "turn waits"), ("next", "turns")];
    steps_lead_to(
        Build::Optimized,
        "turn waits",
        &[&turn[2..], &turn, &turn, &[("next", "turned")]].concat(),
    );
}

#[test]
fn a_step_over_an_await_stays_with_a_task_that_tokio_polls_on_many_threads() {
    let mut program = Program::start("inlined", Build::Optimized);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    let path = crate::support::source("inlined");
    let breakpoint = json!({"line": line_of("inlined", "yields"), "condition": "number == 2"});
    agent.request("setBreakpoints", &json!({"source": {"path": path}, "breakpoints": [breakpoint]}));
    agent.request("configurationDone", &json!({}));
    program.go();
    let mut thread = agent.event("stopped")["threadId"].clone();
    for mark in ["yield waits", "yielded"] {
        agent.request("next", &json!({"threadId": thread}));
        let stop = agent.event("stopped");
        thread = stop["threadId"].clone();
        let trace = agent.request("stackTrace", &json!({"threadId": thread, "levels": 1}));
        let top = &trace["stackFrames"][0];
        assert_eq!((&stop["reason"], &top["line"]), (&json!("step"), &json!(line_of("inlined", mark))));
        let number = json!({"expression": "number", "frameId": top["id"]});
        assert_eq!(agent.request("evaluate", &number)["result"], "2");
    }
    agent.request("continue", &json!({"threadId": thread}));
    assert_eq!(program.line(), "asked [7, 9] turned [16, 17] yielded [2, 4] held 9");
    program.ends_well();
}

#[test]
fn a_step_over_an_await_passes_the_loop_that_polls_an_inlined_future() {
    let mut program = Program::start("inlined", Build::Optimized);
    let mut agent = Agent::attach(&program);
    agent.configure("inlined", &[("holds", json!({}))]);
    program.go();
    let mut stop = agent.stopped();
    for (function, mark) in [("holds", "hold waits"), ("holds", "held"), ("blocks", "polled")] {
        stop = agent.step("next", &stop);
        assert_eq!(at(&stop), format!("inlined::{function}:{}", line_of("inlined", mark)));
    }
    agent.go_on(&stop);
    assert!(program.line().ends_with("held 9"));
    program.ends_well();
}
