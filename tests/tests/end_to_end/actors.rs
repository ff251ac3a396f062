//! Stops in methods of actors written in Rust.

use std::{fs, thread, time::Instant};

use anyhow::{Context, Result, ensure};
use dap::{ScopesArguments, requests};
use manta_tests::{Cluster, DapClient, PATIENCE, program};
use serde_json::json;

use crate::support::Language;

#[test]
fn a_stop_in_an_actors_method_pauses_that_call_alone() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let folder = tempfile::tempdir()?;
    let source = Language::Rust.source("rust_actors");
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&source])?;
    let arguments = ["stops", &folder.path().display().to_string()];
    let mut driver = Language::Rust.start(&cluster, "rust_actors", &arguments)?;

    let call = client.paused(1)?[0].clone();
    ensure!(call.name.starts_with("Desk::multiply "), "the thread is called {}", call.name);
    let frame = client.top_frame(call.id)?;
    ensure!(frame.line == program::marked_line(&source, "stop here")?, "paused at line {}", frame.line);
    ensure!(frame.name.contains("multiply"), "paused in {}", frame.name);
    ensure!(client.local(call.id, "product")?.value == "42");

    // Another call of the same actor, in the same process, is answered meanwhile.
    fs::write(folder.path().join("paused"), "")?;
    let (answered, deadline) = (folder.path().join("answered"), Instant::now() + PATIENCE);
    while !answered.exists() && driver.is_running() {
        ensure!(Instant::now() < deadline, "another call of the actor was not answered during the stop");
        thread::yield_now();
    }
    let paused = client.threads()?;
    ensure!(paused.len() == 1 && paused[0].id == call.id, "these are paused: {paused:?}");

    client.resume(call.id)?;
    let result = driver.result()?;
    ensure!(result.contains(r#"{"product":43}"#), "the job gave {result}");
    client.close()
}

#[test]
fn a_stop_in_an_async_actor_shows_the_tasks_that_it_has_spawned() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let source = Language::Rust.source("async_actor");
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&source])?;
    let driver = Language::Rust.start(&cluster, "async_actor", &[])?;

    let call = client.paused(1)?[0].clone();
    let frame = client.top_frame(call.id)?;
    ensure!(frame.name.contains("welcome"), "paused in {}", frame.name);
    let scopes = client.request::<requests::Scopes>(&ScopesArguments { frame_id: frame.id })?.scopes;
    let spawned = scopes.iter().find(|scope| scope.name == "Tokio tasks").context("a scope of tasks")?;
    // The runtime has a thread of its own, which may still be on the way to where the last of them waits.
    let (waiting, deadline) = ("guest: idle, waits at async_actor.rs:", Instant::now() + PATIENCE);
    loop {
        let tasks = client.children(spawned.variables_reference)?;
        if tasks.len() == 3 && tasks.iter().all(|task| task.value.contains(waiting)) {
            break;
        }
        ensure!(Instant::now() < deadline, "these are the tasks: {tasks:#?}");
    }

    client.resume(call.id)?;
    let result = driver.result()?;
    ensure!(result.contains(r#"{"sum":6}"#), "the job gave {result}");
    client.close()
}
