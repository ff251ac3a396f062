//! Breakpoints before tasks, paused tasks, and lost sessions.

use super::{Stage, id};
use crate::{
    core::{DebugFile, Effect, Exit, Timer},
    limits::DEBUG_FILES_WANTED_MAX,
};
use bytes::Bytes;
use manta_proto::{
    ids::{ProcessId, SessionId, TaskId},
    v1::{self, DebugFileKind, head_to_node, node_to_head, node_to_process, process_to_node},
};
use serde_json::{Value, json};

fn config(generation: u64, empty: bool) -> head_to_node::Message {
    head_to_node::Message::Config(v1::DebugConfig {
        session_id: SessionId(id(5)).to_bytes(),
        generation,
        arguments: Bytes::from(json!({"generation": generation}).to_string()),
        empty,
    })
}

fn expect_request(stage: &mut Stage, worker: ProcessId, command: &str) -> i64 {
    let message =
        stage.expect_process(worker, |message| matches!(message, node_to_process::Message::ToTarget(_)));
    let node_to_process::Message::ToTarget(dap) = message else { unreachable!("looked at above") };
    seq_of(&dap, command)
}

fn expect_agent_request(stage: &mut Stage, worker: ProcessId, command: &str) -> i64 {
    match stage.expect(|effect| matches!(effect, Effect::ToAgent(to, _) if *to == worker)) {
        Effect::ToAgent(_, dap) => seq_of(&dap, command),
        _ => unreachable!("looked at above"),
    }
}

fn seq_of(dap: &[u8], command: &str) -> i64 {
    let request: Value = serde_json::from_slice(dap).unwrap();
    assert_eq!((&request["type"], &request["command"]), (&json!("request"), &json!(command)));
    request["seq"].as_i64().unwrap()
}

fn response(seq: i64) -> Bytes {
    let body = json!({"seq": 1, "type": "response", "request_seq": seq, "success": true, "command": "x", "body": {"a": 1}});
    body.to_string().into()
}

fn answer(stage: &mut Stage, worker: ProcessId, seq: i64) {
    stage.say(worker, process_to_node::Message::FromTarget(response(seq)));
}

fn expect_ack(stage: &mut Stage, generation: u64) -> v1::ConfigAck {
    let message = stage.expect_head(|message| matches!(message, node_to_head::Message::ConfigAck(_)));
    let node_to_head::Message::ConfigAck(ack) = message else { unreachable!("looked at above") };
    assert_eq!(ack.generation, generation);
    ack
}

#[test]
fn a_worker_runs_no_task_before_it_took_the_breakpoints() {
    let mut stage = Stage::new(1.0);
    let (driver, workers) = stage.driver(2, "python");
    stage.head(config(1, false));
    assert!(expect_ack(&mut stage, 1).targets.is_empty(), "there is no target yet");
    let request = stage.ask(driver, 1.0);
    stage.hello(workers[0], "python");
    let seq = expect_request(&mut stage, workers[0], "mantaConfigure");
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::TargetConfig(_, 1), _)));
    stage.expect_nothing();
    // The set changes while the worker still works on the first.
    stage.head(config(2, false));
    let newer = expect_request(&mut stage, workers[0], "mantaConfigure");
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Config(2), _)));
    answer(&mut stage, workers[0], seq);
    expect_ack(&mut stage, 1);
    stage.expect_nothing();
    answer(&mut stage, workers[0], newer);
    let ack = expect_ack(&mut stage, 2);
    assert_eq!(ack.targets[0].body, r#"{"a":1}"#);
    stage.expect_grant(driver, request);
}

#[test]
fn a_target_that_does_not_answer_is_named() {
    let mut stage = Stage::new(1.0);
    let (_, workers) = stage.driver(2, "python");
    stage.hello(workers[0], "python");
    stage.head(config(2, false));
    expect_request(&mut stage, workers[0], "mantaConfigure");
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Config(2), _)));
    stage.core.on_timer(Timer::Config(2));
    stage.settle();
    let error = expect_ack(&mut stage, 2).error;
    assert!(
        error.contains("did not take the breakpoints within 5 seconds: python 3.12 worker 201 on node-1"),
        "{error}"
    );
}

