//! `cargo xtask soak`: builds what the soak needs, then runs it (tests/src/bin/soak).

use anyhow::Result;

use crate::{python, run::Step, workspace::Profile};

/// How the soak runs.
#[derive(clap::Args)]
pub struct Options {
    /// How long to go on.
    #[arg(long, default_value_t = 5.0, value_name = "MINUTES")]
    minutes: f64,
    /// The seed that an earlier soak printed, to do the same again.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Bytes of each node's object store; few of them make it move objects to the disk.
    #[arg(long, value_name = "BYTES")]
    object_store_memory: Option<u64>,
}

/// Builds and runs the soak.
///
/// # Errors
/// When a build fails or the soak does.
pub fn run(options: &Options) -> Result<()> {
    Step::build(Profile::Debug).run()?;
    let layout = python::layout(Profile::Debug)?;
    let interpreter = python::newest_environment()?;
    let mut soak =
        Step::new(Profile::Debug.program("soak")).arg("--minutes").arg(options.minutes.to_string());
    if let Some(seed) = options.seed {
        soak = soak.arg("--seed").arg(seed.to_string());
    }
    if let Some(bytes) = options.object_store_memory {
        soak = soak.arg("--object-store-memory").arg(bytes.to_string());
    }
    soak.env("MANTA_BIN", Profile::Debug.program("manta"))
        .env("PYTHONPATH", layout)
        .env("MANTA_TEST_PYTHON", interpreter)
        .run()
}
