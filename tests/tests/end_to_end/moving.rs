//! A paused task goes on from another line, begins its function again, and steps into the call that was chosen.

use anyhow::{Context, Result, ensure};
use dap::{
    FrameId, GotoArguments, GotoTargetsArguments, RestartFrameArguments, Source, StepInArguments,
    StepInTargetsArguments, ThreadId, requests,
};
use manta_tests::{Cluster, DapClient, program};
use serde_json::json;

use crate::support::Language;

#[test]
fn a_python_task_is_moved_to_another_line_and_begun_again() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let source = Language::Python.source("printer");
    let line = program::marked_line(&source, "stop here")?;
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&source])?;
    let driver = Language::Python.start(&cluster, "printer", &[])?;
    let task = client.paused(1)?[0].id;
    client.set_breakpoints(&source, Vec::new())?;

    let back = go_to(&mut client, &source, line - 3)?;
    client
        .request::<requests::Goto>(&GotoArguments { thread_id: task, target_id: back })
        .context("back to the function's first line")?;
    client.stopped(task, "goto")?;
    ensure!(client.top_frame(task)?.line == line - 3);
    client.step_over(task)?;
    ensure!(client.top_frame(task)?.line == line - 2);

    let frame = client.top_frame(task)?.id;
    client.request::<requests::RestartFrame>(&RestartFrameArguments { frame_id: frame })?;
    client.stopped(task, "restart")?;
    ensure!(client.top_frame(task)?.line == line - 3);

    // A line of another function is refused, and the task stays where it is.
    let elsewhere = go_to(&mut client, &source, line + 6)?;
    let refused = client.ask::<requests::Goto>(&GotoArguments { thread_id: task, target_id: elsewhere })?;
    ensure!(
        refused.as_ref().is_err_and(|sentence| sentence.contains("cannot go on from this line")),
        "{refused:?}"
    );
    ensure!(client.top_frame(task)?.line == line - 3);
    client.resume(task)?;
    ensure!(driver.result()?.contains("hello world 10 2"));
    client.close()
}

fn go_to(client: &mut DapClient, source: &std::path::Path, line: i64) -> Result<dap::GotoTargetId> {
    let source = Source { path: Some(source.display().to_string()), ..Source::default() };
    let arguments = GotoTargetsArguments { source, line, column: None };
    let targets = client.request::<requests::GotoTargets>(&arguments)?.targets;
    Ok(targets.first().context("there is no goto target")?.id)
}

#[test]
fn a_python_task_steps_into_the_call_that_was_chosen() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let source = Language::Python.source("printer");
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&source])?;
    let driver = Language::Python.start(&cluster, "printer", &[])?;
    let task = client.paused(1)?[0].id;
    client.step_over(task)?;
    let frame = client.top_frame(task)?.id;
    let into = call(&mut client, frame, "shout")?;
    client.request::<requests::StepIn>(&StepInArguments {
        thread_id: task,
        target_id: Some(into),
        ..StepInArguments::default()
    })?;
    client.stopped(task, "step")?;
    ensure!(client.top_frame(task)?.name == "shout");
    gone(&mut client, task, into)?;
    client.resume(task)?;
    ensure!(driver.result()?.contains("hello world 10 2"));
    client.close()
}

fn call(client: &mut DapClient, frame: FrameId, name: &str) -> Result<dap::StepInTargetId> {
    let targets =
        client.request::<requests::StepInTargets>(&StepInTargetsArguments { frame_id: frame })?.targets;
    let found = targets.iter().find(|target| target.label.contains(name));
    Ok(found.with_context(|| format!("the line's calls are {targets:?}"))?.id)
}

/// The call was of the stop before: choosing it again is refused.
fn gone(client: &mut DapClient, task: ThreadId, target: dap::StepInTargetId) -> Result<()> {
    let again = StepInArguments { thread_id: task, target_id: Some(target), ..StepInArguments::default() };
    let refused = client.ask::<requests::StepIn>(&again)?;
    ensure!(refused.is_err_and(|sentence| sentence.contains("earlier stop")));
    Ok(())
}
