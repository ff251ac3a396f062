//! Promise 5: whoever dies, the tasks live.

use anyhow::{Context, Result, ensure};
use manta_tests::{
    Cluster, DapClient, Driver,
    cluster::{self, Process, descendants, kill_9},
};
use serde_json::json;

use crate::support::{BOTH, Language, resume_until_done, thread_gone, undisturbed};

/// Both jobs, with all tasks that reach their lines paused.
struct Paused {
    cluster: Cluster,
    client: DapClient,
    drivers: Vec<Driver>,
    plain: Vec<String>,
}

fn paused(languages: &[Language]) -> Result<Paused> {
    let cluster = Cluster::start(2, 2)?;
    let plain = languages.iter().map(|language| undisturbed(&cluster, *language)).collect::<Result<_>>()?;
    let mut client = DapClient::stdio()?;
    let sources: Vec<_> = languages.iter().map(|language| language.source("forty_tasks")).collect();
    let sources: Vec<_> = sources.iter().map(AsRef::as_ref).collect();
    client.attach_with_breakpoints(&cluster, &json!({"graceSeconds": 0.5}), &sources)?;
    let drivers = languages
        .iter()
        .map(|language| language.start(&cluster, "forty_tasks", &[]))
        .collect::<Result<_>>()?;
    client.paused(8 * languages.len())?;
    Ok(Paused { cluster, client, drivers, plain })
}

fn ensure_results(drivers: Vec<Driver>, plain: &[String]) -> Result<()> {
    for (driver, plain) in drivers.into_iter().zip(plain) {
        let result = driver.result()?;
        ensure!(result == *plain, "the job gave {result}, and {plain} undisturbed");
    }
    Ok(())
}

#[test]
fn the_adapter_is_killed_and_the_tasks_run_on() -> Result<()> {
    let Paused { cluster, client, drivers, plain } = paused(&BOTH)?;
    client.kill_adapter()?;
    ensure_results(drivers, &plain)?;
    // Nothing is left behind: the next session finds everything as before.
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&Language::Rust.source("forty_tasks")])?;
    let driver = Language::Rust.start(&cluster, "forty_tasks", &[])?;
    let paused = client.paused(8)?;
    for task in paused {
        client.resume(task.id)?;
    }
    ensure_results(vec![driver], &plain[1..])?;
    client.close()?;
    cluster.stop()
}

#[test]
fn the_debug_agents_are_killed_and_the_native_tasks_run_on() -> Result<()> {
    let Paused { cluster, mut client, drivers, plain } = paused(&[Language::Rust])?;
    let tasks = client.threads()?;
    let agents = debug_agents(&cluster);
    ensure!(!agents.is_empty(), "tasks are paused in native workers, and no debug agent runs");
    for agent in &agents {
        kill_9(agent.pid)?;
    }
    // Paused threads run on with their tracer gone; a new agent may stop tasks that reach the line later.
    for task in &tasks {
        thread_gone(&mut client, task.id)?;
    }
    let results = resume_until_done(&mut client, drivers)?;
    ensure!(results == plain, "the job gave {results:?}, and {plain:?} undisturbed");
    client.close()?;
    cluster.stop()
}

fn debug_agents(cluster: &Cluster) -> Vec<Process> {
    let all = descendants(cluster.pid());
    all.into_iter().filter(|process| process.command.iter().any(|word| word == "debug-agent")).collect()
}

#[test]
fn a_worker_is_killed_at_a_stop_and_its_task_is_tried_again() -> Result<()> {
    let Paused { cluster, mut client, drivers, plain } = paused(&[Language::Python])?;
    let victim = client.threads()?[0].clone();
    let pid = client.evaluate(victim.id, "__import__('os').getpid()")?;
    let pid: u32 = pid.parse().with_context(|| format!("os.getpid() gave {pid:?}"))?;
    kill_9(pid)?;
    thread_gone(&mut client, victim.id)?;

    // The second attempt reaches the line too, in another worker and under another thread id.
    let again = client.paused(8)?;
    ensure!(again.iter().all(|task| task.id != victim.id), "thread {} is used again: {again:?}", victim.id);
    let retried = again.iter().filter(|task| task.name.contains("attempt 1")).count();
    ensure!(retried == 1, "one task should be in its second attempt: {again:?}");
    let results = resume_until_done(&mut client, drivers)?;
    ensure!(results == plain, "the job gave {results:?}, and {plain:?} undisturbed");
    client.close()?;
    cluster.stop()
}

#[test]
fn the_driver_is_killed_and_the_cluster_goes_on() -> Result<()> {
    let Paused { cluster, mut client, mut drivers, plain } = paused(&BOTH)?;
    let tasks = client.threads()?;
    // The watcher belongs to the node, not to the job.
    let is_of_the_job = |process: &Process| !process.command.iter().any(|word| word == "watch");
    let workers: Vec<Process> = descendants(cluster.pid()).into_iter().filter(is_of_the_job).collect();
    for driver in drivers.drain(..) {
        driver.kill()?;
    }
    for task in &tasks {
        thread_gone(&mut client, task.id)?;
    }
    for worker in &workers {
        ensure!(cluster::ended_within(worker.pid, manta_tests::PATIENCE), "{worker:?} outlives its job");
    }
    // The session goes on as well: the next job's tasks stop as the first's did.
    let drivers: Vec<Driver> =
        BOTH.iter().map(|language| language.start(&cluster, "forty_tasks", &[])).collect::<Result<_>>()?;
    client.paused(16)?;
    let results = resume_until_done(&mut client, drivers)?;
    ensure!(results == plain, "the job gave {results:?}, and {plain:?} undisturbed");
    client.close()?;
    cluster.stop()
}
