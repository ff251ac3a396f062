//! Tasks that were paused and have ended since: their threads leave the client's list once. Heads that end and come back: they do not.

mod sim;

use std::time::Duration;

use manta_session::{Event, TargetId, TaskId};
use serde_json::json;

use sim::Sim;

/// A session with the task "a-1" paused on `t1`, told to the client.
fn paused() -> Sim {
    let mut sim = Sim::attached(json!({}));
    let id = sim.set_lines(&[10])[0];
    sim.stop("t1", 4, "a-1", &[id]);
    sim.event("stopped");
    sim
}

fn ended(sim: &mut Sim, target: &str, task: &str) {
    sim.on(Event::TaskEnded { target: TargetId::new(target), task: TaskId::new(&format!("{task:0>32}")) });
}

#[test]
fn a_resumed_task_that_ends_leaves_the_list_once() {
    let mut sim = paused();
    sim.request("continue", json!({"threadId": 1}));
    ended(&mut sim, "t2", "1");
    ended(&mut sim, "t1", "2");
    sim.check_empty();
    ended(&mut sim, "t1", "1");
    assert_eq!(sim.event("thread"), json!({"reason": "exited", "threadId": 1}));
    ended(&mut sim, "t1", "1");
    sim.check_empty();
    assert!(sim.refused("pause", json!({"threadId": 1})).contains("has ended"));
    sim.finish();
}

#[test]
fn the_end_may_be_known_before_the_answer_to_continue() {
    let mut sim = paused();
    sim.holds_targets = true;
    let seq = sim.send("continue", json!({"threadId": 1}));
    let (target, message) = sim.to_targets.pop_front().unwrap();
    sim.deliver_to_target(&target, &message);
    ended(&mut sim, "t1", "1");
    assert_eq!(sim.response(seq), json!({"allThreadsContinued": false}));
    assert_eq!(sim.event("thread")["reason"], "exited");
    while !sim.from_targets.is_empty() {
        sim.deliver_from_target();
    }
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_task_is_listed_until_its_target_lets_it_go() {
    let mut sim = paused();
    ended(&mut sim, "t1", "1");
    sim.check_empty();
    assert_eq!(sim.threads(), [1], "its thread still stands");
    sim.request("continue", json!({"threadId": 1}));
    assert_eq!(sim.event("thread"), json!({"reason": "exited", "threadId": 1}));
    sim.check_empty();
    assert_eq!(sim.threads(), Vec::<i64>::new());
    sim.finish();
}

#[test]
fn a_held_step_is_answered_when_the_task_ends() {
    let mut sim = paused();
    sim.targets.get_mut("t1").unwrap().step = sim::target::StepOutcome::Runs;
    let step = sim.send("stepOut", json!({"threadId": 1}));
    sim.check_empty();
    ended(&mut sim, "t1", "1");
    sim.response(step);
    assert_eq!(sim.event("thread"), json!({"reason": "exited", "threadId": 1}));
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_continue_that_its_process_did_not_live_to_answer_was_obeyed() {
    let mut sim = paused();
    sim.holds_targets = true;
    let seq = sim.send("continue", json!({"threadId": 1}));
    sim.target_down("t1", "its driver has ended");
    assert_eq!(sim.response(seq), json!({"allThreadsContinued": false}));
    assert!(sim.event("output")["output"].as_str().unwrap().contains("its driver has ended"));
    assert_eq!(sim.event("thread")["reason"], "exited");
    sim.to_targets.clear();
}

#[test]
fn a_continue_that_the_sessions_end_overtakes_was_obeyed() {
    let mut sim = paused();
    sim.holds_targets = true;
    let seq = sim.send("continue", json!({"threadId": 1}));
    sim.on(Event::ClusterLost("the head has ended".to_owned()));
    assert_eq!(sim.response(seq), json!({"allThreadsContinued": false}));
    assert!(sim.event("output")["output"].as_str().unwrap().contains("the head has ended"));
    sim.event("terminated");
    sim.to_targets.clear();
}

/// The messages with which the client was told of something important.
fn important(sim: &mut Sim) -> String {
    let told = sim.event("output");
    assert_eq!(told["category"], "important", "{told}");
    told["output"].as_str().unwrap().to_owned()
}

#[test]
fn a_head_that_comes_back_finds_its_session() {
    let mut sim = paused();
    sim.stop("t2", 4, "b-2", &[1]);
    sim.advance(Duration::from_millis(100));
    sim.event("stopped");
    let frame =
        sim.request("stackTrace", json!({"threadId": 1, "levels": 1}))["stackFrames"][0]["id"].clone();
    sim.holds_targets = true;
    let lost = sim.send("continue", json!({"threadId": 1}));
    sim.to_targets.clear();
    sim.on(Event::ClusterAway("the head at h:1 is gone".to_owned()));
    assert!(important(&mut sim).contains("Paused tasks stay paused"));
    assert!(sim.refusal(lost).contains("try again when the head is back"));
    assert!(sim.refused("next", json!({"threadId": 1})).contains("try again"));
    sim.holds_targets = false;
    // Set while the head is away, and in force when it is back.
    let set = sim.send("setBreakpoints", sim::lines_in("/job/job.py", &[10, 20]));
    sim.check_empty();
    let before = sim.published.len();
    sim.on(Event::Connected { nodes: vec![sim::node("node-1"), sim::node("node-2")], targets: Vec::new() });
    assert!(important(&mut sim).contains("back"));
    assert_eq!(sim.published.len(), before + 1);
    assert_eq!(sim.published[before].1["sources"][0]["breakpoints"].as_array().unwrap().len(), 2);
    assert_eq!(sim.response(set)["breakpoints"][1]["verified"], true);
    // The head does not know yet where the workers are.
    let early = sim.send("scopes", json!({"frameId": frame}));
    sim.check_empty();
    // Both workers are there. One tells its stop again, and a stop that nobody heard of; the other's task has run on.
    for (name, node) in [("t1", "node-1"), ("t2", "node-2")] {
        sim.on(Event::TargetUp(manta_session::Target {
            id: TargetId::new(name),
            node_name: node.to_owned(),
            description: format!("python worker {name} on {node}"),
        }));
    }
    sim.response(early);
    let again = sim.targets["t1"].tell_again(4);
    sim.on(Event::FromTarget { target: TargetId::new("t1"), message: again });
    sim.check_empty();
    sim.stop("t1", 5, "c-3", &[1]);
    sim.advance(Duration::from_millis(100));
    assert_eq!(sim.event("stopped")["threadId"], 3);
    assert_eq!(sim.threads(), [1, 2, 3]);
    sim.advance(Duration::from_secs(16));
    assert!(sim.event("output")["output"].as_str().unwrap().contains("has run on"));
    assert_eq!(sim.event("thread"), json!({"reason": "exited", "threadId": 2}));
    // What was open stays so.
    sim.request("scopes", json!({"frameId": frame}));
    sim.request("continue", json!({"threadId": 1}));
    sim.check_empty();
    sim.finish();
}

#[test]
fn what_a_target_had_said_before_its_end_is_not_heard_after_it() {
    let mut sim = Sim::attached(json!({}));
    let ids = sim.set_lines(&[10]);
    let stop = sim.targets.get_mut("t1").unwrap().stop(1, "a-1", "breakpoint", &ids);
    sim.target_down("t1", "it was killed by signal 9 (SIGKILL)");
    sim.on(Event::FromTarget { target: TargetId::new("t1"), message: stop });
    assert!(sim.threads().is_empty());
    sim.check_empty();
    sim.finish();
}
