//! `cargo xtask demo`: builds what the demo needs, then runs it (tests/src/bin/demo).

use anyhow::Result;

use crate::{python, run::Step, workspace::Profile};

/// How the demo runs.
#[derive(clap::Args)]
pub struct Options {
    /// Index at most this many files of each language.
    #[arg(long, value_name = "COUNT")]
    files: Option<usize>,
}

/// Builds and runs the demo.
///
/// # Errors
/// When a build fails or the demo does.
pub fn run(options: &Options) -> Result<()> {
    Step::build(Profile::Debug).run()?;
    let interpreter = python::newest_environment()?;
    let layout = python::layout(Profile::Debug)?;
    let mut demo = Step::new(Profile::Debug.program("demo"));
    if let Some(files) = options.files {
        demo = demo.arg("--files").arg(files.to_string());
    }
    demo.env("MANTA_BIN", Profile::Debug.program("manta"))
        .env("PYTHONPATH", layout)
        .env("MANTA_TEST_PYTHON", interpreter)
        .run()
}