#[test]
fn python_workers_know_of_a_session_without_breakpoints_and_native_ones_need_not() {
    let mut stage = Stage::new(2.0);
    let (driver, workers) = stage.driver(2, "python");
    let (_, native) = stage.driver(3, "rust");
    stage.hello(native[0], "rust");
    stage.hello(workers[0], "python");
    let later = stage.started()[0];
    stage.head(config(1, true));
    let seq = expect_request(&mut stage, workers[0], "mantaConfigure");
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Config(1), _)));
    answer(&mut stage, workers[0], seq);
    expect_ack(&mut stage, 1);
    let request = stage.ask(driver, 1.0);
    stage.expect_grant(driver, request);
    // One that comes later knows of it before its first task.
    stage.hello(later, "python");
    let seq = expect_request(&mut stage, later, "mantaConfigure");
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::TargetConfig(_, 1), _)));
    answer(&mut stage, later, seq);
    expect_ack(&mut stage, 1);
}

fn stopped(event: &str, task: TaskId) -> process_to_node::Message {
    let event = json!({"seq": 3, "type": "event", "event": event, "body": {"threadId": 4, "task": {"taskId": task.to_string()}}});
    process_to_node::Message::FromTarget(event.to_string().into())
}

#[test]
fn a_paused_task_gives_its_cpu_back_and_its_worker_knows() {
    let mut stage = Stage::new(1.0);
    let (driver, workers) = stage.driver(2, "python");
    stage.hello(workers[0], "python");
    let request = stage.ask(driver, 1.0);
    let (lease, worker) = stage.expect_grant(driver, request);
    let task = TaskId(id(6));
    stage.say(worker, stopped("mantaStopped", task));
    let is_paused = |message: &node_to_process::Message, wanted| matches!(message, node_to_process::Message::TaskPaused(paused) if paused.paused == wanted);
    stage.expect_process(worker, |message| is_paused(message, true));
    stage.expect_head(|message| matches!(message, node_to_head::Message::FromTarget(_)));
    assert_eq!(stage.core.budget.available().amount("CPU"), 10_000);
    let passed_on = |message: &node_to_head::Message| matches!(message, node_to_head::Message::FromTarget(_));
    for times in 1..=2 {
        stage.say(worker, stopped("mantaContinued", task));
        stage.expect(
            |effect| matches!(effect, Effect::Timer(Timer::Resumed { times: of, .. }, _) if *of == times),
        );
        stage.expect_head(passed_on);
        if times == 1 {
            // It stops again at once, which nobody else need know.
            stage.say(worker, stopped("mantaStopped", task));
            stage.expect_head(passed_on);
        }
        stage.core.on_timer(Timer::Resumed { worker, task, times: 1 });
        stage.expect_nothing();
    }
    assert_eq!(stage.core.budget.available().amount("CPU"), 10_000);
    stage.core.on_timer(Timer::Resumed { worker, task, times: 2 });
    stage.settle();
    stage.expect_process(worker, |message| is_paused(message, false));
    assert_eq!(stage.core.budget.available().amount("CPU"), 0);
    stage.give_back(driver, lease);
    stage.expect_slot_released(worker);
    assert_eq!(stage.core.budget.available().amount("CPU"), 10_000);
}

#[test]
fn a_task_that_was_paused_and_has_ended_is_told() {
    let mut stage = Stage::new(1.0);
    let (driver, workers) = stage.driver(2, "python");
    stage.hello(workers[0], "python");
    let request = stage.ask(driver, 1.0);
    let (lease, worker) = stage.expect_grant(driver, request);
    let task = TaskId(id(6));
    stage.say(worker, stopped("mantaStopped", task));
    stage.expect_process(worker, |message| matches!(message, node_to_process::Message::TaskPaused(_)));
    stage.expect_head(|message| matches!(message, node_to_head::Message::FromTarget(_)));
    // Its engine has not said yet that it runs on: the CPU is taken again all the same.
    let ended = v1::TaskEnded { task_id: task.to_bytes(), ..v1::TaskEnded::default() };
    stage.say(worker, process_to_node::Message::TaskEnded(ended));
    assert_eq!(stage.core.budget.available().amount("CPU"), 0);
    stage.expect_process(
        worker,
        |message| matches!(message, node_to_process::Message::TaskPaused(paused) if !paused.paused),
    );
    stage.expect_head(
        |message| matches!(message, node_to_head::Message::TaskEnded(ended) if ended.target_id == worker.to_bytes()),
    );
    stage.say(worker, stopped("mantaContinued", task));
    stage.expect_head(|message| matches!(message, node_to_head::Message::FromTarget(_)));
    stage.give_back(driver, lease);
    stage.expect_slot_released(worker);
}

