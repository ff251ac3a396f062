//! Whole conversations of one client with a simulated cluster.

mod sim;

use std::time::Duration;

use dap::Malformed;
use manta_session::{Effect, Event, JobId, Output, TargetId};
use serde_json::{Value, json};

use sim::{
    Sim, lines_in,
    target::{StepOutcome, event},
};

const WINDOW: Duration = Duration::from_millis(50);

/// A session with one breakpoint and the tasks `tasks` paused at it, all told to the client.
fn paused(tasks: &[(&str, i32, &str)]) -> (Sim, i32) {
    let mut sim = Sim::attached(json!({}));
    let id = sim.set_lines(&[10])[0];
    for (target, thread, task) in tasks {
        sim.stop(target, *thread, task, &[id]);
    }
    sim.advance(WINDOW * 2);
    sim.inbox.clear();
    (sim, id)
}

#[test]
fn a_stop_is_looked_at_and_resumed() {
    let mut sim = Sim::attached(json!({"pathMappings": [{"localRoot": "/mine", "remoteRoot": "/job"}]}));
    sim.file("/mine/job.py");
    let body = sim.request("setBreakpoints", lines_in("/mine/job.py", &[10]));
    let breakpoint = &body["breakpoints"][0];
    assert_eq!((&breakpoint["verified"], &breakpoint["line"]), (&json!(true), &json!(10)));
    let sent = &sim.published[1].1["sources"][0];
    assert_eq!(sent["paths"], json!(["/job/job.py", "/mine/job.py"]));

    sim.stop("t1", 4, "index-1a2b", &[1]);
    let stopped = sim.event("stopped");
    assert_eq!(
        stopped,
        json!({"reason": "breakpoint", "description": "Paused on breakpoint", "threadId": 1, "allThreadsStopped": true,
               "hitBreakpointIds": [1]})
    );
    let threads = sim.request("threads", json!({}));
    assert_eq!(threads["threads"], json!([{"id": 1, "name": "index 00000000 · node-1 · attempt 0"}]));

    let top = sim.request("stackTrace", json!({"threadId": 1, "levels": 1}));
    assert_eq!(top["stackFrames"][0]["source"], json!({"name": "job.py", "path": "/mine/job.py"}));
    assert_eq!(top["stackFrames"][0].get("moduleId"), None);
    let stack = sim.request("stackTrace", json!({"threadId": 1, "startFrame": 0, "levels": 20}));
    assert_eq!(stack["stackFrames"].as_array().unwrap().len(), 5);
    assert_eq!(stack["stackFrames"][0]["id"], top["stackFrames"][0]["id"]);
    let rest = sim.request("stackTrace", json!({"threadId": 1, "startFrame": 3, "levels": 20}));
    assert_eq!(rest["stackFrames"][0], stack["stackFrames"][3]);
    let library = &stack["stackFrames"][1]["source"];
    let text = sim.request("source", json!({"sourceReference": library["sourceReference"]}));
    assert_eq!(text["content"], "text of \"/venv/lib1.py\"");

    let frame = &top["stackFrames"][0]["id"];
    let scopes = sim.request("scopes", json!({"frameId": frame}));
    let reference = &scopes["scopes"][0]["variablesReference"];
    let variables = sim.request("variables", json!({"variablesReference": reference}));
    assert_eq!(variables["variables"][0]["value"], "index-1a2b");
    let set = json!({"variablesReference": reference, "name": "task", "value": "9"});
    assert_eq!(sim.request("setVariable", set)["value"], "9");
    let evaluate = json!({"expression": "task", "frameId": frame, "context": "hover"});
    assert_eq!(sim.request("evaluate", evaluate)["result"], "index-1a2b");

    // A second click asks for what is so already.
    for _ in 0..2 {
        assert_eq!(sim.request("continue", json!({"threadId": 1})), json!({"allThreadsContinued": false}));
    }
    assert_eq!(sim.targets["t1"].continued, ["index-1a2b"]);
    assert_eq!(sim.threads(), Vec::<i64>::new());
    let stale = sim.refused("scopes", json!({"frameId": frame}));
    assert!(stale.contains("its task has run on"), "{stale}");
    sim.request("disconnect", json!({}));
    assert!(matches!(sim.others.pop_front(), Some(Effect::Release)));
    assert!(matches!(sim.others.pop_front(), Some(Effect::Close)));
    sim.check_empty();
    sim.finish();
}

