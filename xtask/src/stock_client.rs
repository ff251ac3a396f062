//! Runs the scripts of `tests/stock-client`: a DAP client that nobody of this project wrote, against a real cluster.

use std::path::Path;

use anyhow::Result;

use crate::{
    node, python,
    run::{Outcome, Step},
    workspace::root,
};

/// Fetches the client and runs its test against the `manta` binary given.
///
/// # Errors
/// When its packages cannot be fetched or it cannot be started.
pub fn run(manta: &Path, python_path: &Path) -> Result<Vec<Outcome>> {
    node::packages("tests/stock-client")?;
    let interpreter = python::find()?.remove(0).environment()?;
    let step = Step::new("npm").arg("test").folder(&root().join("tests/stock-client"));
    let step =
        step.env("MANTA_BIN", manta).env("PYTHONPATH", python_path).env("MANTA_TEST_PYTHON", interpreter);
    Ok(vec![step.watch()?])
}
