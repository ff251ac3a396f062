//! Ten thousand tasks reach one breakpoint: the client hears little of it, and nothing is forgotten.

mod sim;

use std::time::Duration;

use serde_json::json;

use sim::Sim;

const TASKS: usize = 10_000;

fn storm(max_paused: usize) -> (Sim, usize) {
    let mut sim = Sim::attached(json!({"maxPaused": max_paused}));
    let id = sim.set_lines(&[10])[0];
    for task in 0..TASKS {
        let target = if task % 2 == 0 { "t1" } else { "t2" };
        sim.stop(target, task as i32, &format!("map-{task}"), &[id]);
        if task % 100 == 99 {
            sim.advance(Duration::from_millis(10));
        }
    }
    sim.advance(Duration::from_secs(2));
    let passed = sim.targets.values().map(|target| target.continued.len()).sum();
    (sim, passed)
}

#[test]
fn within_the_budget_the_rest_runs_on() {
    let (mut sim, passed) = storm(16);
    assert_eq!(passed, TASKS - 16);
    assert_eq!(sim.threads().len(), 16);
    // One at once, one for those that came within the window.
    assert_eq!(sim.sent["stopped"], 2);
    assert!(sim.sent["output"] <= 1 + TASKS / 100 * 10 / 500, "{:?}", sim.sent);
    let counted = sim.inbox.iter().rfind(|message| message["event"] == "output").unwrap();
    assert!(counted["body"]["output"].as_str().unwrap().contains(&format!("{} in all", TASKS - 16)));
    sim.finish();
}

#[test]
fn a_list_of_ten_thousand_takes_a_message_a_window() {
    let (mut sim, passed) = storm(TASKS);
    assert_eq!(passed, 0);
    assert_eq!(sim.threads().len(), TASKS);
    // A second of stops, 50 ms a window.
    assert!(sim.sent["stopped"] <= 1 + 1_000 / 50 + 1, "{:?}", sim.sent);
    let body = sim.request("continue", json!({"threadId": 1, "singleThread": false}));
    assert_eq!(body["allThreadsContinued"], true);
    assert_eq!(sim.threads().len(), 0);
    let continued: usize = sim.targets.values().map(|target| target.continued.len()).sum();
    assert_eq!(continued, TASKS);
    sim.finish();
}