#[test]
fn stops_that_follow_each_other_are_told_together() {
    let mut sim = Sim::attached(json!({}));
    let id = sim.set_lines(&[10])[0];
    sim.stop("t1", 1, "a-1", &[id]);
    assert_eq!(sim.event("stopped").get("preserveFocusHint"), None);
    sim.stop("t1", 2, "a-2", &[id]);
    sim.stop("t2", 1, "a-3", &[id]);
    sim.check_empty();
    assert_eq!(sim.threads(), [1], "what was not told is not listed");
    sim.advance(WINDOW);
    let later = sim.event("stopped");
    assert_eq!((&later["threadId"], &later["preserveFocusHint"]), (&json!(2), &json!(true)));
    sim.check_empty();
    assert_eq!(sim.threads(), [1, 2, 3]);
    sim.advance(WINDOW * 4);
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_task_keeps_its_thread_and_its_focus_over_continues() {
    let (mut sim, id) = paused(&[("t1", 1, "a-1"), ("t2", 1, "b-2")]);
    sim.request("continue", json!({"threadId": 2}));
    sim.stop("t2", 1, "b-2", &[id]);
    let again = sim.event("stopped");
    assert_eq!((&again["threadId"], again.get("preserveFocusHint")), (&json!(2), None));
    sim.request("continue", json!({"threadId": 2}));
    sim.stop("t2", 1, "c-3", &[id]);
    assert_eq!(sim.event("thread"), json!({"reason": "exited", "threadId": 2}));
    sim.advance(WINDOW);
    assert_eq!(sim.event("stopped")["threadId"], 3);
    sim.finish();
}

#[test]
fn nobody_waits_for_a_stop_that_was_asked_for() {
    let (mut sim, id) = paused(&[("t1", 1, "a-1")]);
    for _ in 0..3 {
        sim.request("continue", json!({"threadId": 1}));
        sim.stop("t1", 1, "a-1", &[id]);
        assert_eq!(sim.event("stopped")["threadId"], 1);
        sim.request("next", json!({"threadId": 1}));
        assert_eq!(sim.event("stopped")["reason"], "step");
    }
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_step_is_answered_with_its_stop_and_others_wait_for_it() {
    let (mut sim, id) = paused(&[("t1", 1, "a-1"), ("t2", 1, "b-2")]);
    sim.holds_targets = true;
    let step = sim.send("next", json!({"threadId": 1}));
    sim.stop("t2", 2, "c-3", &[id]);
    sim.deliver_from_target();
    sim.advance(WINDOW * 3);
    sim.check_empty();
    assert_eq!(sim.threads(), [1, 2]);
    let (target, message) = sim.to_targets.pop_front().unwrap();
    sim.deliver_to_target(&target, &message);
    sim.deliver_from_target();
    sim.deliver_from_target();
    sim.check_empty();
    sim.deliver_from_target();
    assert_eq!(sim.inbox[0]["request_seq"], step);
    sim.response(step);
    let stopped = sim.event("stopped");
    assert_eq!((&stopped["threadId"], &stopped["reason"]), (&json!(1), &json!("step")));
    assert_eq!((stopped.get("preserveFocusHint"), &stopped["allThreadsStopped"]), (None, &json!(false)));
    sim.advance(WINDOW);
    assert_eq!(sim.event("stopped")["preserveFocusHint"], true);
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_step_that_takes_long_is_answered_in_time() {
    let (mut sim, _) = paused(&[("t1", 1, "a-1")]);
    sim.targets.get_mut("t1").unwrap().step = StepOutcome::Runs;
    let step = sim.send("stepOut", json!({"threadId": 1}));
    sim.advance(Duration::from_millis(2_900));
    sim.check_empty();
    sim.advance(Duration::from_millis(200));
    sim.response(step);
    assert_eq!(sim.threads(), Vec::<i64>::new());
    sim.stop_for("t1", 1, "a-1", "step", &[]);
    let stopped = sim.event("stopped");
    assert_eq!((&stopped["threadId"], stopped.get("preserveFocusHint")), (&json!(1), None));
    sim.finish();
}

#[test]
fn a_step_off_the_end_of_a_task_ends_its_thread_at_once() {
    let (mut sim, _) = paused(&[("t1", 1, "a-1")]);
    sim.targets.get_mut("t1").unwrap().step = StepOutcome::Ends;
    let step = sim.send("next", json!({"threadId": 1}));
    sim.response(step);
    assert_eq!(sim.event("thread"), json!({"reason": "exited", "threadId": 1}));
    assert!(sim.refused("next", json!({"threadId": 1})).contains("has ended"));
    sim.finish();
}

#[test]
fn all_run_on_when_the_client_or_the_configuration_says_so() {
    let (mut sim, _) = paused(&[("t1", 1, "a-1"), ("t2", 1, "b-2")]);
    let body = sim.request("continue", json!({"threadId": 2, "singleThread": false}));
    assert_eq!(body, json!({"allThreadsContinued": true}));
    assert_eq!(sim.threads(), Vec::<i64>::new());
    assert_eq!((sim.targets["t1"].continued.len(), sim.targets["t2"].continued.len()), (1, 1));
    sim.check_empty();

    let mut sim = Sim::attached(json!({"resume": "all"}));
    let id = sim.set_lines(&[10])[0];
    sim.stop("t1", 1, "a-1", &[id]);
    sim.stop("t1", 2, "a-2", &[id]);
    sim.advance(WINDOW);
    sim.inbox.clear();
    assert_eq!(
        sim.request("continue", json!({"threadId": 1, "singleThread": true})),
        json!({"allThreadsContinued": false})
    );
    assert_eq!(sim.request("continue", json!({"threadId": 2})), json!({"allThreadsContinued": true}));
    sim.finish();
}

#[test]
fn what_a_target_refuses_leaves_the_task_paused() {
    let (mut sim, _) = paused(&[("t1", 1, "a-1"), ("t2", 1, "b-2")]);
    sim.targets.get_mut("t1").unwrap().refuses = Some("the thread is in a system call that cannot be left");
    assert!(sim.refused("continue", json!({"threadId": 1})).contains("system call"));
    assert!(sim.refused("next", json!({"threadId": 1})).contains("system call"));
    assert_eq!(sim.threads(), [1, 2]);
    sim.request("continue", json!({"threadId": 1, "singleThread": false}));
    assert!(sim.event("output")["output"].as_str().unwrap().contains("could not be resumed"));
    assert_eq!(sim.event("stopped")["threadId"], 1);
    assert_eq!(sim.threads(), [1]);
    sim.finish();
}

#[test]
fn how_well_targets_can_be_debugged_is_told_once_and_with_a_name() {
    let mut sim = Sim::attached(json!({}));
    let sentence = "Debugging level: in-process, as the system refuses ptrace.\n";
    for target in ["t1", "t2"] {
        let body = json!({"category": "console", "output": sentence, "data": {"level": "in-process"}});
        sim.on(Event::FromTarget { target: TargetId::new(target), message: event("output", body) });
    }
    let said = sim.event("output");
    let text = said["output"].as_str().unwrap();
    assert!(text.contains(sentence.trim_end()) && text.contains("manta list workers"), "{said}");
    assert!(text.contains("worker t1") && !text.contains("t2"), "{said}");
    sim.check_empty();
    sim.finish();
}

#[test]
fn the_break_budget_lets_tasks_pass_and_says_how_many() {
    let mut sim = Sim::attached(json!({"maxPaused": 2}));
    let id = sim.set_lines(&[10])[0];
    for task in 0..10 {
        sim.stop("t1", task, &format!("a-{task}"), &[id]);
    }
    sim.advance(WINDOW);
    sim.inbox.clear();
    assert_eq!(sim.threads(), [1, 2]);
    assert_eq!(sim.targets["t1"].continued.len(), 8);
    sim.advance(Duration::from_secs(1));
    let said = sim.event("output");
    assert!(
        said["output"]
            .as_str()
            .unwrap()
            .starts_with("8 tasks reached a breakpoint and ran on, because 2 tasks"),
        "{said}"
    );
    // A step within the budget stops, whatever waits, and so does a pause.
    sim.request("next", json!({"threadId": 1}));
    assert_eq!(sim.event("stopped")["threadId"], 1);
    sim.stop_for("t2", 1, "b-77", "pause", &[]);
    sim.advance(WINDOW);
    assert_eq!(sim.event("stopped")["reason"], "pause");
    assert_eq!(sim.threads(), [1, 2, 3]);
    sim.check_empty();
    sim.finish();
}

#[test]
fn tasks_that_do_not_concern_the_session_run_on_in_silence() {
    let mut sim = Sim::attached(json!({"tasks": {"name": "index*", "job": "nightly"}}));
    sim.on(Event::JobStarted { job: JobId::new("00ff"), name: "nightly".to_owned() });
    let id = sim.set_lines(&[10])[0];
    sim.stop("t1", 1, "merge-1", &[id]);
    sim.stop("t1", 2, "index-2", &[id + 100]);
    assert_eq!(sim.targets["t1"].continued, ["merge-1", "index-2"]);
    sim.check_empty();
    sim.stop("t1", 3, "index_file-3", &[id, id + 100]);
    assert_eq!(sim.event("stopped")["hitBreakpointIds"], json!([id]));
    sim.advance(Duration::from_secs(1));
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_target_that_dies_takes_its_tasks_and_answers_along() {
    let (mut sim, _) = paused(&[("t1", 1, "a-1"), ("t2", 1, "b-2")]);
    sim.holds_targets = true;
    let stack = sim.send("stackTrace", json!({"threadId": 1}));
    let step = sim.send("next", json!({"threadId": 1}));
    sim.target_down("t1", "it was killed by signal 9 (SIGKILL)");
    assert!(sim.refusal(stack).contains("python worker t1 on node-1 is gone: it was killed by signal 9"));
    assert!(sim.refusal(step).contains("SIGKILL"));
    let said = sim.event("output");
    assert_eq!(said["category"], "important");
    assert!(said["output"].as_str().unwrap().contains("was paused when its process ended"));
    assert_eq!(sim.event("thread"), json!({"reason": "exited", "threadId": 1}));
    assert_eq!(sim.threads(), [2]);
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_lost_cluster_ends_the_session_with_a_sentence() {
    let (mut sim, _) = paused(&[("t1", 1, "a-1")]);
    sim.holds_targets = true;
    let stack = sim.send("stackTrace", json!({"threadId": 1}));
    let lines = {
        sim.mute_nodes.extend(["node-1".to_owned(), "node-2".to_owned()]);
        sim.send("setBreakpoints", lines_in("/job/job.py", &[30]))
    };
    sim.on(Event::ClusterLost("the head at 127.0.0.1:6480 closed the connection".to_owned()));
    assert!(sim.refusal(stack).contains("the head at 127.0.0.1:6480"));
    assert!(sim.refusal(lines).contains("connection"));
    assert!(sim.event("output")["output"].as_str().unwrap().contains("run on by themselves"));
    sim.event("terminated");
    assert!(sim.refused("stackTrace", json!({"threadId": 1})).contains("has ended"));
    assert_eq!(sim.threads(), Vec::<i64>::new());
    sim.request("disconnect", json!({}));
    assert!(matches!(sim.others.pop_front(), Some(Effect::Close)));
    sim.check_empty();
    sim.finish();
}

#[test]
fn an_attach_that_fails_says_why_and_may_be_tried_again() {
    let mut sim = Sim::new();
    assert!(sim.refused("attach", json!({})).contains("initialize"));
    let capabilities = sim.request("initialize", json!({"adapterID": "manta", "pathFormat": "path"}));
    assert_eq!(capabilities["supportsDelayedStackTraceLoading"], true);
    assert!(sim.refused("attach", json!({"maxPaused": 0})).contains("maxPaused"));
    let attach = sim.send("attach", json!({"address": "127.0.0.1:1"}));
    let Some(Effect::Connect(options)) = sim.others.pop_front() else {
        panic!("no connection was asked for")
    };
    assert_eq!(options.address.as_deref(), Some("127.0.0.1:1"));
    sim.on(Event::ConnectFailed("no cluster answers at 127.0.0.1:1".to_owned()));
    assert_eq!(sim.refusal(attach), "no cluster answers at 127.0.0.1:1");
    let again = sim.send("attach", json!({}));
    assert!(matches!(sim.others.pop_front(), Some(Effect::Connect(_))));
    sim.request("disconnect", json!({}));
    assert!(sim.refusal(again).contains("ends"));
    sim.others.clear();
    sim.check_empty();
    sim.finish();
}

#[test]
fn a_launched_driver_starts_when_its_breakpoints_are_armed() {
    let mut sim = Sim::new();
    sim.request("initialize", json!({"adapterID": "manta"}));
    let launch = sim.send("launch", json!({"program": "/job/job.py", "args": ["7"]}));
    assert!(matches!(sim.others.pop_front(), Some(Effect::StartCluster(_))));
    sim.on(Event::Connected { nodes: vec![sim::node("node-1")], targets: Vec::new() });
    sim.response(launch);
    sim.event("initialized");
    let lines = sim.send("setBreakpoints", lines_in("/job/job.py", &[3]));
    sim.request("configurationDone", json!({}));
    sim.check_empty();
    sim.ack("node-1", 1, None);
    sim.response(lines);
    assert!(matches!(sim.others.pop_front(), Some(Effect::StartDriver(_))));
    sim.on(Event::DriverStarted { pid: 77 });
    assert_eq!(sim.event("process")["systemProcessId"], 77);
    sim.on(Event::DriverOutput { stderr: false, text: "hello\n".to_owned() });
    assert_eq!(sim.event("output"), json!({"category": "stdout", "output": "hello\n"}));
    sim.request("terminate", json!({}));
    assert!(matches!(sim.others.pop_front(), Some(Effect::KillDriver)));
    sim.on(Event::DriverExited {
        code: 143,
        cause: Some("the driver was killed by signal 15 (SIGTERM)".to_owned()),
    });
    sim.event("output");
    assert_eq!(sim.event("exited"), json!({"exitCode": 143}));
    sim.event("terminated");
    assert!(matches!(sim.others.pop_front(), Some(Effect::Release)));
    sim.check_empty();
    sim.finish();
}

#[test]
fn prints_carry_their_task_and_requests_can_be_cancelled() {
    let (mut sim, _) = paused(&[("t1", 1, "a-1")]);
    sim.on(Event::Output(Output {
        task_name: "index_file".to_owned(),
        task: None,
        node_name: "node-1".to_owned(),
        pid: 4,
        stderr: true,
        text: "one\ntwo".to_owned(),
    }));
    let said = sim.event("output");
    assert_eq!(said, json!({"category": "stderr", "output": "[index_file] one\n[index_file] two\n"}));
    sim.holds_targets = true;
    let stack = sim.send("stackTrace", json!({"threadId": 1}));
    let hanging = sim.send("exceptionInfo", json!({"threadId": 1}));
    sim.request("cancel", json!({"requestId": stack}));
    assert_eq!(sim.refusal(stack), "cancelled");
    sim.advance(Duration::from_secs(60));
    assert!(sim.refusal(hanging).contains("does not answer"));
    sim.check_empty();
    sim.finish();
}

#[test]
fn what_is_not_understood_is_refused_and_harms_nothing() {
    let (mut sim, _) = paused(&[("t1", 1, "a-1")]);
    assert!(sim.refused("restart", json!({})).contains("'restart'"));
    assert!(sim.refused("continue", json!({"threadId": 99})).contains("no thread 99"));
    assert!(sim.refused("scopes", json!({"frameId": 12345})).contains("no frame 12345"));
    assert!(sim.refused("source", json!({"sourceReference": 9})).contains("no source 9"));
    assert!(sim.refused("evaluate", json!({"expression": "1"})).contains("select a frame"));
    let reason = "The message is not one of the Debug Adapter Protocol.".to_owned();
    sim.on(Event::ClientMalformed(Malformed { reason, seq: None, command: None }));
    sim.event("output");
    let broken = event("mantaStopped", json!({"threadId": "four"}));
    sim.on(Event::FromTarget { target: TargetId::new("t2"), message: broken });
    assert!(
        sim.event("output")["output"].as_str().unwrap().contains("python worker t2 on node-2 sent something")
    );
    assert_eq!(sim.threads(), [1]);
    sim.finish();
}

#[test]
fn an_answer_that_no_client_could_read_is_refused_and_says_so() {
    let (mut sim, _) = paused(&[("t1", 1, "a-1")]);
    let top = sim.request("stackTrace", json!({"threadId": 1, "levels": 1}));
    sim.targets.get_mut("t1").unwrap().padding = 5 << 20;
    let evaluate = json!({"expression": "big", "frameId": top["stackFrames"][0]["id"]});
    assert!(sim.refused("evaluate", evaluate).contains("ask for less"));
    sim.finish();
}

#[test]
fn a_client_that_counts_from_zero_sees_zero() {
    let mut sim = Sim::new();
    sim.request(
        "initialize",
        json!({"adapterID": "manta", "linesStartAt1": false, "columnsStartAt1": false}),
    );
    let attach = sim.send("attach", Value::Null);
    sim.others.clear();
    sim.on(Event::Connected { nodes: vec![], targets: Vec::new() });
    sim.response(attach);
    sim.event("initialized");
    sim.file("/job/job.py");
    let body = sim.request("setBreakpoints", lines_in("/job/job.py", &[9]));
    assert_eq!(body["breakpoints"][0]["line"], 9);
    assert_eq!(
        body["breakpoints"][0]["message"],
        "armed for every node that joins; no task has loaded this file yet"
    );
    assert_eq!(sim.published[0].1["sources"][0]["breakpoints"][0]["line"], 10);
    sim.target_up("t1", "node-1");
    sim.stop("t1", 1, "a-1", &[1]);
    sim.event("stopped");
    let top = sim.request("stackTrace", json!({"threadId": 1, "levels": 1}));
    assert_eq!((&top["stackFrames"][0]["line"], &top["stackFrames"][0]["column"]), (&json!(9), &json!(0)));
}
