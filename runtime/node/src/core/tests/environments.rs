//! Environments, drivers of submitted jobs, and the end of workers for want of memory.

use std::time::Duration;

use manta_proto::{
    ids::ProcessId,
    v1::{self, head_to_node, node_to_head, process_to_node, submitted_job::State},
};

use super::Stage;
use crate::core::{Effect, EnvironmentKey, Exit, Made, Timer, Usage};

const TOOK: Duration = Duration::from_millis(1500);
const ENV: &str = r#"{"env_vars":{"A":"1"}}"#;

fn ask_in_environment(stage: &mut Stage, driver: ProcessId, request_id: u64) {
    let mut request = Stage::request(driver, driver.0[0], 1.0, request_id);
    request.job.as_mut().unwrap().runtime_env = ENV.into();
    stage.say(driver, process_to_node::Message::RequestLease(request));
}

fn expect_making(stage: &mut Stage) -> EnvironmentKey {
    match stage.expect(|effect| matches!(effect, Effect::MakeEnvironment { .. })) {
        Effect::MakeEnvironment { key, .. } => key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_environment_is_made_once_and_its_workers_start_in_it() {
    let mut stage = Stage::new(2.0);
    let (driver, _) = stage.driver(2, "python");
    ask_in_environment(&mut stage, driver, 1);
    let key = expect_making(&mut stage);
    ask_in_environment(&mut stage, driver, 2);
    stage.expect_nothing();
    let made = Made {
        sys_path: vec!["/files".into()],
        working_dir: Some("/files".into()),
        env: vec![("A".into(), "1".into())],
        executable: Some("/venv/bin/python".into()),
        ..Made::default()
    };
    stage.core.on_environment_made(&key, Ok(made), TOOK);
    stage.settle();
    for _ in 0..2 {
        let Effect::StartWorker { job, .. } =
            stage.expect(|effect| matches!(effect, Effect::StartWorker { .. }))
        else {
            unreachable!("looked at above");
        };
        assert_eq!(
            (&*job.executable, &*job.working_dir, &*job.env["A"]),
            ("/venv/bin/python", "/files", "1")
        );
        assert_eq!(job.here.unwrap().sys_path, ["/files"]);
        stage.expect(|effect| matches!(effect, Effect::Timer(Timer::WorkerStart(_), _)));
    }
}

#[test]
fn an_environment_that_cannot_be_made_refuses_who_waits_and_is_tried_anew() {
    let mut stage = Stage::new(1.0);
    let (driver, _) = stage.driver(2, "python");
    ask_in_environment(&mut stage, driver, 1);
    let key = expect_making(&mut stage);
    stage.core.on_environment_made(&key, Err("pip failed: no such package".into()), TOOK);
    stage.settle();
    assert_eq!(stage.expect_refusal(driver, 1), "pip failed: no such package");
    let listed = stage.core.list_environments();
    assert_eq!(listed[0]["state"], "FAILED");
    assert_eq!(listed[0]["error"], "pip failed: no such package");
    assert_eq!(
        (&listed[0]["creation_time_ms"], &listed[0]["runtime_env"]["env_vars"]["A"]),
        (&1500.0.into(), &"1".into())
    );
    ask_in_environment(&mut stage, driver, 2);
    let key = expect_making(&mut stage);
    assert_eq!(stage.core.list_environments()[0]["success"], serde_json::Value::Null, "it is being made");
    stage.core.on_environment_made(&key, Ok(Made::default()), TOOK);
    stage.settle();
    stage.expect(|effect| matches!(effect, Effect::StartWorker { .. }));
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::WorkerStart(_), _)));
    let listed = stage.core.list_environments();
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["state"], &listed[0]["ref_cnt"]),
        (1, &"CREATED".into(), &1.into())
    );
}

fn start_driver(stage: &mut Stage, runtime_env: &str) {
    let job = v1::SubmittedJob {
        submission_id: "job".into(),
        entrypoint: "true".into(),
        runtime_env: runtime_env.into(),
        ..v1::SubmittedJob::default()
    };
    stage.head(head_to_node::Message::StartDriver(v1::StartDriver { job: Some(job) }));
}

