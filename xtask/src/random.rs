//! Random debugging (tests/random): the suite `random` of `cargo xtask test`, and `cargo xtask bench random`, which does more of it.

use std::path::Path;

use anyhow::Result;

use crate::{
    run::Step,
    workspace::{root, target},
};

/// Runs of the ordinary tests.
pub const SEEDS_IN_TESTS: u32 = 50;

/// Builds the native program that is debugged. Its workspace is its own, for its debug information.
fn build() -> Result<()> {
    let manifest = root().join("adapter/native/tests/fixtures/Cargo.toml");
    Step::cargo("build")
        .arg("--quiet")
        .arg("--bin")
        .arg("random")
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(folder())
        .run()
}

/// Where the engine's own tests build it, too.
fn folder() -> std::path::PathBuf {
    target().join("tmp/native-fixtures")
}

/// The step that makes runs, with options of `tests/random/run.py`. `manta`, the fixtures and the Python package are built already.
///
/// # Errors
/// When the native program cannot be built.
pub fn step(manta: &Path, python: &Path, python_path: &Path, options: &[String]) -> Result<Step> {
    build()?;
    Ok(Step::new(python)
        .arg("tests/random/run.py")
        .args(options)
        .env("MANTA_BIN", manta)
        .env("MANTA_NATIVE_FIXTURES", folder().join("debug"))
        .env("MANTA_TEST_PYTHON", python)
        .env("PYTHONPATH", python_path))
}
