//! Tasks that were paused once and have ended since leave the client's list, in both languages.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use dap::{ThreadEventReason, ThreadId, events, requests};
use manta_tests::{Cluster, DapClient};
use serde_json::json;

use crate::support::{BOTH, Language};

/// Every fifth of forty tasks reaches the line, in each language.
const STOPS: usize = 16;

#[test]
fn each_task_that_was_paused_is_said_to_have_exited_once() -> Result<()> {
    let cluster = Cluster::start(2, 2)?;
    let mut client = DapClient::stdio()?;
    let sources = BOTH.map(|language| language.source("forty_tasks"));
    client.attach_with_breakpoints(&cluster, &json!({}), &[&sources[0], &sources[1]])?;
    let drivers = [
        Language::Python.start(&cluster, "forty_tasks", &[])?,
        Language::Rust.start(&cluster, "forty_tasks", &[])?,
    ];
    let paused = client.paused(STOPS)?;
    let mut expected: BTreeSet<ThreadId> = paused.iter().map(|task| task.id).collect();
    ensure!(expected.len() == STOPS, "these are paused: {paused:?}");
    for task in &paused {
        client.resume(task.id)?;
    }
    while !expected.is_empty() {
        let ended = client.event_where::<events::Thread, _>(
            &format!("{} of {STOPS} tasks have exited", STOPS - expected.len()),
            |event| (event.reason == ThreadEventReason::Exited).then_some(event.thread_id),
        )?;
        ensure!(expected.remove(&ended), "thread {ended} exited twice, or was never paused");
    }
    // The jobs are not over yet for the client: it was the tasks' own ends that were told.
    let refused = client.ask::<requests::Pause>(&dap::PauseArguments { thread_id: paused[0].id })?;
    ensure!(
        refused.as_ref().is_err_and(|sentence| sentence.contains("has ended")),
        "a task that has ended was paused: {refused:?}"
    );
    for driver in drivers {
        driver.result()?;
    }
    client.close()
}

#[test]
fn an_expression_is_completed_and_set_in_a_paused_python_task() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&Language::Python.source("printer")])?;
    let driver = Language::Python.start(&cluster, "printer", &[])?;
    let task = client.paused(1)?[0].id;
    let frame = client.top_frame(task)?;
    let found = client.request::<requests::Completions>(&dap::CompletionsArguments {
        frame_id: Some(frame.id),
        text: "numb".to_owned(),
        column: 5,
        line: None,
    })?;
    ensure!(found.targets.iter().any(|item| item.label == "numbers"), "it completes to {:?}", found.targets);
    let set = client.request::<requests::SetExpression>(&dap::SetExpressionArguments {
        expression: "numbers[0]".to_owned(),
        value: "100".to_owned(),
        frame_id: Some(frame.id),
        format: None,
    })?;
    ensure!(set.value == "100", "it was set to {}", set.value);
    client.resume(task)?;
    ensure!(driver.result()?.contains("hello world 110 2"));
    client.close()
}
