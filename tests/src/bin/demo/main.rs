//! The demo: a real job of Rust tasks and one of Python tasks on a cluster of two nodes, their tasks stopped together in one
//! debug session, looked at, stepped and resumed; then the jobs' results are compared with a plain count.
//!
//! It is itself a headless DAP client and sees no more than any other would. `cargo xtask demo` builds what it needs and runs it.

// It shows people what happens.
#![allow(clippy::print_stdout)]

mod files;
mod look;
mod terminal;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use dap::Thread;
use manta_tests::{
    Cluster, DapClient, Driver,
    count::{self, Totals},
    program,
};
use serde_json::json;

use terminal::Terminal;

/// Tasks of each language that meet the breakpoints' condition; together as many as the break budget allows at once.
const STOPS_EACH: usize = 8;
/// Sources a task.
const BATCH_FILES: usize = 40;
/// Identifiers that a job names.
const TOP: usize = 10;

/// Stops a real job's Rust and Python tasks in one debug session.
#[derive(Parser)]
struct Options {
    /// Index at most this many sources of each language.
    #[arg(long, default_value_t = 2000)]
    files: usize,
}

fn main() -> ExitCode {
    let terminal = Terminal::new();
    match run(&Options::parse(), &terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{} {error:#}", terminal.red("the demo failed:"));
            ExitCode::FAILURE
        }
    }
}

/// One of the two jobs.
struct Job {
    language: &'static str,
    source: PathBuf,
    sources: Vec<PathBuf>,
    list: PathBuf,
}

impl Job {
    fn start(&self, cluster: &Cluster) -> Result<Driver> {
        let (list, batch, top) = (self.list.display().to_string(), BATCH_FILES.to_string(), TOP.to_string());
        let arguments = [list.as_str(), "--batch", &batch, "--top", &top];
        match self.language {
            "Rust" => Driver::rust(cluster, "index_sources", &arguments),
            _ => Driver::python(cluster, "index_sources", &arguments),
        }
    }
}

fn run(options: &Options, terminal: &Terminal) -> Result<()> {
    let started = Instant::now();
    let lists = tempfile::tempdir().context("no temporary folder could be made")?;
    let jobs = jobs(options, lists.path())?;
    for job in &jobs {
        terminal.say(&format!(
            "{} {} source files, {} tasks",
            job.sources.len(),
            job.language,
            job.sources.len().div_ceil(BATCH_FILES)
        ));
    }

    let since = Instant::now();
    let cluster = Cluster::start(2, 2)?;
    terminal.say(&format!("a cluster of two nodes, ready after {:.0?}", since.elapsed()));

    let mut client = DapClient::stdio()?;
    let attach = client.attach(&cluster, &json!({"maxPaused": 2 * STOPS_EACH}))?;
    for job in &jobs {
        set_breakpoint(&mut client, job, terminal)?;
    }
    client.configured(attach)?;

    let since = Instant::now();
    let mut drivers: Vec<Driver> = jobs.iter().map(|job| job.start(&cluster)).collect::<Result<_>>()?;
    let paused = match wait_for_stops(&mut client, terminal) {
        Ok(paused) => paused,
        Err(error) => return Err(explain(error, drivers)),
    };
    terminal.say(&format!(
        "{} tasks are paused at once, {:.1?} after the jobs were started\n",
        paused.len(),
        since.elapsed()
    ));

    let rows = look::at_all(&mut client, &paused)?;
    look::print(&rows, terminal);
    look::expect_both(&rows)?;
    step_one(&mut client, &paused, terminal)?;

    for job in &jobs {
        client.set_breakpoints(&job.source, Vec::new())?;
    }
    for task in client.threads()? {
        client.resume(task.id)?;
    }
    terminal.say("breakpoints removed, all tasks resumed");

    let since = Instant::now();
    let counted: Vec<Totals> = count_plainly(&jobs)?;
    for ((job, driver), plain) in jobs.iter().zip(drivers.drain(..)).zip(counted) {
        compare(job, driver, &plain, terminal)?;
    }
    terminal
        .say(&format!("both jobs' results are those of a plain sequential count ({:.1?})", since.elapsed()));
    client.close()?;
    cluster.stop()?;
    println!("\n{} in {:.1?}", terminal.green("the demo succeeded"), started.elapsed());
    Ok(())
}

