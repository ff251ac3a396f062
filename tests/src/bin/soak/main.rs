//! The soak: random graphs of tasks and actors run on a cluster whose workers and nodes are killed at random moments. Python programs with
//! tasks and actors in Rust take turns with Rust programs that have some in Python.
//!
//! Every job must end with the results of a plain walk through its graph, and when all is over nothing may be left: no process, no
//! shared memory, no folder, no file that the head or the surviving node holds open without need.

// It shows people what happens.
#![allow(clippy::print_stdout)]

mod cluster;
mod kills;
mod leaks;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use manta_tests::{Chance, chance::seed_of_clock};
use serde::Deserialize;

use cluster::{Graph, Nodes};
use kills::Killed;

/// Longer than any job takes whose workers die under it.
const JOB_TIME: Duration = Duration::from_secs(120);

/// Runs random graphs of tasks on a cluster whose processes are killed at random.
#[derive(Parser)]
struct Options {
    /// How long to go on; the job that runs then is still waited for
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// What to repeat: the seed that an earlier soak printed [default: a new one]
    #[arg(long)]
    seed: Option<u64>,
    /// Nodes beside the one that jobs are submitted from
    #[arg(long, default_value_t = 2)]
    nodes: u32,
    /// Steps of each graph
    #[arg(long, default_value_t = 160)]
    steps: u32,
    /// Bytes of each node's object store; few of them make it move objects to the disk [default: the node's own]
    #[arg(long)]
    object_store_memory: Option<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(seed_of_clock);
    println!("the seed is {seed}; 'cargo xtask soak --seed {seed}' makes the same graphs and choices");
    match soak(&options, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nthe soak failed, with seed {seed}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak(options: &Options, seed: u64) -> Result<()> {
    let mut chance = Chance::of_seed(seed);
    let until = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let mut nodes = Nodes::start(options.nodes, options.object_store_memory)?;
    let (mut totals, mut kinds) = (Killed::default(), BTreeMap::<String, u64>::new());
    let mut jobs = 0_u32;
    let mut open_files = None;
    while Instant::now() < until {
        jobs += 1;
        let job_seed = chance.below(1 << 31);
        let since = Instant::now();
        let graph = if jobs % 2 == 1 { Graph::Python } else { Graph::Rust };
        let (killed, ran) = one_job(&mut nodes, &mut chance, graph, job_seed, options.steps)
            .with_context(|| format!("in job {jobs}, {} with seed {job_seed}", graph.name()))?;
        let (name, took) = (graph.name(), since.elapsed());
        println!("job {jobs}, {name}: {} steps in {took:.1?}, {killed}", options.steps);
        totals.add(&killed);
        ran.into_iter().for_each(|(kind, count)| *kinds.entry(kind).or_default() += count);
        nodes.refill()?;
        // The first job has opened what stays open.
        let before = *open_files.get_or_insert(leaks::open_files(&nodes)?);
        leaks::ensure_objects_freed(&nodes)?;
        leaks::ensure_open_files(&nodes, before)?;
    }
    ensure!(jobs > 0, "no job ran in {} minutes", options.minutes);
    let traces = nodes.stop()?;
    leaks::ensure_nothing_left(&traces)?;
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("\n{jobs} jobs with the right results, of these steps: {}", kinds.join(", "));
    println!("{totals}; {} objects were seen on a disk; nothing is left behind", traces.spilled.len());
    Ok(())
}

/// What the driver says of its job.
#[derive(Deserialize)]
struct Ran {
    /// How many steps of each kind it had.
    kinds: BTreeMap<String, u64>,
}

/// One job, and whatever is killed while it runs.
fn one_job(
    nodes: &mut Nodes,
    chance: &mut Chance,
    graph: Graph,
    seed: u64,
    steps: u32,
) -> Result<(Killed, BTreeMap<String, u64>)> {
    let mut driver = nodes.driver(graph, &["--seed", &seed.to_string(), "--steps", &steps.to_string()])?;
    let killed = kills::until_done(nodes, chance, &mut driver)?;
    let ended = driver.end_within(JOB_TIME)?;
    ensure!(
        ended.status.success(),
        "the driver ended with {}; it printed:\n{}{}",
        ended.status,
        ended.stdout,
        ended.stderr
    );
    let said = ended.stdout.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    let ran: Ran = serde_json::from_str(said).with_context(|| format!("the driver said '{said}'"))?;
    Ok((killed, ran.kinds))
}