fn expect_update(stage: &mut Stage) -> v1::DriverUpdate {
    match stage.expect_head(|message| matches!(message, node_to_head::Message::DriverUpdate(_))) {
        node_to_head::Message::DriverUpdate(update) => update,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_driver_starts_in_its_environment_and_its_end_is_told() {
    let mut stage = Stage::new(1.0);
    start_driver(&mut stage, ENV);
    let key = expect_making(&mut stage);
    stage.core.on_environment_made(&key, Ok(Made::default()), TOOK);
    stage.settle();
    stage.expect(|effect| matches!(effect, Effect::StartDriver { .. }));
    stage.core.on_driver_started("job", 7);
    stage.settle();
    assert_eq!(expect_update(&mut stage).state(), State::Running);
    let exit = Exit { code: 3, last_stderr: vec!["oh no".into()], ..Exit::default() };
    stage.core.on_driver_exited("job", &exit);
    stage.settle();
    let update = expect_update(&mut stage);
    assert_eq!((update.state(), update.exit_code), (State::Failed, Some(3)));
    assert_eq!(update.message, "The entrypoint ended with exit code 3; its last lines:\noh no");
}

#[test]
fn a_driver_whose_environment_cannot_be_made_has_failed_for_that() {
    let mut stage = Stage::new(1.0);
    start_driver(&mut stage, ENV);
    let key = expect_making(&mut stage);
    stage.core.on_environment_made(&key, Err("no such package".into()), TOOK);
    stage.settle();
    let update = expect_update(&mut stage);
    assert_eq!((update.state(), update.environment_failed), (State::Failed, true));
    assert_eq!(update.message, "The job's environment could not be made: no such package");
}

#[test]
fn a_driver_that_is_stopped_before_it_runs_never_does() {
    let mut stage = Stage::new(1.0);
    start_driver(&mut stage, ENV);
    let key = expect_making(&mut stage);
    stage.head(head_to_node::Message::StopDriver(v1::StopDriver { submission_id: "job".into() }));
    assert_eq!(expect_update(&mut stage).state(), State::Stopped);
    stage.core.on_environment_made(&key, Ok(Made::default()), TOOK);
    stage.settle();
    start_driver(&mut stage, "");
    stage.expect(|effect| matches!(effect, Effect::StartDriver { .. }));
    stage.head(head_to_node::Message::StopDriver(v1::StopDriver { submission_id: "job".into() }));
    stage.expect_nothing();
    stage.core.on_driver_started("job", 7);
    stage.settle();
    assert_eq!(expect_update(&mut stage).state(), State::Running);
    assert_eq!(stage.expect(|_| true), Effect::EndDriver("job".into()));
    stage.core.on_driver_exited("job", &Exit { signal: 15, ..Exit::default() });
    stage.settle();
    assert_eq!(expect_update(&mut stage).state(), State::Stopped);
}

#[test]
fn the_newest_task_of_the_owner_with_the_most_goes_when_memory_runs_out() {
    let mut stage = Stage::new(3.0);
    let (first, _) = stage.driver_with_workers(2, "python");
    let (second, _) = stage.driver_with_workers(3, "python");
    let mut leased = Vec::new();
    for owner in [first, first, second] {
        let request = stage.ask(owner, 1.0);
        leased.push(stage.expect_grant(owner, request).1);
    }
    let usage = |used| Usage { used, total: 100 << 30, workers: vec![(leased[1], 5 << 30)] };
    stage.core.on_memory(usage(90 << 30), 0.95);
    stage.settle();
    stage.expect_nothing();
    stage.core.on_memory(usage(99 << 30), 0.95);
    stage.settle();
    assert_eq!(stage.expect(|_| true), Effect::KillWorker(leased[1]));
    // One at a time.
    stage.core.on_memory(usage(99 << 30), 0.95);
    stage.settle();
    stage.expect_nothing();
    assert_eq!(stage.core.load().measures.unwrap().workers_killed_for_memory, 1);
    let worker = stage.core.workers.get(&leased[1]).unwrap();
    let fate = stage.core.fate_of(worker, &Exit { signal: 9, ..Exit::default() });
    assert!(fate.out_of_memory);
    assert!(
        fate.sentence.contains("99.00 GiB of 100.00 GiB used, 99.0%, above the limit of 95.0%"),
        "{}",
        fate.sentence
    );
    assert!(fate.sentence.contains("with 5.00 GiB"), "{}", fate.sentence);
}
