//! `bench random`: many random runs. It measures nothing; it counts what went wrong, and that has to be nothing.

use anyhow::Result;

use crate::{
    python, random,
    run::Step,
    workspace::{Profile, root},
};

/// Makes runs with the seeds from 0 on, or one run.
///
/// # Errors
/// When a build or a run fails.
pub fn run(seeds: u32, seed: Option<u32>) -> Result<()> {
    Step::build(Profile::Debug).run()?;
    let layout = python::layout(Profile::Debug)?;
    let interpreter = python::newest_environment()?;
    let options = match seed {
        Some(seed) => vec!["--seed".to_owned(), seed.to_string()],
        None => ["--seeds", &seeds.to_string(), "--go-on"].map(str::to_owned).to_vec(),
    };
    let manta = Profile::Debug.program("manta");
    random::step(&manta, &root().join(interpreter), &layout, &options)?.run()
}
