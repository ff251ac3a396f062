//! What a person does at a stop: look, change, step, go on, in both languages.

use anyhow::{Context, Result, ensure};
use dap::{SetVariableArguments, ThreadId, events, requests};
use manta_tests::{Cluster, DapClient, program};
use serde_json::json;

use crate::support::Language;

#[test]
fn a_paused_python_task_shows_its_stack_and_variables_and_steps() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let source = Language::Python.source("printer");
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&source])?;
    let driver = Language::Python.start(&cluster, "printer", &[])?;
    let task = client.paused(1)?[0].clone();
    ensure!(task.name.starts_with("greet "), "the thread is called {}", task.name);

    let line = program::marked_line(&source, "stop here")?;
    let frame = client.top_frame(task.id)?;
    ensure!(
        (frame.name.as_str(), frame.line) == ("greet", line),
        "paused in {} at line {}",
        frame.name,
        frame.line
    );
    ensure!(client.local(task.id, "greeting")?.value == "'hello world'");
    let numbers = client.local(task.id, "numbers")?;
    let children = client.children(numbers.variables_reference)?;
    ensure!(children.len() >= 5, "numbers has {} children", children.len());
    ensure!(client.evaluate(task.id, "len(table) + times")? == "7");

    client.step_over(task.id)?;
    ensure!(client.top_frame(task.id)?.line == line + 1);
    client.event_where::<events::Output, _>("the task's print", |event| {
        event.output.contains("hello world").then_some(())
    })?;
    step_in(&mut client, task.id)?;
    ensure!(client.top_frame(task.id)?.name == "shout");

    client.resume(task.id)?;
    ensure!(driver.result()?.contains("hello world 10 2"));
    client.close()
}

#[test]
fn a_variable_that_was_set_changes_what_the_task_computes() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&Language::Python.source("printer")])?;
    let driver = Language::Python.start(&cluster, "printer", &[])?;
    let task = client.paused(1)?[0].id;
    let frame = client.top_frame(task)?;
    let scopes = client.request::<requests::Scopes>(&dap::ScopesArguments { frame_id: frame.id })?.scopes;
    let locals = scopes.first().context("no scope")?.variables_reference;
    let arguments = SetVariableArguments {
        variables_reference: locals,
        name: "numbers".to_owned(),
        value: "[40, 2]".to_owned(),
        ..SetVariableArguments::default()
    };
    client.request::<requests::SetVariable>(&arguments)?;
    client.resume(task)?;
    ensure!(driver.result()?.contains("hello world 42 2"));
    client.close()
}

#[test]
fn a_paused_rust_task_shows_its_stack_and_variables_and_steps() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let source = Language::Rust.source("forty_tasks");
    let line = program::marked_line(&source, "stop here")?;
    let mut client = DapClient::stdio()?;
    let attach = client.attach(&cluster, &json!({}))?;
    let set = client.break_at_mark(&source, Some("number == 10"))?;
    ensure!(set.verified, "not verified: {:?}", set.message);
    client.configured(attach)?;
    let driver = Language::Rust.start(&cluster, "forty_tasks", &[])?;

    let task = client.paused(1)?[0].clone();
    let stack = client.stack(task.id, 20)?;
    let names: Vec<&str> =
        stack.iter().map(|frame| frame.name.rsplit("::").next().unwrap_or_default()).collect();
    ensure!(names.starts_with(&["mark", "work"]), "the stack is {names:?}");
    ensure!(stack[0].line == line, "paused at line {}", stack[0].line);
    ensure!(client.local(task.id, "number")?.value == "10");
    let label = client.local(task.id, "label")?;
    ensure!(label.value == "\"task 10\"", "label shows as {}", label.value);
    ensure!(client.evaluate(task.id, "number")? == "10");

    client.step_over(task.id)?;
    ensure!(client.top_frame(task.id)?.line == line + 1);
    ensure!(client.local(task.id, "extra")?.value == "17");
    client.resume(task.id)?;
    driver.result()?;
    client.close()
}

#[test]
fn one_task_is_stepped_while_the_others_stay() -> Result<()> {
    let cluster = Cluster::start(2, 2)?;
    let mut client = DapClient::stdio()?;
    let sources = [Language::Python.source("forty_tasks"), Language::Rust.source("forty_tasks")];
    client.attach_with_breakpoints(&cluster, &json!({}), &[&sources[0], &sources[1]])?;
    let drivers = [
        Language::Python.start(&cluster, "forty_tasks", &[])?,
        Language::Rust.start(&cluster, "forty_tasks", &[])?,
    ];
    let paused = client.paused(16)?;
    for one in [&paused[0], &paused[15]] {
        let before = lines(&mut client, &paused)?;
        client.step_over(one.id)?;
        let moved: Vec<ThreadId> = before
            .iter()
            .zip(lines(&mut client, &paused)?)
            .filter(|(a, b)| *a != b)
            .map(|(a, _)| a.0)
            .collect();
        ensure!(moved == [one.id], "{} was stepped and these moved: {moved:?}", one.id);
    }
    // The client goes while tasks are paused: an orderly end resumes them at once.
    client.close()?;
    for driver in drivers {
        driver.result()?;
    }
    Ok(())
}

fn lines(client: &mut DapClient, tasks: &[dap::Thread]) -> Result<Vec<(ThreadId, i64)>> {
    tasks.iter().map(|task| Ok((task.id, client.top_frame(task.id)?.line))).collect()
}

fn step_in(client: &mut DapClient, task: ThreadId) -> Result<()> {
    client.request::<requests::StepIn>(&dap::StepInArguments {
        thread_id: task,
        ..dap::StepInArguments::default()
    })?;
    client.stopped(task, "step")?;
    Ok(())
}
