//! Native workers whose agent may not trace them: how well they are debugged then, and that the user is told.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use dap::{ThreadId, events, requests};
use manta_tests::{
    Cluster, DapClient, Driver, PATIENCE, cluster, driver, program,
    without_ptrace::{forbid_ptrace, without_capability},
};
use serde_json::{Value, json};

use crate::support::Language;

const RESULT: &str = "[12, 18] 0\n";
/// `nobody` of most systems: any user but the one who runs the tests will do.
const OTHER_USER: u32 = 65534;

/// What was told of the level while two tasks were paused.
struct Told {
    /// In the client's console.
    console: Option<String>,
    /// In the list of workers.
    listed: Vec<String>,
}

/// Runs the fixture's tasks to their line, looks, steps and goes on.
fn debugs(cluster: &Cluster, start: impl FnOnce() -> Result<Driver>) -> Result<Told> {
    let source = Language::Rust.source("levels");
    let line = program::marked_line(&source, "stop here")?;
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(cluster, &json!({}), &[&source])?;
    let driver = start()?;
    let paused = client.paused(2)?;
    let mut widths = Vec::new();
    for task in &paused {
        let stack = client.stack(task.id, 20)?;
        ensure!(stack[0].name.ends_with("area") && stack[0].line == line, "it is paused in {:?}", stack[0]);
        ensure!(stack.len() > 2, "its stack has callers");
        widths.push(client.local(task.id, "width")?.value);
        let sides = client.local(task.id, "sides")?;
        ensure!(client.children(sides.variables_reference)?.len() == 2, "sides is {}", sides.value);
        ensure!(client.evaluate(task.id, "height - width")? == "1");
    }
    widths.sort();
    ensure!(widths == ["2", "3"], "{widths:?}");
    let listed = levels(cluster)?;
    into_a_function_and_out(&mut client, paused[0].id, &source)?;
    for task in &paused {
        client.step_over(task.id)?;
        ensure!(client.top_frame(task.id)?.line == line + 1);
        client.resume(task.id)?;
    }
    let result = driver.result()?;
    ensure!(result == RESULT, "the job printed {result:?}");
    let said = client.events_so_far::<events::Output>()?;
    let console = said.into_iter().map(|event| event.output).find(|text| text.contains("Debugging level: "));
    client.close()?;
    Ok(Told { console, listed })
}

fn into_a_function_and_out(client: &mut DapClient, task: ThreadId, source: &Path) -> Result<()> {
    client.request::<requests::StepIn>(&dap::StepInArguments { thread_id: task, ..Default::default() })?;
    client.stopped(task, "step")?;
    let frame = client.top_frame(task)?;
    let inside = program::marked_line(source, "inside")?;
    ensure!(frame.name.ends_with("multiply") && frame.line == inside, "the step ended in {frame:?}");
    client.request::<requests::StepOut>(&dap::StepOutArguments { thread_id: task, ..Default::default() })?;
    client.stopped(task, "step")?;
    let frame = client.top_frame(task)?;
    ensure!(frame.name.ends_with("area"), "the step ended in {frame:?}");
    Ok(())
}

/// What `manta list workers` says of each native worker.
fn levels(cluster: &Cluster) -> Result<Vec<String>> {
    let arguments = ["list", "workers", "--json", "--address", cluster.address()];
    let mut command = program::isolated(&program::manta()?, cluster.home());
    command.args(arguments).env("MANTA_TOKEN", cluster.token());
    let listed = Driver::start(command, "manta list workers")?.result()?;
    let listed: Value = serde_json::from_str(&listed)?;
    let rows = listed["rows"].as_array().context("rows")?;
    Ok(rows
        .iter()
        .filter(|row| row["kind"] == "native")
        .map(|row| row["debug_level"].as_str().unwrap_or_default().to_owned())
        .collect())
}

#[test]
fn a_worker_whose_agent_may_not_trace_it_is_debugged_by_itself() -> Result<()> {
    type Change = fn(&mut Command);
    let ways: [(&str, Change); 2] = [
        ("a filter of system calls", |cluster| {
            forbid_ptrace(cluster);
        }),
        ("an undumpable program", |cluster| {
            without_capability(cluster).env("FIXTURE_HIDES", "1");
        }),
    ];
    for (way, change) in ways {
        let cluster = Cluster::start_with(1, 2, change)?;
        let start = || Driver::rust(&cluster, "levels", &[]);
        let told = debugs(&cluster, start).context(way)?;
        let said = told.console.with_context(|| format!("{way}: the level is not told"))?;
        ensure!(said.starts_with("native ") && said.contains("in-process, as the system refuses"), "{said}");
        ensure!(told.listed == ["in-process"], "{way}: {:?}", told.listed);
        cluster.stop()?;
    }
    Ok(())
}