#[test]
fn what_a_worker_had_said_is_not_passed_on_behind_its_end() {
    let mut stage = Stage::new(1.0);
    let (_, workers) = stage.driver(2, "python");
    stage.hello(workers[0], "python");
    stage.core.on_worker_exited(workers[0], &Exit { signal: 9, ..Exit::default() });
    stage.settle();
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetDown(_)));
    stage.expect(|effect| matches!(effect, Effect::Close(_)));
    stage.say(workers[0], stopped("mantaStopped", TaskId(id(6))));
    stage.expect_nothing();
}

#[test]
fn a_lost_session_is_disarmed_at_once_and_released_after_its_grace() {
    let mut stage = Stage::new(1.0);
    let (_, workers) = stage.driver(2, "python");
    stage.hello(workers[0], "python");
    stage.head(config(1, false));
    let seq = expect_request(&mut stage, workers[0], "mantaConfigure");
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Config(1), _)));
    answer(&mut stage, workers[0], seq);
    expect_ack(&mut stage, 1);
    let session = SessionId(id(5));
    let ended = v1::SessionEnded { session_id: session.to_bytes(), grace_ms: 700 };
    stage.head(head_to_node::Message::SessionEnded(ended));
    let disarm = expect_request(&mut stage, workers[0], "mantaConfigure");
    stage.expect(
        |effect| matches!(effect, Effect::Timer(Timer::Grace { .. }, after) if after.as_millis() == 700),
    );
    answer(&mut stage, workers[0], disarm);
    stage.expect_nothing();
    stage.core.on_timer(Timer::Grace { loss: 1 });
    stage.settle();
    let release = expect_request(&mut stage, workers[0], "mantaRelease");
    answer(&mut stage, workers[0], release);
}

#[test]
fn a_session_that_comes_back_in_time_keeps_what_it_paused() {
    let mut stage = Stage::new(1.0);
    let (_, workers) = stage.driver(2, "python");
    stage.hello(workers[0], "python");
    stage.head(config(1, false));
    expect_request(&mut stage, workers[0], "mantaConfigure");
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Config(1), _)));
    for (task, event) in [(6, "mantaStopped"), (7, "mantaStopped"), (6, "mantaContinued")] {
        stage.say(workers[0], stopped(event, TaskId(id(task))));
        match event {
            "mantaStopped" => {
                stage.expect_process(workers[0], |message| {
                    matches!(message, node_to_process::Message::TaskPaused(paused) if paused.paused)
                });
            }
            _ => {
                stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Resumed { .. }, _)));
            }
        }
        stage.expect_head(|message| matches!(message, node_to_head::Message::FromTarget(_)));
    }
    stage.core.on_head_lost();
    stage.settle();
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Grace { .. }, _)));
    stage.head(config(2, false));
    // The stop that lasts is told again, as the session may not have heard of it.
    let seventh = TaskId(id(7)).to_string();
    stage.expect_head(|message| {
        matches!(message, node_to_head::Message::FromTarget(from) if String::from_utf8_lossy(&from.dap).contains(&seventh))
    });
    expect_request(&mut stage, workers[0], "mantaConfigure");
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Config(2), _)));
    stage.core.on_timer(Timer::Grace { loss: 1 });
    stage.settle();
}

/// A native worker with its agent, which took the breakpoints.
fn native_with_agent(stage: &mut Stage) -> ProcessId {
    let (_, workers) = stage.driver(2, "rust");
    let worker = workers[0];
    stage.hello(worker, "rust");
    stage.head(config(1, false));
    stage.expect(|effect| matches!(effect, Effect::StartAgent { worker: of, .. } if *of == worker));
    let seq = expect_agent_request(stage, worker, "mantaConfigure");
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Config(1), _)));
    stage.core.on_agent_started(worker, 900);
    stage.settle();
    stage.expect_process(worker, |message| matches!(message, node_to_process::Message::AllowTracer(_)));
    stage.core.on_target_message(worker, response(seq));
    stage.settle();
    expect_ack(stage, 1);
    worker
}

#[test]
fn how_well_a_worker_can_be_debugged_is_told_once() {
    let mut stage = Stage::new(1.0);
    let worker = native_with_agent(&mut stage);
    let level = |message: &node_to_head::Message| match message {
        node_to_head::Message::TargetUp(up) => up.debug_level.clone(),
        _ => String::new(),
    };
    for (generation, said, told) in [(2, "in-process", true), (3, "in-process", false), (4, "full", true)] {
        stage.head(config(generation, false));
        let seq = expect_agent_request(&mut stage, worker, "mantaConfigure");
        stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Config(_), _)));
        let body = json!({"seq": 1, "type": "response", "request_seq": seq, "success": true, "command": "x",
            "body": {"level": said}});
        stage.core.on_target_message(worker, body.to_string().into());
        stage.settle();
        if told {
            stage.expect_head(|message| level(message) == said);
        }
        expect_ack(&mut stage, generation);
        stage.expect_nothing();
    }
}

