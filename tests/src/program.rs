//! Where the programs lie that tests start, and the lines at which they stop.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};

/// The checkout's root.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// The folder into which cargo puts programs, that of this very program.
fn programs() -> Result<PathBuf> {
    let own = env::current_exe().context("this program does not know its own path")?;
    // Test programs lie in `deps`, one below.
    let folder = own.parent().ok_or_else(|| anyhow!("{} lies in no folder", own.display()))?;
    let in_deps = folder.file_name().is_some_and(|name| name == "deps");
    Ok(if in_deps { folder.parent().unwrap_or(folder).to_owned() } else { folder.to_owned() })
}

fn built(name: &str, package: &str) -> Result<PathBuf> {
    let path = programs()?.join(name);
    if !path.is_file() {
        bail!(
            "{} is not built; run `cargo build --package {package}`, or `cargo xtask test`, which builds all",
            path.display()
        );
    }
    Ok(path)
}

/// The `manta` binary.
///
/// # Errors
/// When it is not built.
pub fn manta() -> Result<PathBuf> {
    env::var_os("MANTA_BIN").map_or_else(|| built("manta", "manta-cli"), |path| Ok(PathBuf::from(path)))
}

/// A Rust fixture.
///
/// # Errors
/// When it is not built.
pub fn rust_fixture(name: &str) -> Result<PathBuf> {
    built(name, "manta-fixtures")
}

/// The source of a Rust fixture, in which breakpoints are set.
#[must_use]
pub fn rust_source(name: &str) -> PathBuf {
    root().join("tests/fixtures/src/bin").join(name).with_extension("rs")
}

/// A Python fixture, which is its own source.
#[must_use]
pub fn python_source(name: &str) -> PathBuf {
    root().join("tests/fixtures/python").join(name).with_extension("py")
}

/// The Python that runs fixtures: `MANTA_TEST_PYTHON`, or the environments' oldest.
///
/// # Errors
/// When there is none.
pub fn python() -> Result<PathBuf> {
    if let Some(path) = env::var_os("MANTA_TEST_PYTHON") {
        return Ok(PathBuf::from(path));
    }
    let folder = root().join("target/venvs");
    let mut found: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/python"))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.into_iter().next().ok_or_else(|| {
        anyhow!(
            "no Python environment is in {}; `cargo xtask test` makes them, or set MANTA_TEST_PYTHON",
            folder.display()
        )
    })
}

/// PYTHONPATH for the package as it lies in the checkout.
#[must_use]
pub fn python_path() -> PathBuf {
    env::var_os("PYTHONPATH").map_or_else(|| root().join("target/python"), PathBuf::from)
}

/// The one line of a source that carries `marker` in a comment, counted from 1.
///
/// # Errors
/// When no line or more than one has it.
pub fn marked_line(source: &Path, marker: &str) -> Result<i64> {
    let text =
        fs::read_to_string(source).with_context(|| format!("{} could not be read", source.display()))?;
    let comments = [format!("// {marker}"), format!("# {marker}")];
    let marked = |line: &str| comments.iter().any(|comment| line.trim_end().ends_with(comment));
    let lines: Vec<i64> =
        (1..).zip(text.lines()).filter(|(_, line)| marked(line)).map(|(number, _)| number).collect();
    match lines[..] {
        [line] => Ok(line),
        _ => {
            bail!("{}: {} lines are marked {marker:?}; exactly one has to be", source.display(), lines.len())
        }
    }
}

/// A command that knows nothing of the machine's own Manta: its home is `home`, and no address or token is inherited.
#[must_use]
pub fn isolated(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    for name in ["MANTA_ADDRESS", "MANTA_TOKEN", "MANTA_LOG", "MANTA_WORKER", "MANTA_NODE_SOCKET"] {
        command.env_remove(name);
    }
    command.env("MANTA_HOME", home).current_dir(home);
    command
}

/// The same for a Rust fixture that calls what Python fixtures have.
///
/// # Errors
/// When it is not built, or there is no Python.
pub fn rust_with_python(fixture: &str, home: &Path) -> Result<Command> {
    let mut command = isolated(&rust_fixture(fixture)?, home);
    let paths = env::join_paths([root().join("tests/fixtures/python"), python_path()])?;
    command.env("MANTA_PYTHON", python()?).env("PYTHONPATH", paths);
    Ok(command)
}
