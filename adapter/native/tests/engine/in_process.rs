//! Programs that help themselves, because the system refuses ptrace to their agent.

use std::process::Command;

use crate::support::{Agent, Build, Program, at, forbid_ptrace, line_of, source, without_capability};
use serde_json::{Value, json};

/// What keeps the agent from ptrace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refuse {
    /// A filter of the agent's system calls.
    OfAgent,
    /// The program is undumpable, so that not even its files in `/proc` are open.
    OfProgram,
}

const AGENT: &str = env!("CARGO_BIN_EXE_manta-debug-agent");

/// A program and its agent.
fn attached(name: &str, build: Build, refuse: Refuse) -> (Program, Agent) {
    let mut program = Program::start(name, build);
    let mut agent = match refuse {
        Refuse::OfAgent => Agent::attach_without(forbid_ptrace, &program),
        Refuse::OfProgram => {
            program.say("hide");
            assert_eq!(program.line(), "hidden");
            Agent::attach_without(without_capability, &program)
        }
    };
    let said = agent.event("output");
    assert_eq!(said["category"], "console");
    assert!(
        said["output"].as_str().unwrap().starts_with("Debugging level: in-process, as the system refuses"),
        "{said}"
    );
    (program, agent)
}

fn undisturbed(name: &str, build: Build) -> String {
    let mut alone = Program::start(name, build);
    alone.go();
    alone.line()
}

fn tasks(mark: &str) -> u32 {
    line_of("tasks", mark)
}

const WAYS: [Refuse; 2] = [Refuse::OfAgent, Refuse::OfProgram];

#[test]
fn a_breakpoint_stops_each_task_alone_and_the_result_is_right() {
    for build in [Build::Plain, Build::Optimized] {
        for refuse in WAYS {
            let (mut program, mut agent) = attached("tasks", build, refuse);
            let body = agent.configure("tasks", &[("format", json!({}))]);
            assert_eq!(body["breakpoints"][0]["verified"], true, "{body}");
            program.go();
            let stops = [agent.stopped(), agent.stopped()];
            assert_ne!(stops[0]["threadId"], stops[1]["threadId"]);
            for stop in &stops {
                assert_eq!(at(stop), format!("tasks::work:{}", tasks("format")));
                let stack = agent.stack(stop);
                assert_eq!(stack[1], format!("tasks::run_task:{}", tasks("task") + 1));
                if build == Build::Plain {
                    let n = if stop["task"]["name"] == "task-1" { 1 } else { 2 };
                    let locals = [
                        format!("n: u64 = {n}"),
                        "name: &str = \"name\"".to_owned(),
                        format!("total: u64 = {}", n + 3),
                    ];
                    assert_eq!(agent.locals(stop), locals);
                }
            }
            agent.go_on(&stops[0]);
            assert_eq!(agent.event("mantaContinued")["threadId"], stops[0]["threadId"]);
            agent.go_on(&stops[1]);
            assert_eq!(program.line(), undisturbed("tasks", build));
            program.ends_well();
        }
    }
}

#[test]
fn steps_go_by_lines_into_functions_and_out_of_them() {
    for refuse in WAYS {
        let (mut program, mut agent) = attached("tasks", Build::Plain, refuse);
        agent.configure("tasks", &[("first", json!({"condition": "n == 1"}))]);
        program.go();
        let mut stop = agent.stopped();
        assert_eq!(at(&stop), format!("tasks::work:{}", tasks("first")));
        let expected = [
            ("next", format!("tasks::work:{}", tasks("loop") - 1)),
            ("next", format!("tasks::work:{}", tasks("loop"))),
            ("stepIn", format!("tasks::add:{}", tasks("add"))),
            ("stepOut", format!("tasks::work:{}", tasks("loop"))),
            ("next", format!("tasks::work:{}", tasks("loop") - 1)),
        ];
        for (command, place) in expected {
            stop = agent.step(command, &stop);
            assert_eq!(at(&stop), place, "{command}");
        }
        assert_eq!(agent.locals(&stop)[0], "n: u64 = 1");
        agent.go_on(&stop);
        assert_eq!(program.line(), undisturbed("tasks", Build::Plain));
        program.ends_well();
    }
}

#[test]
fn a_step_over_a_recursion_stays_in_its_own_frame() {
    let (mut program, mut agent) = attached("tasks", Build::Plain, Refuse::OfAgent);
    agent.configure("tasks", &[("fib", json!({"condition": "n == 5"}))]);
    program.go();
    let stops = [agent.stopped(), agent.stopped()];
    let after = agent.step("next", &stops[0]);
    assert_eq!(at(&after), format!("tasks::fib:{}", tasks("fib") + 1));
    assert_eq!(agent.evaluate(&after, "n"), "5");
    let after = agent.step("next", &after);
    assert_eq!(agent.evaluate(&after, "left * 10 + right"), "32");
    agent.go_on(&after);
    agent.go_on(&stops[1]);
    assert_eq!(program.line(), undisturbed("tasks", Build::Plain));
}

