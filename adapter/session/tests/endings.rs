//! Tasks that were paused and have ended since: their threads leave the client's list once.

mod sim;

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
