//! Where things lie in the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The checkout's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Everything that is built or fetched lies below this folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// How cargo builds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build; what tests and the demo use.
    Debug,
    /// What is measured.
    Release,
}

impl Profile {
    /// The folder under `target/`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }

    /// What cargo wants to be told.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &[],
            Self::Release => &["--release"],
        }
    }

    /// A program that cargo has built.
    pub fn program(self, name: &str) -> PathBuf {
        target().join(self.folder()).join(name)
    }
}

/// All files that git knows or would take, relative to the root.
///
/// # Errors
/// When git cannot be asked.
pub fn files() -> Result<Vec<PathBuf>> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("git could not be started; tidy asks it which files belong to the project")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let exists = |path: &PathBuf| root().join(path).is_file();
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).filter(exists).collect())
}

/// A project file's text.
///
/// # Errors
/// When it cannot be read.
pub fn read(relative: &Path) -> Result<String> {
    let path = root().join(relative);
    fs::read_to_string(&path).with_context(|| format!("{} could not be read", path.display()))
}
