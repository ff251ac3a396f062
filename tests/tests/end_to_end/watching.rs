//! A value of one native task is watched among its siblings; its memory and its instructions are looked at.

use anyhow::{Context, Result, ensure};
use dap::{
    DataBreakpoint, DataBreakpointInfoArguments, DisassembleArguments, ReadMemoryArguments,
    SetDataBreakpointsArguments, requests,
};
use manta_tests::{Cluster, DapClient};
use serde_json::json;

use crate::support::{Language, undisturbed};

#[test]
fn a_change_of_a_watched_value_stops_its_task_alone() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let plain = undisturbed(&cluster, Language::Rust)?;
    let source = Language::Rust.source("forty_tasks");
    let mut client = DapClient::stdio()?;
    let attach = client.attach(&cluster, &json!({}))?;
    client.break_at_mark(&source, Some("number == 10"))?;
    client.configured(attach)?;
    let driver = Language::Rust.start(&cluster, "forty_tasks", &["--seed", "7"])?;
    let task = client.paused(1)?[0].id;
    let caller = client.stack(task, 2)?.pop().context("the task's stack has no second frame")?;

    let info = client.request::<requests::DataBreakpointInfo>(&DataBreakpointInfoArguments {
        name: "value".to_owned(),
        frame_id: Some(caller.id),
        ..DataBreakpointInfoArguments::default()
    })?;
    let data_id = info.data_id.with_context(|| format!("value cannot be watched: {}", info.description))?;
    watch(&mut client, vec![DataBreakpoint { data_id, ..DataBreakpoint::default() }])?;
    client.resume(task)?;
    client.stopped(task, "data breakpoint")?;
    let frame = client.top_frame(task)?;
    ensure!(frame.name.ends_with("work"), "it stopped in {}", frame.name);
    ensure!(client.threads()?.len() == 1);

    let value = client.local(task, "value")?;
    let reference = value.memory_reference.context("value has no memory")?;
    let read = ReadMemoryArguments { memory_reference: reference, offset: None, count: 8 };
    let memory = client.request::<requests::ReadMemory>(&read)?.context("no memory was read")?;
    let whole = "============".len();
    ensure!(memory.data.as_ref().is_some_and(|data| data.len() == whole), "read {memory:?}");
    let code = client.request::<requests::Disassemble>(&DisassembleArguments {
        memory_reference: frame.instruction_pointer_reference.context("the frame is at no instruction")?,
        instruction_count: 4,
        ..DisassembleArguments::default()
    })?;
    let code = code.context("there is no code")?.instructions;
    ensure!(code.len() == 4 && code.iter().all(|one| !one.instruction.is_empty()), "{code:?}");

    watch(&mut client, Vec::new())?;
    client.resume(task)?;
    ensure!(driver.result()? == plain, "looking has changed the result");
    client.close()
}

fn watch(client: &mut DapClient, breakpoints: Vec<DataBreakpoint>) -> Result<()> {
    let set = client
        .request::<requests::SetDataBreakpoints>(&SetDataBreakpointsArguments { breakpoints })?
        .breakpoints;
    ensure!(set.iter().all(|one| one.verified), "not watched: {set:?}");
    Ok(())
}
