//! `cargo xtask tidy`: what compilers do not check. Lengths are warnings; everything else is an error.

mod arrows;
mod docs;
mod lengths;
mod licences;
mod words;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{run::Step, workspace};

/// What a check found: a sentence that starts with the place.
pub type Findings = Vec<String>;

/// The parts of `cargo metadata` that the checks read.
#[derive(Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
}

/// One package of the dependency graph.
#[derive(Deserialize)]
pub struct Package {
    id: String,
    name: String,
    license: Option<String>,
    license_file: Option<String>,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

/// A dependency as its package's manifest names it.
#[derive(Deserialize)]
pub struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

impl Metadata {
    fn read() -> Result<Self> {
        let text = Step::cargo("metadata").args(["--format-version", "1", "--locked"]).output()?;
        serde_json::from_str(&text).context("what cargo metadata printed could not be read")
    }

    fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

impl Package {
    /// Its folder relative to the checkout's root.
    fn folder(&self) -> String {
        relative(self.manifest_path.trim_end_matches("Cargo.toml").trim_end_matches('/'))
    }
}

fn relative(path: &str) -> String {
    let root = workspace::root().display().to_string();
    path.strip_prefix(&root).unwrap_or(path).trim_start_matches('/').to_owned()
}

/// Runs all checks.
///
/// # Errors
/// When one of them finds something, or cannot be made.
pub fn run() -> Result<()> {
    let metadata = Metadata::read()?;
    let files = workspace::files()?;
    let warnings = lengths::check(&files)?;
    warnings.iter().for_each(|warning| println!("warning: {warning}"));
    let mut findings = arrows::check(&metadata);
    findings.extend(licences::check(&metadata));
    findings.extend(words::check(&files)?);
    findings.extend(docs::check(&files)?);
    findings.iter().for_each(|finding| println!("error: {finding}"));
    println!(
        "tidy: {} packages and {} files checked, {} errors, {} warnings",
        metadata.packages.len(),
        files.len(),
        findings.len(),
        warnings.len()
    );
    if !findings.is_empty() {
        bail!("tidy found {} errors", findings.len());
    }
    Ok(())
}
