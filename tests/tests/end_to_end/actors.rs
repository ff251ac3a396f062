//! A stop in a method of an actor written in Rust.

use std::{fs, thread, time::Instant};

use anyhow::{Result, ensure};
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
