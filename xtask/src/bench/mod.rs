//! `cargo xtask bench`: measures Manta, and in the same run the peers that `--vs` names.
//!
//! Each program under `tests/bench` prints its figures as JSON; this module builds, runs them, and sets the figures side by side.

mod debug;
mod random;
mod report;
mod tasks;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{run::Step, workspace::Profile};

/// What to measure, beside whom.
#[derive(clap::Args)]
pub struct Options {
    /// What to measure.
    name: Name,
    /// Peers to measure in the same run: ray, multiprocessing (tasks); debugpy, lldb-dap (debug).
    #[arg(long, value_delimiter = ',', value_name = "PEER,…")]
    vs: Vec<String>,
    /// Prints the rows as JSON in place of the table; either way they are written to target/bench/NAME.json.
    #[arg(long)]
    json: bool,
    /// How often each measurement is made; the median counts.
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    rounds: u32,
    /// For random: how many runs.
    #[arg(long, default_value_t = 1000, value_name = "COUNT")]
    seeds: u32,
    /// For random: this run alone, with its conversation. A failure prints its seed.
    #[arg(long, value_name = "SEED")]
    seed: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Starting, submitting and getting tasks.
    Tasks,
    /// Stopping, stepping and looking, through a whole cluster.
    Debug,
    /// Debugging at random: breakpoints, steps, kills. No program's result may change.
    Random,
}

impl Name {
    fn word(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Debug => "debug",
            Self::Random => "random",
        }
    }

    fn peers(self) -> &'static [&'static str] {
        match self {
            Self::Tasks => &["ray", "multiprocessing"],
            Self::Debug => &["debugpy", "lldb-dap"],
            Self::Random => &[],
        }
    }
}

/// Builds what is measured. It is the same for all that measure: with examples, cargo settles other features of what these stand on,
/// and each change between the two would build nearly everything anew.
fn build() -> Result<()> {
    Step::build(Profile::Release).args(["--bins", "--lib", "--examples"]).run()
}

/// Measures and reports.
///
/// # Errors
/// When a build fails, a peer is unknown or cannot be set up, or a measurement fails.
pub fn run(options: &Options) -> Result<()> {
    if let Some(unknown) = options.vs.iter().find(|peer| !options.name.peers().contains(&peer.as_str())) {
        let peers = options.name.peers();
        let known = if peers.is_empty() { "it has none".to_owned() } else { peers.join(" and ") };
        bail!("bench {} knows no peer {unknown}; its peers: {known}", options.name.word());
    }
    let figures = match options.name {
        Name::Tasks => tasks::measure(&options.vs, options.rounds)?,
        Name::Debug => debug::measure(&options.vs, options.rounds)?,
        Name::Random => return random::run(options.seeds, options.seed),
    };
    report::close(options.name.word(), &figures, options.json)
}
