//! The engine on living programs.

mod support;

use serde_json::json;
use support::{Agent, Build, Program, at, line_of};

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
            [format!("tasks::work:{}", tasks("format")), "tasks::run_task:56".to_owned()]
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
