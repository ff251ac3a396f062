//! Steps beside what other threads do.

mod support;

use serde_json::json;
use support::{Agent, Build, Program, line_of};

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