#[test]
fn many_threads_run_over_breakpoints_that_come_and_go() {
    let expected = undisturbed("storm", Build::Plain);
    let (mut program, mut agent) = attached("storm", Build::Plain, Refuse::OfProgram);
    let marks = ["a", "b", "c", "d", "e"];
    program.go();
    let mut printed = None;
    for round in 0..40 {
        let count = [5, 2, 0, 4, 1][round % 5];
        let marks: Vec<_> =
            marks[..count].iter().map(|mark| (*mark, json!({"condition": "x % 64 == 0"}))).collect();
        agent.configure("storm", &marks);
        agent.resume_those_stopped();
        printed = program.line_so_far();
        if printed.is_some() {
            break;
        }
    }
    agent.close();
    assert_eq!(printed.unwrap_or_else(|| program.line()), expected);
    program.ends_well();
}

#[test]
fn an_agent_that_is_killed_leaves_a_program_that_finishes() {
    for refuse in WAYS {
        let (mut program, mut agent) = attached("tasks", Build::Plain, refuse);
        agent.configure("tasks", &[("first", json!({})), ("s3", json!({})), ("last", json!({}))]);
        program.go();
        let stops = [agent.stopped(), agent.stopped()];
        // One thread waits at a patch, the other one may be in the middle of a step.
        agent.send("next", &json!({"threadId": stops[0]["threadId"]}));
        agent.kill();
        assert_eq!(program.line(), undisturbed("tasks", Build::Plain));
        program.ends_well();
    }
}

#[test]
fn an_agent_takes_over_after_one_that_was_killed() {
    let (mut program, mut agent) = attached("tasks", Build::Plain, Refuse::OfProgram);
    agent.configure("tasks", &[("first", json!({})), ("s3", json!({}))]);
    agent.kill();
    let mut next = Agent::attach_without(without_capability, &program);
    next.configure("tasks", &[("s3", json!({}))]);
    program.go();
    for _ in 0..2 {
        let stop = next.stopped();
        assert_eq!(at(&stop), format!("tasks::six:{}", tasks("s3")));
        next.go_on(&stop);
    }
    assert_eq!(program.line(), undisturbed("tasks", Build::Plain));
    program.ends_well();
}

#[test]
fn what_needs_ptrace_is_not_offered_and_a_thread_is_paused() {
    let mut program = Program::start("tasks", Build::Plain);
    let (mut agent, capabilities) = Agent::attach_by(forbid_ptrace(&mut Command::new(AGENT)), program.pid());
    assert_ne!(capabilities["supportsDataBreakpoints"], true);
    let filters = capabilities["exceptionBreakpointFilters"].as_array().unwrap();
    assert!(filters.iter().all(|filter| filter["filter"] != "signal"), "{filters:?}");
    let said = agent.event("output")["output"].as_str().unwrap().to_owned();
    assert!(said.starts_with("Debugging level: in-process"), "{said}");
    agent.request("attach", &json!({}));
    agent.request("configurationDone", &json!({}));
    let threads = agent.request("threads", &json!({}))["threads"].clone();
    let [main] = &threads.as_array().unwrap()[..] else { panic!("the helper is not shown: {threads}") };
    agent.request("pause", &json!({"threadId": main["id"]}));
    let stop = agent.event("stopped");
    assert_eq!((&stop["reason"], &stop["threadId"]), (&json!("pause"), &main["id"]));
    let stack = agent.stack(&stop);
    assert!(stack.iter().any(|frame| frame.starts_with("tasks::main:")), "{stack:?}");
    let body = agent.request("dataBreakpointInfo", &json!({"name": "0x1000", "asAddress": true, "bytes": 8}));
    assert!(body["description"].as_str().unwrap().contains("which the system refuses here"), "{body}");
    // A step of a thread that waits in the kernel is given up when the client goes.
    agent.request("next", &json!({"threadId": main["id"]}));
    agent.request("disconnect", &json!({}));
    program.go();
    assert_eq!(program.line(), undisturbed("tasks", Build::Plain));
    program.ends_well();
}

