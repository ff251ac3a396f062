//! Finds the machine's Pythons and makes a virtual environment for each below `target/venvs`.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    run::Step,
    stamp,
    workspace::{Profile, root, target},
};

/// What the Python suites, the fixtures and the demo import.
const PACKAGES: [&str; 5] = ["pytest", "numpy", "cloudpickle", "joblib", "jinja2"];

/// What checks Python's sources. The versions are fixed: a new one finds new mistakes, on a day when nobody changed anything.
const LINTERS: [&str; 2] = ["ruff==0.17.6", "mypy==2.4.1"];

/// The oldest Python that Manta runs on.
pub const OLDEST: Version = Version { major: 3, minor: 11 };
/// The newest that it is tested on.
const NEWEST: Version = Version { major: 3, minor: 13 };

/// A Python language version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// One interpreter that was found.
#[derive(Debug, Clone)]
pub struct Python {
    /// Its language version.
    pub version: Version,
    /// Its path.
    pub path: PathBuf,
}

/// The Pythons of this machine, one a version, oldest first: on PATH and in pyenv's folder.
///
/// # Errors
/// When there is none that Manta runs on.
pub fn find() -> Result<Vec<Python>> {
    let mut found = BTreeMap::new();
    for candidate in candidates() {
        if let Some(version) = ask(&candidate).filter(|version| (OLDEST..=NEWEST).contains(version)) {
            found.entry(version).or_insert(candidate);
        }
    }
    if found.is_empty() {
        bail!(
            "no Python from {OLDEST} to {NEWEST} was found on PATH or in ~/.pyenv/versions; install one, with its venv module"
        );
    }
    Ok(found.into_iter().map(|(version, path)| Python { version, path }).collect())
}

fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    if let Some(home) = std::env::var_os("HOME") {
        let versions = fs::read_dir(Path::new(&home).join(".pyenv/versions")).into_iter().flatten().flatten();
        folders.extend(versions.map(|entry| entry.path().join("bin")));
    }
    let mut names: Vec<String> =
        (OLDEST.minor..=NEWEST.minor).map(|minor| format!("python3.{minor}")).collect();
    names.push("python3".to_owned());
    let all = folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    all.filter(|path| path.is_file()).collect()
}

/// A launcher that stands for no installed version answers with an error: it is passed over.
fn ask(python: &Path) -> Option<Version> {
    let text =
        Step::new(python).args(["-c", "import sys, venv; print(*sys.version_info[:2])"]).output().ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some(Version { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

impl Python {
    /// Its virtual environment with the suites' packages, made when it is not there; gives the environment's interpreter.
    ///
    /// # Errors
    /// When it cannot be made or the packages cannot be fetched.
    pub fn environment(&self) -> Result<PathBuf> {
        environment(self, &target().join("venvs").join(self.version.to_string()), &PACKAGES)
    }
}

/// The environment of the newest Python; gives its interpreter.
///
/// # Errors
/// When there is no Python or its environment cannot be made.
pub fn newest_environment() -> Result<PathBuf> {
    find()?.pop().expect("find gives at least one").environment()
}

/// The environment of what checks Python's sources; gives its interpreter.
///
/// # Errors
/// When there is no Python or the environment cannot be made.
pub fn linters() -> Result<PathBuf> {
    let newest = find()?.pop().expect("find gives at least one");
    environment(&newest, &target().join("venvs/linters"), &LINTERS)
}

/// A virtual environment with `packages` in `folder`.
///
/// # Errors
/// When it cannot be made or the packages cannot be fetched.
pub fn environment(python: &Python, folder: &Path, packages: &[&str]) -> Result<PathBuf> {
    let inputs = format!("{} {}\n{}\n", python.version, python.path.display(), packages.join("\n"));
    let interpreter = folder.join("bin/python");
    stamp::once(folder, &inputs, || {
        println!("setting up Python {} in {}", python.version, folder.display());
        Step::new(&python.path).args(["-m", "venv", "--clear"]).arg(folder).run()?;
        Step::new(&interpreter)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(packages)
            .run()
    })
    .with_context(|| format!("the environment for Python {} could not be set up", python.version))?;
    Ok(interpreter)
}

/// Lays the Python package out under `target/python`, with the extension module that was built; gives the folder for PYTHONPATH.
///
/// # Errors
/// When the layout fails.
pub fn layout(profile: Profile) -> Result<PathBuf> {
    let python = find()?.remove(0);
    Step::new(&python.path).arg("runtime/python/dev_layout.py").arg(root()).arg(profile.folder()).run()?;
    Ok(target().join("python"))
}