#[test]
fn workers_of_another_user_are_debugged_as_well() -> Result<()> {
    // SAFETY: it has no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("left out: only the administrator can start a cluster as another user");
        return Ok(());
    }
    for (is_forbidden, level) in [(false, "full"), (true, "in-process")] {
        let cluster = Cluster::start_with(1, 2, |cluster| {
            if let Some(home) = cluster.get_current_dir().map(Path::to_path_buf) {
                chown(&home, Some(OTHER_USER), Some(OTHER_USER)).expect("the folder is the administrator's");
                cluster.env("HOME", &home);
            }
            cluster.uid(OTHER_USER).gid(OTHER_USER);
            if is_forbidden {
                forbid_ptrace(cluster);
            }
        })?;
        let as_that_user = || {
            let mut command = program::isolated(&program::rust_fixture("levels")?, cluster.home());
            command.uid(OTHER_USER).gid(OTHER_USER).env("HOME", cluster.home());
            Driver::start(driver::on(&cluster, command), "levels")
        };
        let told = debugs(&cluster, as_that_user).context(level)?;
        ensure!(told.console.is_some() == is_forbidden, "{:?}", told.console);
        ensure!(told.listed == [level], "{:?}", told.listed);
        cluster.stop()?;
    }
    Ok(())
}

#[test]
fn of_a_worker_that_another_debugger_traces_nothing_is_stopped_and_that_is_told() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let gate = cluster.home().join("go-on");
    let mut command = program::isolated(&program::rust_fixture("levels")?, cluster.home());
    command.env("FIXTURE_WAITS_FOR", &gate);
    let driver = Driver::start(driver::on(&cluster, command), "levels")?;
    let worker = worker_of(&cluster)?;
    // Its first thread has nothing to do with tasks.
    let _other = Tracer::of(worker)?;

    let source = Language::Rust.source("levels");
    let mut client = DapClient::stdio()?;
    let attach = client.attach(&cluster, &json!({}))?;
    let breakpoint = client.break_at_mark(&source, None)?;
    client.configured(attach)?;
    let message = breakpoint.message.unwrap_or_default();
    ensure!(!breakpoint.verified && message.contains("another debugger traces the process"), "{message}");
    client.event_where::<events::Output, _>("the level", |event| {
        event.output.contains("Debugging level: snapshot only").then_some(())
    })?;
    ensure!(levels(&cluster)? == ["snapshot only"]);
    fs::write(&gate, "")?;
    let result = driver.result()?;
    ensure!(result == "[12, 18] 1\n", "the job printed {result:?}");
    client.close()?;
    cluster.stop()
}

/// The one worker of a cluster, once it runs.
fn worker_of(cluster: &Cluster) -> Result<u32> {
    let program = program::rust_fixture("levels")?;
    let is_worker =
        |process: &cluster::Process| process.command.first().is_some_and(|first| Path::new(first) == program);
    let until = Instant::now() + PATIENCE;
    loop {
        let found = cluster::descendants(cluster.pid()).into_iter().find(is_worker);
        if let Some(worker) = found {
            return Ok(worker.pid);
        }
        ensure!(Instant::now() < until, "the worker runs in time");
        std::thread::yield_now();
    }
}

/// Traces a process's first thread, as another debugger would, and never stops it. It lets go when its own thread ends.
struct Tracer {
    done: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Tracer {
    fn of(pid: u32) -> Result<Self> {
        let (done, is_done) = std::sync::mpsc::channel();
        let (traces, is_traced) = std::sync::mpsc::channel();
        let pid = libc::pid_t::try_from(pid)?;
        let thread = std::thread::spawn(move || {
            // SAFETY: PTRACE_SEIZE takes numbers and touches no memory of this process.
            let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
            let error = std::io::Error::last_os_error();
            let _ = traces.send(if seized == 0 { Ok(()) } else { Err(error) });
            // Until the other end is gone.
            let _ = is_done.recv();
        });
        is_traced.recv()?.context("the worker cannot be traced")?;
        Ok(Self { done: Some(done), thread: Some(thread) })
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.done = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