#[test]
fn panics_functions_counts_and_messages() {
    let (mut program, mut agent) = attached("tasks", Build::Plain, Refuse::OfProgram);
    let path = source("tasks");
    let lines = json!([
        {"id": 1, "line": tasks("loop"), "hitCondition": "% 3"},
        {"id": 2, "line": tasks("last"), "logMessage": "n={n} length={length}"},
    ]);
    agent.request(
        "mantaConfigure",
        &json!({"generation": 1, "sessionId": "00", "exceptionFilters": ["panic"],
            "sources": [{"source": {"path": path}, "paths": [path], "breakpoints": lines}],
            "functionBreakpoints": [{"id": 3, "name": "tasks::generic"}]}),
    );
    program.go();
    let mut hits: Vec<Value> = Vec::new();
    let ends = |hits: &[Value]| hits.iter().filter(|ids| **ids == json!([3])).count() == 4;
    while !ends(&hits) {
        let stop = agent.stopped();
        hits.push(stop["hitBreakpointIds"].clone());
        agent.go_on(&stop);
    }
    assert_eq!(hits.iter().filter(|ids| **ids == json!([1])).count(), 2, "{hits:?}");
    let said = [agent.event("output"), agent.event("output")]
        .map(|body| body["output"].as_str().unwrap().to_owned());
    assert!(said.contains(&"n=1 length=6\n".to_owned()), "{said:?}");
    assert_eq!(program.line(), undisturbed("tasks", Build::Plain));
}

#[test]
fn of_a_process_that_is_debugged_already_pictures_are_taken() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut first = Agent::attach(&program);
    first.configure("tasks", &[("format", json!({}))]);
    program.go();
    let stops = [first.stopped(), first.stopped()];
    let (mut agent, _) = Agent::attach_to(program.pid());
    let said = agent.event("output")["output"].as_str().unwrap().to_owned();
    assert!(said.starts_with("Debugging level: snapshot only, as another debugger"), "{said}");
    agent.request("attach", &json!({}));
    let lines = json!([{"line": tasks("add")}]);
    let set =
        agent.request("setBreakpoints", &json!({"source": {"path": source("tasks")}, "breakpoints": lines}));
    assert_eq!(set["breakpoints"][0]["verified"], false);
    assert!(set["breakpoints"][0]["message"].as_str().unwrap().contains("only pictures of it"), "{set}");
    let threads = agent.request("threads", &json!({}))["threads"].clone();
    let id_of = |name: &str| {
        let is_it = |thread: &&Value| thread["name"].as_str().unwrap().contains(name);
        threads.as_array().unwrap().iter().find(is_it).unwrap_or_else(|| panic!("{threads}"))["id"].clone()
    };
    for _ in 0..3 {
        for (name, function) in [("tasks (", "tasks::main:"), ("heart", "tasks::main::{closure#0}:")] {
            agent.request("pause", &json!({"threadId": id_of(name)}));
            let stop = agent.event("stopped");
            assert_eq!(stop["threadId"], id_of(name));
            let stack = agent.stack(&stop);
            assert!(stack.iter().any(|frame| frame.starts_with(function)), "{stack:?}");
            let step = agent.try_request("next", &json!({"threadId": stop["threadId"]}));
            assert!(step["message"].as_str().unwrap().contains("cannot be stepped"), "{step}");
        }
        for name in ["tasks (", "heart"] {
            agent.request("continue", &json!({"threadId": id_of(name)}));
        }
    }
    let held = agent.try_request("pause", &json!({"threadId": id_of("task-1")}));
    assert!(held["message"].as_str().unwrap().contains("another debugger holds it"), "{held}");
    agent.request("disconnect", &json!({}));
    // The first debugger and the program have noticed nothing.
    for stop in &stops {
        first.go_on(stop);
    }
    assert_eq!(program.line(), undisturbed("tasks", Build::Plain));
    program.ends_well();
}

const STEPS: [&str; 5] = ["a", "b", "c", "d", "e"];
const MASKED: &str = "masked 7822683777892285052";
const PLAIN: &str = "plain 7822683777892285052";

/// An ordinary client of the fixture whose threads block signals.
fn client_of_masked(program: &Program) -> Agent {
    let (mut agent, _) = Agent::attach_by(forbid_ptrace(&mut Command::new(AGENT)), program.pid());
    agent.request("attach", &json!({}));
    agent
}

fn set_steps(agent: &mut Agent) -> Value {
    let breakpoints = STEPS.map(|mark| json!({"line": line_of("masked", mark)}));
    let source = json!({"path": source("masked")});
    agent.request("setBreakpoints", &json!({"source": source, "breakpoints": breakpoints}))
}

/// Stops at each line, or steps from one to the next.
fn goes_through(agent: &mut Agent, functions: usize) {
    for _ in 0..functions {
        for mark in STEPS {
            let stop = agent.event("stopped");
            assert_eq!(agent.stack(&stop)[0], format!("masked::step:{}", line_of("masked", mark)));
            agent.go_on(&stop);
        }
    }
}

