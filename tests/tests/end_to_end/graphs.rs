//! Graphs of tasks, calls and refs. Promise 4 on one of them: whatever is paused, stepped, resumed or killed in it, the job gives what it
//! gives undisturbed.

use anyhow::{Context, Result, ensure};
use manta_tests::{Chance, Cluster, DapClient, Driver, cluster::kill_9, on, program};
use serde_json::json;

use crate::support::{explained, thread_gone};

/// Stops that are looked at one by one; then the breakpoint goes.
const STOPS: usize = 10;
/// Of so many stops, one ends with the death of the worker and one with a step.
const KINDS: u64 = 4;

#[test]
fn graphs_of_both_languages_give_what_a_plain_walk_gives() -> Result<()> {
    let seed = Chance::of_test().below(1 << 31).to_string();
    let arguments = ["--seed", &seed, "--steps", "40"];
    let cluster = Cluster::start(2, 2)?;
    let rust = program::rust_fixture("rust_graph")?.display().to_string();
    let of_python = Driver::python(&cluster, "random_graph", &[&arguments[..], &["--rust", &rust]].concat())?;
    let mut command = program::rust_with_python("rust_graph", cluster.home())?;
    command.args(arguments).arg("--python");
    let of_rust = Driver::start(on(&cluster, command), "rust_graph")?;
    // Each compares its results with those of the walk itself.
    for driver in [of_python, of_rust] {
        driver.result()?;
    }
    cluster.stop()
}

#[test]
fn a_graph_that_is_paused_and_loses_workers_gives_what_it_gives_undisturbed() -> Result<()> {
    let mut chance = Chance::of_test();
    let seed = chance.below(1 << 31).to_string();
    let arguments = ["--seed", &seed, "--steps", "30"];
    let cluster = Cluster::start(2, 2)?;
    let plain = Driver::python(&cluster, "random_graph", &arguments)?.result()?;

    let source = program::python_source("random_graph");
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&source])?;
    let mut drivers = vec![Driver::python(&cluster, "random_graph", &arguments)?];
    let disturbed = disturb(&mut client, &mut chance);
    explained(disturbed, &mut drivers)?;
    client.set_breakpoints(&source, Vec::new())?;
    for task in client.threads()? {
        client.resume(task.id)?;
    }
    for driver in drivers {
        let result = driver.result()?;
        ensure!(result == plain, "the job gave {result}, and {plain} undisturbed");
    }
    client.close()?;
    cluster.stop()
}

fn disturb(client: &mut DapClient, chance: &mut Chance) -> Result<()> {
    for _ in 0..STOPS {
        let paused = client.paused(1)?;
        let task = chance.one_of(&paused).context("no task is paused")?.id;
        match chance.below(KINDS) {
            0 => {
                let pid = client.evaluate(task, "__import__('os').getpid()")?;
                kill_9(pid.parse().with_context(|| format!("os.getpid() gave {pid:?}"))?)?;
                thread_gone(client, task)?;
            }
            1 => {
                client.step_over(task)?;
                client.resume(task)?;
                thread_gone(client, task)?;
            }
            _ => {
                client.resume(task)?;
                thread_gone(client, task)?;
            }
        }
    }
    Ok(())
}
