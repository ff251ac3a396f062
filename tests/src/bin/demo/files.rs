//! Real input: the Rust and Python sources that this very build has put on the machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use manta_tests::program;

/// Larger files are generated tables as a rule, and would make one task much longer than the others.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Rust sources: the crates that cargo fetched for this build, or what else cargo knows of.
///
/// # Errors
/// When there is no folder of sources.
pub fn rust(limit: usize) -> Result<Vec<PathBuf>> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let registry = home.map(|home| home.join("registry/src"));
    let mut found = registry.map_or_else(Vec::new, |folder| sources(&folder, "rs", &[]));
    if found.len() < limit {
        // Vendored sources and the toolchain's own, where they are installed.
        found.extend(sources(&program::root().join("vendor"), "rs", &[]));
        found.extend(
            sysroot().map_or_else(Vec::new, |folder| sources(&folder.join("lib/rustlib/src"), "rs", &[])),
        );
    }
    found.truncate(limit);
    Ok(found)
}

fn sysroot() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// Python sources: the standard library of the Python that runs the job.
///
/// # Errors
/// When Python does not say where that is.
pub fn python(limit: usize) -> Result<Vec<PathBuf>> {
    let script = "import sysconfig; print(sysconfig.get_paths()['stdlib'])";
    let output = Command::new(program::python()?)
        .args(["-c", script])
        .output()
        .context("Python could not be started")?;
    if !output.status.success() {
        bail!(
            "Python does not say where its standard library is: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let folder = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let mut found = sources(&folder, "py", &["site-packages", "__pycache__"]);
    found.truncate(limit);
    Ok(found)
}

/// All sources below a folder, in an order that is the same on every run.
fn sources(folder: &Path, extension: &str, passed_over: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() && !passed_over.iter().any(|name| path.ends_with(name)) {
                folders.push(path);
            } else if kind.is_file()
                && path.extension().is_some_and(|found| found == extension)
                && fits(&path)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A list names one file a line, so a path that is not UTF-8 or has a line end in it cannot be in it.
fn fits(path: &Path) -> bool {
    let readable = path.to_str().is_some_and(|path| !path.contains('\n'));
    readable && path.metadata().is_ok_and(|metadata| metadata.len() <= FILE_BYTES_MAX)
}
