//! What targets tell of a stop ahead of being asked: it spares the way to them, and is never out of date.

mod sim;

use std::time::Duration;

use serde_json::{Value, json};

use manta_session::TargetId;
use sim::{
    Sim,
    target::{StepOutcome, event},
};

/// A task that stopped once, was looked at, and has made a step since: its target has told of that stop ahead.
fn stepped() -> Sim {
    let mut sim = Sim::attached(json!({}));
    let target = sim.targets.get_mut("t1").unwrap();
    (target.looks, target.step) = (true, StepOutcome::Stops);
    sim.stop("t1", 4, "index-1a", &[]);
    sim.event("stopped");
    look(&mut sim);
    sim.request("next", json!({"threadId": 1}));
    sim.event("stopped");
    sim
}

/// What every client asks at a stop. Gives the first variable's name, and the reference of the scope.
fn look(sim: &mut Sim) -> (String, Value) {
    let stack = sim.request("stackTrace", json!({"threadId": 1, "startFrame": 0, "levels": 3}));
    let frames = stack["stackFrames"].as_array().unwrap();
    assert_eq!(frames.len(), 3);
    let scopes = sim.request("scopes", json!({"frameId": frames[0]["id"]}));
    let scope = scopes["scopes"][0]["variablesReference"].clone();
    (variable(sim, &scope), scope)
}

fn variable(sim: &mut Sim, scope: &Value) -> String {
    let variables = sim.request("variables", json!({"variablesReference": scope}));
    variables["variables"][0]["name"].as_str().unwrap().to_owned()
}

fn asked(sim: &mut Sim) -> Vec<String> {
    std::mem::take(&mut sim.targets.get_mut("t1").unwrap().asked)
}

#[test]
fn what_a_client_asked_at_the_stop_before_is_there_at_the_next() {
    let mut sim = stepped();
    assert_eq!(asked(&mut sim), ["stackTrace", "scopes", "variables", "next"]);
    let (name, scope) = look(&mut sim);
    assert_eq!((name.as_str(), asked(&mut sim)), ("ahead", Vec::new()));
    // Frames stay what they are. Variables may change while others run, and are asked for anew.
    sim.request("stackTrace", json!({"threadId": 1, "startFrame": 1, "levels": 2}));
    assert_eq!(asked(&mut sim), [""; 0]);
    assert_eq!(
        (variable(&mut sim, &scope).as_str(), asked(&mut sim)),
        ("task", vec!["variables".to_owned()])
    );
    // More than was told ahead.
    let more = sim.request("stackTrace", json!({"threadId": 1, "startFrame": 0, "levels": 5}));
    assert_eq!(more["stackFrames"].as_array().unwrap().len(), 5);
    assert_eq!(asked(&mut sim), ["stackTrace"]);
    sim.request("next", json!({"threadId": 1}));
    sim.event("stopped");
    // Nobody asked anything at this stop, so nothing is told of the next one.
    sim.request("next", json!({"threadId": 1}));
    sim.event("stopped");
    asked(&mut sim);
    assert_eq!(look(&mut sim).0, "task");
    assert_eq!(asked(&mut sim), ["stackTrace", "scopes", "variables"]);
    sim.finish();
}

#[test]
fn what_is_no_longer_true_is_told_and_asked_for_again() {
    let mut sim = stepped();
    assert_eq!(look(&mut sim).0, "ahead");
    asked(&mut sim);
    let told = json!({"areas": ["stacks", "variables"], "threadId": 4});
    sim.from_targets.push_back((TargetId::new("t1"), event("invalidated", told)));
    sim.deliver_from_target();
    assert_eq!(sim.event("invalidated"), json!({"areas": ["variables"], "threadId": 1}));
    assert_eq!(look(&mut sim).0, "task");
    assert_eq!(asked(&mut sim), ["stackTrace", "scopes", "variables"]);
    // Of a thread that runs there is nothing to forget.
    let told = json!({"areas": ["stacks"], "threadId": 5});
    sim.from_targets.push_back((TargetId::new("t1"), event("invalidated", told)));
    sim.deliver_from_target();
    sim.finish();
}