/// Without ptrace, the kernel ends a process in which a thread traps that blocks SIGTRAP.
#[test]
fn a_thread_that_has_the_c_library_block_signals_stops_at_breakpoints_and_lives() {
    for (which, functions) in [("library all", 1), ("library trap", 1), ("handler", 2)] {
        let mut program = Program::start("masked", Build::Plain);
        let mut agent = client_of_masked(&program);
        assert_eq!(set_steps(&mut agent)["breakpoints"][0]["verified"], true);
        agent.request("configurationDone", &json!({}));
        program.go();
        program.say(which);
        goes_through(&mut agent, functions);
        assert_eq!(program.line(), MASKED, "{which}");
        program.say("on");
        goes_through(&mut agent, 1);
        assert_eq!(program.line(), PLAIN, "{which}");
        program.ends_well();
    }
}

#[test]
fn a_thread_that_has_blocked_traps_by_itself_is_made_to_take_them() {
    let mut program = Program::start("masked", Build::Plain);
    let mut agent = client_of_masked(&program);
    agent.request("configurationDone", &json!({}));
    program.go();
    program.say("early trap");
    assert_eq!(program.line(), "blocked");
    assert_eq!(set_steps(&mut agent)["breakpoints"][0]["verified"], true);
    program.say("on");
    goes_through(&mut agent, 1);
    assert_eq!(program.line(), MASKED);
    agent.kill();
    program.say("on");
    assert_eq!(program.line(), PLAIN);
    program.ends_well();
}

#[test]
fn while_a_thread_blocks_everything_no_breakpoint_is_set() {
    let mut program = Program::start("masked", Build::Plain);
    let mut agent = client_of_masked(&program);
    assert_eq!(set_steps(&mut agent)["breakpoints"][0]["verified"], true);
    agent.request("configurationDone", &json!({}));
    program.go();
    program.say("early all");
    assert_eq!(program.line(), "blocked");
    let set = set_steps(&mut agent);
    for breakpoint in set["breakpoints"].as_array().unwrap() {
        assert_eq!(breakpoint["verified"], false);
        let message = breakpoint["message"].as_str().unwrap();
        assert!(message.contains("blocks SIGTRAP") && message.contains("ends a process"), "{message}");
    }
    // Those of before are taken out, and the thread comes through.
    program.say("on");
    assert_eq!(program.line(), MASKED);
    assert_eq!(set_steps(&mut agent)["breakpoints"][0]["verified"], true, "the thread has ended");
    program.say("on");
    goes_through(&mut agent, 1);
    assert_eq!(program.line(), PLAIN);
    program.ends_well();
}

/// A single step over the system call that blocks signals would find SIGTRAP blocked.
#[test]
fn single_instructions_go_past_where_signals_are_blocked() {
    let mut program = Program::start("masked", Build::Plain);
    let mut agent = client_of_masked(&program);
    let call = line_of("masked", "call");
    let set = json!({"source": {"path": source("masked")}, "breakpoints": [{"line": call}]});
    agent.request("setBreakpoints", &set);
    agent.request("configurationDone", &json!({}));
    program.go();
    program.say("all");
    let mut stop = agent.event("stopped");
    let mut steps = 0;
    while agent.stack(&stop)[0] != format!("masked::block:{}", call + 1) {
        let arguments = json!({"threadId": stop["threadId"], "granularity": "instruction"});
        agent.request("stepIn", &arguments);
        stop = agent.event("stopped");
        steps += 1;
        assert!(steps < 200, "the call is over by then");
    }
    set_steps(&mut agent);
    agent.go_on(&stop);
    goes_through(&mut agent, 1);
    assert_eq!(program.line(), MASKED);
    program.say("on");
    goes_through(&mut agent, 1);
    assert_eq!(program.line(), PLAIN);
    program.ends_well();
}

#[test]
fn a_step_over_an_await_stays_with_an_inlined_future() {
    let (mut program, mut agent) = attached("inlined", Build::Optimized, Refuse::OfAgent);
    agent.configure("inlined", &[("answers", json!({"condition": "number == 1"}))]);
    program.go();
    let mut stop = agent.stopped();
    agent.configure("inlined", &[]);
    for mark in ["answer waits", "answer goes on"] {
        stop = agent.step("next", &stop);
        assert_eq!(at(&stop), format!("inlined::answers:{}", line_of("inlined", mark)));
        assert_eq!(stop["task"]["name"], "task-1");
    }
    agent.go_on(&stop);
    assert_eq!(program.line(), undisturbed("inlined", Build::Optimized));
    program.ends_well();
}
