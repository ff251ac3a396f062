//! `launch`: a private cluster, and a driver under the debugger.

use anyhow::{Result, ensure};
use dap::{events, requests};
use manta_tests::{DapClient, program};
use serde_json::{Value, json};

use crate::support::Language;

/// Launches, stops once at the fixture's mark, resumes, and sees the driver's end; gives all that was printed.
fn launch(language: Language, fixture: &str, configuration: &Value, stops: usize) -> Result<String> {
    let mut client = DapClient::stdio()?;
    client.initialize()?;
    let launch = client.send::<requests::Launch>(&serde_json::from_value(configuration.clone())?)?;
    client.event::<events::Initialized>("after launch")?;
    client.break_at_mark(&language.source(fixture), None)?;
    client.request::<requests::ConfigurationDone>(&Default::default())?;
    if let Err(refusal) = client.answer::<requests::Launch>(launch)? {
        anyhow::bail!("launch was refused: {refusal}");
    }
    for task in client.paused(stops)? {
        client.resume(task.id)?;
    }
    let ended = client.event::<events::Exited>("the driver's end")?;
    ensure!(ended.exit_code == 0, "the driver ended with {}", ended.exit_code);
    client.event::<events::Terminated>("the session's end")?;
    let output = client.events_so_far::<events::Output>()?;
    client.close()?;
    Ok(output.into_iter().map(|event| event.output).collect())
}

#[test]
fn a_python_program_is_launched_and_stops() -> Result<()> {
    let configuration = json!({
        "program": program::python_source("printer"),
        "python": program::python()?,
        "env": {"PYTHONPATH": program::python_path(), "MANTA_BIN": program::manta()?},
        "cwd": program::root(),
    });
    let printed = launch(Language::Python, "printer", &configuration, 1)?;
    ensure!(printed.contains("hello world 10 2"), "it printed {printed:?}");
    Ok(())
}

#[test]
fn a_rust_program_is_launched_and_stops() -> Result<()> {
    let configuration = json!({
        "program": program::rust_fixture("deadline")?,
        "args": ["--timeout-ms", "60000"],
        "cwd": program::root(),
    });
    let printed = launch(Language::Rust, "deadline", &configuration, 1)?;
    ensure!(printed.contains("42"), "it printed {printed:?}");
    Ok(())
}

#[test]
fn a_program_that_is_not_there_is_said() -> Result<()> {
    let mut client = DapClient::stdio()?;
    client.initialize()?;
    let launch =
        client.send::<requests::Launch>(&serde_json::from_value(json!({"program": "/no/such/program"}))?)?;
    // The driver starts when the client has configured the session, so that is when it is found out.
    client.event::<events::Initialized>("after launch")?;
    client.request::<requests::ConfigurationDone>(&Default::default())?;
    let launched = client.answer::<requests::Launch>(launch)?;
    let said = match launched {
        Err(refusal) => refusal,
        Ok(_) => client.event_where::<events::Output, _>("why", |event| {
            event.output.contains("/no/such/program").then_some(event.output)
        })?,
    };
    ensure!(said.contains("/no/such/program"), "it says {said:?}");
    client.event::<events::Terminated>("the session's end")?;
    client.close()
}
