//! Finds Node.js and fetches a folder's npm packages once.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{run::Step, stamp, workspace};

/// Whether Node.js and npm are there.
pub fn is_there() -> bool {
    ["node", "npm"].iter().all(|program| Step::new(program).arg("--version").output().is_ok())
}

/// Runs `npm ci` in `folder` (relative to the root) when its lock file changed since the last time.
///
/// # Errors
/// When there is no lock file or npm fails.
pub fn packages(folder: &str) -> Result<()> {
    let path = workspace::root().join(folder);
    let lock = path.join("package-lock.json");
    let inputs =
        fs::read_to_string(&lock).with_context(|| format!("{} could not be read", lock.display()))?;
    stamp::once(&path.join("node_modules"), &inputs, || npm(&path, &["ci"]))
}

/// Runs npm in a folder.
///
/// # Errors
/// When it fails.
pub fn npm(folder: &Path, arguments: &[&str]) -> Result<()> {
    Step::new("npm").args(arguments).folder(folder).run()
}