#[test]
fn what_may_have_changed_is_asked_for() {
    let mut sim = stepped();
    let stack = sim.request("stackTrace", json!({"threadId": 1, "startFrame": 0, "levels": 1}));
    let frame = &stack["stackFrames"][0]["id"];
    sim.request("evaluate", json!({"expression": "x", "context": "hover", "frameId": frame}));
    assert_eq!(look(&mut sim).0, "ahead");
    for (command, arguments) in [
        ("evaluate", json!({"expression": "x = 1", "context": "repl"})),
        ("setExpression", json!({"expression": "x", "value": "1"})),
    ] {
        sim.request("next", json!({"threadId": 1}));
        sim.event("stopped");
        let stack = sim.request("stackTrace", json!({"threadId": 1, "startFrame": 0, "levels": 1}));
        let mut arguments = arguments;
        arguments["frameId"] = stack["stackFrames"][0]["id"].clone();
        sim.request(command, arguments);
        assert_eq!(look(&mut sim).0, "task", "after {command}");
    }
    // Or when much time has passed.
    sim.request("next", json!({"threadId": 1}));
    sim.event("stopped");
    sim.advance(Duration::from_secs(25));
    assert_eq!(look(&mut sim).0, "task");
    sim.finish();
}

#[test]
fn questions_wait_for_a_look_that_is_on_its_way() {
    let mut sim = Sim::attached(json!({}));
    let target = sim.targets.get_mut("t1").unwrap();
    (target.looks, target.step) = (true, StepOutcome::Stops);
    sim.stop("t1", 4, "index-1a", &[]);
    sim.event("stopped");
    look(&mut sim);
    sim.holds_targets = true;
    let step = sim.send("next", json!({"threadId": 1}));
    let (to, message) = sim.to_targets.pop_front().unwrap();
    sim.deliver_to_target(&to, &message);
    // The answer, that it runs on, and that it stopped.
    for _ in 0..3 {
        sim.deliver_from_target();
    }
    sim.response(step);
    sim.event("stopped");
    let early = sim.send("stackTrace", json!({"threadId": 1, "startFrame": 0, "levels": 3}));
    assert!(sim.take_response(early).is_none() && sim.to_targets.is_empty());
    sim.deliver_from_target();
    assert_eq!(sim.response(early)["stackFrames"].as_array().unwrap().len(), 3);

    // One whose process ends meanwhile is refused.
    let step = sim.send("next", json!({"threadId": 1}));
    let (to, message) = sim.to_targets.pop_front().unwrap();
    sim.deliver_to_target(&to, &message);
    for _ in 0..3 {
        sim.deliver_from_target();
    }
    sim.response(step);
    sim.event("stopped");
    let late = sim.send("stackTrace", json!({"threadId": 1, "startFrame": 0, "levels": 3}));
    sim.target_down("t1", "it was killed");
    assert!(sim.refusal(late).contains("ended"));
    sim.inbox.clear();
    sim.finish();
}

#[test]
fn a_stack_that_comes_ahead_is_answered_before_the_variables_come() {
    let mut sim = Sim::attached(json!({}));
    let target = sim.targets.get_mut("t1").unwrap();
    (target.looks, target.looks_twice, target.step) = (true, true, StepOutcome::Stops);
    sim.stop("t1", 4, "index-1a", &[]);
    sim.event("stopped");
    look(&mut sim);
    sim.holds_targets = true;
    let step = sim.send("next", json!({"threadId": 1}));
    let (to, message) = sim.to_targets.pop_front().unwrap();
    sim.deliver_to_target(&to, &message);
    for _ in 0..3 {
        sim.deliver_from_target();
    }
    sim.response(step);
    sim.event("stopped");
    let asks_stack = json!({"threadId": 1, "startFrame": 0, "levels": 3});
    let early = sim.send("stackTrace", asks_stack.clone());
    assert!(sim.take_response(early).is_none());
    sim.deliver_from_target();
    let stack = sim.response(early);
    let scopes = sim.send("scopes", json!({"frameId": stack["stackFrames"][0]["id"]}));
    assert!(sim.take_response(scopes).is_none() && sim.to_targets.is_empty());
    sim.deliver_from_target();
    let scope = sim.response(scopes)["scopes"][0]["variablesReference"].clone();
    assert_eq!(variable(&mut sim, &scope), "ahead");
    let again = sim.send("stackTrace", asks_stack);
    assert_eq!(sim.response(again)["stackFrames"].as_array().unwrap().len(), 3);
    assert!(sim.to_targets.is_empty());
    sim.finish();
}