#[test]
fn an_agent_that_dies_is_started_again_and_its_paused_tasks_run_on() {
    let mut stage = Stage::new(1.0);
    let worker = native_with_agent(&mut stage);
    stage.core.on_task_paused(worker, TaskId(id(6)), true);
    stage.settle();
    stage.expect_process(worker, |message| matches!(message, node_to_process::Message::TaskPaused(_)));
    stage.core.on_agent_ended(worker, "it was killed");
    stage.settle();
    stage.expect_process(
        worker,
        |message| matches!(message, node_to_process::Message::TaskPaused(paused) if !paused.paused),
    );
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetDown(_)));
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetUp(_)));
    stage.expect(|effect| matches!(effect, Effect::StartAgent { .. }));
    expect_agent_request(&mut stage, worker, "mantaConfigure");
}

#[test]
fn an_agent_that_dies_after_the_last_breakpoint_takes_its_paused_tasks_out_of_the_session() {
    let mut stage = Stage::new(1.0);
    let worker = native_with_agent(&mut stage);
    stage.core.on_task_paused(worker, TaskId(id(6)), true);
    stage.settle();
    stage.expect_process(worker, |message| matches!(message, node_to_process::Message::TaskPaused(_)));
    stage.head(config(2, true));
    expect_agent_request(&mut stage, worker, "mantaConfigure");
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Config(2), _)));
    stage.core.on_agent_ended(worker, "it was killed");
    stage.settle();
    stage.expect_process(
        worker,
        |message| matches!(message, node_to_process::Message::TaskPaused(paused) if !paused.paused),
    );
    expect_ack(&mut stage, 2);
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetDown(_)));
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetUp(_)));
    stage.expect_nothing();
}

#[test]
fn the_agent_ends_with_the_session_and_with_the_worker() {
    let mut stage = Stage::new(1.0);
    let worker = native_with_agent(&mut stage);
    let ended = v1::SessionEnded { session_id: SessionId(id(5)).to_bytes(), grace_ms: 0 };
    stage.head(head_to_node::Message::SessionEnded(ended));
    let release = expect_agent_request(&mut stage, worker, "mantaRelease");
    stage.core.on_target_message(worker, response(release));
    stage.settle();
    stage.expect(|effect| *effect == Effect::StopAgent(worker));
    stage.core.on_agent_ended(worker, "it was told to");
    stage.settle();
    // The next session is told of the next agent's line.
    stage
        .expect_head(|message| matches!(message, node_to_head::Message::TargetUp(up) if up.incarnation == 1));
    stage.core.on_worker_exited(worker, &Exit { signal: 9, ..Exit::default() });
    stage.settle();
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetDown(_)));
    stage.expect(|effect| *effect == Effect::Close(worker));
}

#[test]
fn what_was_meant_for_one_agent_does_not_reach_the_next() {
    let mut stage = Stage::new(1.0);
    let worker = native_with_agent(&mut stage);
    let request = |incarnation| {
        let dap = json!({"seq": 7, "type": "request", "command": "threads"}).to_string();
        head_to_node::Message::ToTarget(v1::ToTarget {
            session_id: SessionId(id(5)).to_bytes(),
            target_id: worker.to_bytes(),
            dap: dap.into(),
            incarnation,
        })
    };
    stage.head(request(0));
    assert_eq!(expect_agent_request(&mut stage, worker, "threads"), 7);
    stage.core.on_agent_ended(worker, "it was killed");
    stage.settle();
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetDown(_)));
    let up = stage.expect_head(|message| matches!(message, node_to_head::Message::TargetUp(_)));
    let node_to_head::Message::TargetUp(up) = up else { unreachable!("looked at above") };
    let started = stage.expect(|effect| matches!(effect, Effect::StartAgent { .. }));
    let Effect::StartAgent { line, .. } = started else { unreachable!("looked at above") };
    assert_eq!((up.incarnation, up.line), (1, line.display().to_string()));
    expect_agent_request(&mut stage, worker, "mantaConfigure");
    stage.head(request(0));
    stage.expect_nothing();
    stage.head(request(1));
    assert_eq!(expect_agent_request(&mut stage, worker, "threads"), 7);
}

const BUILD_ID: &str = "abcdef";

/// An engine lacks debug information.
fn want(stage: &mut Stage, worker: ProcessId, body: &Value) {
    let event = json!({"seq": 9, "type": "event", "event": "mantaNeedsDebugInfo", "body": body});
    stage.core.on_target_message(worker, event.to_string().into());
    stage.settle();
}

