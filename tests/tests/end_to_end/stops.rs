//! Promise 1 and 6: no breakpoint is missed, and a breakpoint does not park the cluster.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use dap::{Thread, events};
use manta_tests::{Chance, Cluster, DapClient};
use serde_json::json;

use crate::support::{BOTH, Language, explained, node, numbers, undisturbed};

const RUNS: usize = 20;
/// Every fifth of forty tasks reaches the line, in each language.
const STOPS_EACH: u64 = 8;

#[test]
fn exactly_the_tasks_that_reach_the_lines_stop_in_twenty_runs() -> Result<()> {
    let mut chance = Chance::of_test();
    let cluster = Cluster::start(2, 2)?;
    let plain = BOTH.map(|language| undisturbed(&cluster, language));
    let [python, rust] = plain;
    let (python, rust) = (python?, rust?);
    let mut nodes = BTreeSet::new();
    for run in 1..=RUNS {
        let seen = one_run(&cluster, &mut chance, &python, &rust)
            .with_context(|| format!("in run {run} of {RUNS}"))?;
        nodes.extend(seen);
    }
    ensure!(nodes.len() == 2, "over all runs tasks stopped on {nodes:?} only");
    cluster.stop()
}

/// Both jobs at once, in either order, with random durations; gives the nodes on which tasks stopped.
fn one_run(cluster: &Cluster, chance: &mut Chance, python: &str, rust: &str) -> Result<BTreeSet<String>> {
    let mut client = DapClient::stdio()?;
    let sources = BOTH.map(|language| language.source("forty_tasks"));
    client.attach_with_breakpoints(
        cluster,
        &json!({"maxPaused": 2 * STOPS_EACH}),
        &[&sources[0], &sources[1]],
    )?;
    let mut order = BOTH;
    if chance.below(2) == 0 {
        order.reverse();
    }
    let mut drivers = Vec::new();
    for language in order {
        drivers.push(language.start(
            cluster,
            "forty_tasks",
            &["--seed", &chance.below(1 << 20).to_string()],
        )?);
    }

    let at_once = stop_all_and_resume(&mut client);
    let paused = explained(at_once, &mut drivers)?;
    for (language, driver) in order.into_iter().zip(drivers) {
        let result = driver.result()?;
        let plain = if language == Language::Python { python } else { rust };
        ensure!(result == plain, "{language:?} gave {result} under the debugger, and {plain} without");
    }
    let more = client.threads()?;
    ensure!(more.is_empty(), "these stopped as well: {more:?}");
    client.close()?;
    Ok(paused.iter().map(|task| node(task).to_owned()).collect())
}

/// All tasks that reach the lines are paused at once, and no other; then each runs on.
fn stop_all_and_resume(client: &mut DapClient) -> Result<Vec<Thread>> {
    let paused = client.paused(usize::try_from(2 * STOPS_EACH)?)?;
    let expected: Vec<(Language, u64)> = BOTH
        .into_iter()
        .flat_map(|language| (0..STOPS_EACH).map(move |index| (language, 5 * index)))
        .collect();
    let stopped = numbers(client, &paused)?;
    ensure!(stopped == expected, "these tasks stopped: {stopped:?}");
    for task in &paused {
        client.resume(task.id)?;
    }
    Ok(paused)
}

#[test]
fn a_breakpoint_that_many_tasks_reach_parks_as_many_as_the_budget_allows() -> Result<()> {
    let cluster = Cluster::start(2, 2)?;
    let plain = undisturbed(&cluster, Language::Rust)?;
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(
        &cluster,
        &json!({"maxPaused": 3}),
        &[&Language::Rust.source("forty_tasks")],
    )?;
    let driver = Language::Rust.start(&cluster, "forty_tasks", &[])?;

    // Five of the eight pass; the session says so once or in several sentences.
    client.event_where::<events::Output, _>("5 tasks passed", |event| {
        event.output.contains("5 in all so far").then_some(())
    })?;
    let paused = client.threads()?;
    ensure!(paused.len() == 3, "the budget is 3, and these are paused: {paused:?}");
    for task in paused {
        client.resume(task.id)?;
    }
    ensure!(driver.result()? == plain);
    client.close()
}