fn jobs(options: &Options, lists: &Path) -> Result<[Job; 2]> {
    let job = |language, source: PathBuf, sources: Vec<PathBuf>| -> Result<Job> {
        let list = lists.join(format!("{language}.txt"));
        let names: Vec<String> = sources.iter().map(|path| path.display().to_string()).collect();
        std::fs::write(&list, names.join("\n"))
            .with_context(|| format!("{} could not be written", list.display()))?;
        if sources.len() < STOPS_EACH * BATCH_FILES {
            bail!(
                "only {} {language} source files were found; the demo needs {}",
                sources.len(),
                STOPS_EACH * BATCH_FILES
            );
        }
        Ok(Job { language, source, sources, list })
    };
    Ok([
        job("Rust", program::rust_source("index_sources"), files::rust(options.files)?)?,
        job("Python", program::python_source("index_sources"), files::python(options.files)?)?,
    ])
}

fn set_breakpoint(client: &mut DapClient, job: &Job, terminal: &Terminal) -> Result<()> {
    let condition = format!("batch < {STOPS_EACH}");
    let set = client.break_at_mark(&job.source, Some(&condition))?;
    let name = job.source.file_name().unwrap_or_default().display();
    if !set.verified {
        bail!("the breakpoint in {name} is not verified: {}", set.message.unwrap_or_default());
    }
    let line = set.line.unwrap_or_default();
    terminal.say(&format!(
        "breakpoint at {name}:{line} where {condition}, before any task runs: {}",
        set.message.as_deref().unwrap_or("verified")
    ));
    Ok(())
}

fn wait_for_stops(client: &mut DapClient, terminal: &Terminal) -> Result<Vec<Thread>> {
    let all = 2 * STOPS_EACH;
    let mut wanted = 1;
    loop {
        let paused = client.paused(wanted)?;
        if paused.len() >= all {
            terminal.progress("");
            return Ok(paused);
        }
        terminal.progress(&format!("{} of {all} tasks are paused", paused.len()));
        wanted = paused.len() + 1;
    }
}

/// A job that failed is the likely cause of stops that do not come.
fn explain(error: anyhow::Error, drivers: Vec<Driver>) -> anyhow::Error {
    let said = drivers.into_iter().map(|mut driver| {
        if driver.is_running() {
            return "a job still runs".to_owned();
        }
        driver.end().map_or_else(
            |error| error.to_string(),
            |ended| format!("a job ended with {}:\n{}{}", ended.status, ended.stdout, ended.stderr),
        )
    });
    let said: Vec<String> = said.collect();
    error.context(said.join("\n"))
}

/// Steps one task; every other one stays where it is.
fn step_one(client: &mut DapClient, paused: &[Thread], terminal: &Terminal) -> Result<()> {
    let Some((one, others)) = paused.split_first() else { bail!("no task is paused") };
    let mut before = Vec::new();
    for task in others {
        before.push((task, client.top_frame(task.id)?.line));
    }
    let from = client.top_frame(one.id)?;
    let since = Instant::now();
    client.step_over(one.id)?;
    let took = since.elapsed();
    let to = client.top_frame(one.id)?;
    if to.line == from.line {
        bail!("{} was stepped and is still at line {}", one.name, from.line);
    }
    for (task, line) in &before {
        let now = client.top_frame(task.id)?.line;
        if now != *line {
            bail!("{} moved from line {line} to {now} while another task was stepped", task.name);
        }
    }
    terminal.say(&format!(
        "stepped {} from line {} to {} in {took:.1?}; the other {} stayed",
        terminal.bold(&one.name),
        from.line,
        to.line,
        others.len()
    ));
    Ok(())
}

/// Counts both jobs' files while the jobs run on.
fn count_plainly(jobs: &[Job]) -> Result<Vec<Totals>> {
    thread::scope(|scope| {
        let counting: Vec<_> =
            jobs.iter().map(|job| scope.spawn(|| count::sequentially(&job.sources, TOP))).collect();
        counting
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("the plain count panicked")))
            .collect()
    })
}

fn compare(job: &Job, driver: Driver, plain: &Totals, terminal: &Terminal) -> Result<()> {
    let text = driver.result()?;
    let line = text
        .lines()
        .rfind(|line| line.starts_with('{'))
        .with_context(|| format!("the {} job printed no result: {text:?}", job.language))?;
    let result: Totals = serde_json::from_str(line)
        .with_context(|| format!("the {} job's result could not be read: {line}", job.language))?;
    if result != *plain {
        bail!("the {} job says {result:?}, and the plain count says {plain:?}", job.language);
    }
    let commonest: Vec<&str> = result.top.iter().take(5).map(|(name, _)| name.as_str()).collect();
    terminal.say(&format!(
        "{}: {} files, {} lines, {} words, {} identifiers; commonest {}",
        job.language,
        result.files,
        result.lines,
        result.words,
        result.distinct,
        commonest.join(", ")
    ));
    Ok(())
}
