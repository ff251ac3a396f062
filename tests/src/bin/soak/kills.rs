//! Who is killed or drained, and when.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use manta_tests::{
    Chance, Driver,
    cluster::{ended_within, kill_9},
};

use crate::{JOB_TIME, cluster::Nodes};

/// Between two kills, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 100..900;
/// One kill in so many is that of a whole node.
const NODE_ONE_IN: u64 = 6;
/// One node in so many is not killed but drained, with so much time for what it runs.
const DRAIN_ONE_IN: u64 = 3;
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// A job is left alone after so many kills, so that it ends.
const KILLS_MAX: usize = 12;

/// What was killed.
#[derive(Debug, Default)]
pub struct Killed {
    workers: usize,
    nodes: usize,
    drained: usize,
}

impl Killed {
    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        self.workers += other.workers;
        self.nodes += other.nodes;
        self.drained += other.drained;
    }
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} workers and {} nodes were killed, {} nodes drained",
            self.workers, self.nodes, self.drained
        )
    }
}

/// Kills now and then, until the driver has ended.
pub fn until_done(nodes: &mut Nodes, chance: &mut Chance, driver: &mut Driver) -> Result<Killed> {
    let mut killed = Killed::default();
    let deadline = Instant::now() + JOB_TIME;
    loop {
        let pause = PAUSE_MS.start + chance.below(PAUSE_MS.end - PAUSE_MS.start);
        if ended_within(driver.pid(), Duration::from_millis(pause)) {
            return Ok(killed);
        }
        nodes.note_spilled();
        if Instant::now() > deadline {
            bail!("the job has not ended after {JOB_TIME:?}, {killed}");
        }
        if killed.workers + killed.nodes + killed.drained < KILLS_MAX {
            one(nodes, chance, &mut killed)?;
        }
    }
}

fn one(nodes: &mut Nodes, chance: &mut Chance, killed: &mut Killed) -> Result<()> {
    if chance.below(NODE_ONE_IN) == 0 {
        let mortal = nodes.mortal()?;
        if let Some(node) = chance.one_of(&mortal) {
            if chance.below(DRAIN_ONE_IN) == 0 {
                nodes.drain(node, DRAIN_TIME)?;
                killed.drained += 1;
            } else {
                kill(node.pid)?;
                killed.nodes += 1;
            }
            return nodes.refill();
        }
    }
    let workers = nodes.workers()?;
    if let Some(worker) = chance.one_of(&workers) {
        kill(worker.pid)?;
        killed.workers += 1;
    }
    Ok(())
}

/// A process that has just ended by itself is as good as killed.
fn kill(pid: u32) -> Result<()> {
    match kill_9(pid) {
        Err(_) if ended_within(pid, Duration::ZERO) => Ok(()),
        other => other,
    }
}
