//! Breakpoints on their way into force, and what clients are told of it.

mod sim;

use std::time::Duration;

use manta_session::{Event, TargetId};
use serde_json::json;

use sim::{CONTENT, Sim, lines_in, target::event};

#[test]
fn breakpoints_are_verified_when_every_node_has_answered() {
    let mut sim = Sim::attached(json!({}));
    sim.mute_nodes.insert("node-2".to_owned());
    let seq = sim.send("setBreakpoints", lines_in("/job/job.py", &[10]));
    sim.check_empty();
    sim.ack("node-2", 2, None);
    assert_eq!(sim.response(seq)["breakpoints"][0]["verified"], true);

    let seq = sim.send("setBreakpoints", lines_in("/job/job.py", &[10, 20]));
    sim.advance(Duration::from_secs(7));
    let body = sim.response(seq);
    let late = &body["breakpoints"][1];
    assert_eq!(late["verified"], false);
    assert!(late["message"].as_str().unwrap().starts_with("node-2 did not confirm it within 6 s"), "{late}");
    sim.ack("node-2", 3, None);
    for id in [1, 2] {
        let changed = sim.event("breakpoint");
        assert_eq!(
            (&changed["breakpoint"]["id"], &changed["breakpoint"]["verified"]),
            (&json!(id), &json!(true))
        );
    }
    sim.on(Event::ClusterView(vec![sim::node("node-1")]));
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_client_that_sets_nothing_has_a_session_all_the_same() {
    let mut sim = Sim::new();
    sim.attach(json!({}));
    sim.mute_nodes.insert("node-2".to_owned());
    let seq = sim.send("configurationDone", json!({}));
    let (generation, arguments, is_empty) = &sim.published[0];
    assert_eq!((generation.0, &arguments["sources"], *is_empty), (1, &json!([]), true));
    sim.check_empty();
    sim.ack("node-2", 1, None);
    sim.response(seq);
    sim.finish();
}

#[test]
fn many_files_travel_in_few_sets() {
    let mut sim = Sim::attached(json!({}));
    sim.mute_nodes.insert("node-1".to_owned());
    let seqs: Vec<i64> =
        (0..50).map(|n| sim.send("setBreakpoints", lines_in(&format!("/job/{n}.py"), &[1]))).collect();
    assert_eq!(sim.published.len(), 2, "the session itself, and the first file's");
    sim.ack("node-1", 2, None);
    assert_eq!(sim.published.len(), 3);
    sim.ack("node-1", 3, None);
    for seq in seqs {
        let body = sim.response(seq);
        // The client's machine lacks these files, and so does every task.
        assert!(body["breakpoints"][0]["message"].as_str().unwrap().contains("pathMappings"));
    }
    assert_eq!(sim.published[2].1["sources"].as_array().unwrap().len(), 50);
    sim.check_empty();
    sim.finish();
}

#[test]
fn breakpoints_bind_later_and_clients_are_told_once() {
    let mut sim = Sim::attached(json!({}));
    let id = sim.set_lines(&[10])[0];
    let bound = json!({"reason": "changed", "breakpoint": {"id": id, "verified": true, "line": 12}});
    for target in ["t1", "t2"] {
        sim.on(Event::FromTarget {
            target: TargetId::new(target),
            message: event("breakpoint", bound.clone()),
        });
    }
    assert_eq!(sim.event("breakpoint"), bound);
    sim.check_empty();
    let failed = json!({"id": id, "verified": false, "reason": "failed", "message": "no code at this line"});
    let changed = json!({"reason": "changed", "breakpoint": failed});
    sim.on(Event::FromTarget { target: TargetId::new("t1"), message: event("breakpoint", changed) });
    let told = sim.event("breakpoint");
    assert_eq!(told["breakpoint"]["message"], "no code at this line (python worker t1 on node-1)");
    sim.target_down("t1", "it was killed by signal 9 (SIGKILL)");
    assert_eq!(sim.event("breakpoint")["breakpoint"]["verified"], true);
    sim.finish();
}

#[test]
fn functions_and_exceptions_have_their_breakpoints_too() {
    let mut sim = Sim::attached(json!({}));
    let body = sim.request("setFunctionBreakpoints", json!({"breakpoints": [{"name": "index_file"}]}));
    assert_eq!(body["breakpoints"][0]["reason"], "pending");
    let body = sim.request("setExceptionBreakpoints", json!({"filters": ["uncaught", "panic"]}));
    assert_eq!(body["breakpoints"], json!([{"verified": true}, {"verified": true}]));
    assert_eq!(sim.published[2].1["exceptionFilters"], json!(["uncaught", "panic"]));
    assert_eq!(sim.published[2].1["functionBreakpoints"], json!([{"id": 1, "name": "index_file"}]));
    let sets = sim.published.len();
    sim.request("setExceptionBreakpoints", json!({"filters": ["uncaught", "panic"]}));
    assert_eq!(sim.published.len(), sets, "what changes nothing travels nowhere");
    assert!(sim.refused("setExceptionBreakpoints", json!({"filters": ["nonsense"]})).contains("'nonsense'"));
    sim.stop_for("t1", 1, "a-1", "exception", &[]);
    sim.event("stopped");
    assert_eq!(sim.request("exceptionInfo", json!({"threadId": 1}))["exceptionId"], "a-1");
    sim.request("setFunctionBreakpoints", json!({"breakpoints": []}));
    sim.request("setExceptionBreakpoints", json!({"filters": []}));
    assert!(sim.published.last().unwrap().2, "an empty set says so");
    sim.finish();
}

#[test]
fn a_file_that_a_target_has_under_another_name_teaches_the_names_of_those_beside_it() {
    let mut sim = Sim::attached(json!({}));
    sim.file("/job/other.py");
    let id = sim.set_lines(&[10])[0];
    let other = sim.request("setBreakpoints", lines_in("/job/other.py", &[1]));
    let last = |sim: &Sim| sim.published.last().unwrap().1["sources"].clone();
    assert_eq!(
        (&last(&sim)[0]["sha256"], &last(&sim)[0]["paths"]),
        (&json!(CONTENT), &json!(["/job/job.py"]))
    );
    let bound = json!({"id": id, "verified": true, "line": 10, "source": {"path": "/shipped/1/job.py"}});
    let changed = event("breakpoint", json!({"reason": "changed", "breakpoint": bound}));
    sim.on(Event::FromTarget { target: TargetId::new("t1"), message: changed.clone() });
    let paths = |at: usize, sim: &Sim| last(sim)[at]["paths"].clone();
    assert_eq!(paths(0, &sim), json!(["/shipped/1/job.py", "/job/job.py"]));
    assert_eq!(paths(1, &sim), json!(["/shipped/1/other.py", "/job/other.py"]));
    let sets = sim.published.len();
    sim.on(Event::FromTarget { target: TargetId::new("t2"), message: changed });
    assert_eq!(sim.published.len(), sets, "known already");
    assert_eq!(other["breakpoints"][0]["verified"], true);
    sim.check_empty();
    sim.finish();
}

#[test]
fn what_stands_at_a_removed_breakpoint_and_was_not_told_runs_on() {
    let mut sim = Sim::attached(json!({}));
    let ids = sim.set_lines(&[10, 20]);
    sim.stop("t1", 1, "a-1", &ids[..1]);
    sim.event("stopped");
    // Within the time in which stops are gathered: at the first breakpoint, at the second, at both, and at none.
    sim.stop("t2", 1, "a-2", &ids[..1]);
    sim.stop("t2", 2, "a-3", &ids[1..]);
    sim.stop("t2", 3, "a-4", &ids);
    sim.stop_for("t2", 4, "a-5", "exception", &[]);
    sim.set_lines(&[20]);
    let stands = |sim: &Sim| [1, 2, 3, 4].map(|thread| sim.targets["t2"].is_stopped(thread));
    assert_eq!(stands(&sim), [false, true, true, true]);
    assert!(sim.targets["t1"].is_stopped(1), "the client knows of this one");
    sim.set_lines(&[]);
    assert_eq!(stands(&sim), [false, false, false, true]);
    assert_eq!(sim.threads(), [1]);
    sim.advance(Duration::from_millis(50));
    assert_eq!(sim.event("stopped")["reason"], "exception");
    assert_eq!(sim.threads().len(), 2);
    sim.check_empty();
    sim.finish();
}