fn expect_search(stage: &mut Stage, worker: ProcessId) -> DebugFile {
    let Effect::FindDebugFile { target, file } =
        stage.expect(|effect| matches!(effect, Effect::FindDebugFile { .. }))
    else {
        unreachable!("looked at above");
    };
    assert_eq!(target, worker);
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::DebugFile(..), _)));
    file
}

/// What an engine is told of debug information. Its answer means nothing to anybody.
fn expect_told(stage: &mut Stage, worker: ProcessId) -> Value {
    let effect = stage.expect(|effect| matches!(effect, Effect::ToAgent(to, _) if *to == worker));
    let Effect::ToAgent(_, dap) = effect else { unreachable!("looked at above") };
    let seq = seq_of(&dap, "mantaDebugInfo");
    stage.core.on_target_message(worker, response(seq));
    stage.settle();
    let request: Value = serde_json::from_slice(&dap).unwrap();
    request["arguments"].clone()
}

#[test]
fn debug_information_is_looked_for_once_and_its_place_told() {
    let mut stage = Stage::new(1.0);
    let worker = native_with_agent(&mut stage);
    let wish = json!({"buildId": BUILD_ID, "kind": "debug", "name": "/bin/job"});
    want(&mut stage, worker, &wish);
    let file = expect_search(&mut stage, worker);
    assert_eq!(file, DebugFile { build_id: vec![0xab, 0xcd, 0xef], kind: DebugFileKind::DebugInformation });
    want(&mut stage, worker, &wish);
    stage.core.on_timer(Timer::DebugFile(worker, file.clone()));
    stage.settle();
    let told = expect_told(&mut stage, worker);
    assert_eq!(told, json!({"buildId": BUILD_ID, "kind": "debug", "pending": true}));
    stage.core.on_debug_file_found(worker, &file, Ok("/cache/file".into()));
    stage.settle();
    let told = expect_told(&mut stage, worker);
    assert_eq!(told, json!({"buildId": BUILD_ID, "kind": "debug", "path": "/cache/file"}));
    // It is over: neither a second outcome nor the timer means anything now.
    stage.core.on_debug_file_found(worker, &file, Err("nowhere".into()));
    stage.core.on_timer(Timer::DebugFile(worker, file));
    stage.settle();
    stage.expect_nothing();
    want(&mut stage, worker, &json!({"buildId": BUILD_ID, "kind": "package", "name": "/bin/job"}));
    let file = expect_search(&mut stage, worker);
    stage.core.on_debug_file_found(worker, &file, Err("nowhere".into()));
    stage.settle();
    let told = expect_told(&mut stage, worker);
    assert_eq!(told, json!({"buildId": BUILD_ID, "kind": "package", "message": "nowhere"}));
}

#[test]
fn wishes_have_a_limit_a_form_and_an_end() {
    let mut stage = Stage::new(1.0);
    let worker = native_with_agent(&mut stage);
    for wrong in [json!({}), json!({"buildId": BUILD_ID, "kind": "source"}), json!("x")] {
        want(&mut stage, worker, &wrong);
        stage.expect_nothing();
    }
    want(&mut stage, worker, &json!({"buildId": "../../etc", "kind": "debug"}));
    assert_eq!(expect_told(&mut stage, worker)["message"], "\"../../etc\" is no build-id");
    let mut files = Vec::new();
    for number in 0..DEBUG_FILES_WANTED_MAX {
        want(&mut stage, worker, &json!({"buildId": format!("{number:08x}"), "kind": "debug"}));
        files.push(expect_search(&mut stage, worker));
    }
    want(&mut stage, worker, &json!({"buildId": BUILD_ID, "kind": "debug"}));
    let told = expect_told(&mut stage, worker);
    assert_eq!(told["message"], "64 others are looked for already");
    stage.core.on_debug_file_found(worker, &files[0], Err("nowhere".into()));
    stage.settle();
    expect_told(&mut stage, worker);
    want(&mut stage, worker, &json!({"buildId": BUILD_ID, "kind": "debug"}));
    expect_search(&mut stage, worker);
    // The next agent does not hear what the one before has asked for.
    stage.core.on_agent_ended(worker, "it was killed");
    stage.settle();
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetDown(_)));
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetUp(_)));
    stage.expect(|effect| matches!(effect, Effect::StartAgent { .. }));
    expect_agent_request(&mut stage, worker, "mantaConfigure");
    stage.core.on_debug_file_found(worker, &files[1], Ok("/file".into()));
    stage.settle();
    stage.expect_nothing();
}
