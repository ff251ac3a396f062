//! Programs and their debug information travel by content: the file at the driver's path is another one, or none, by the time at
//! which workers start.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use manta_tests::{Cluster, DapClient, Driver, driver::on, program};
use serde_json::json;

use crate::support::node;

const FIXTURE: &str = "late_start";
const TASKS: usize = 8;

/// A driver that runs and has not joined yet, so that its file can be changed.
struct Late {
    folder: tempfile::TempDir,
    driver: Driver,
}

impl Late {
    fn start(cluster: &Cluster) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join(FIXTURE);
        fs::copy(program::rust_fixture(FIXTURE)?, &file)?;
        let gate = folder.path().join("gate");
        ensure!(Command::new("mkfifo").arg(&gate).status()?.success(), "no named pipe can be made");
        let mut command = program::isolated(&file, cluster.home());
        command.arg(&gate);
        let driver = Driver::start(on(cluster, command), FIXTURE)?;
        Ok(Self { folder, driver })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(FIXTURE)
    }

    /// Puts another file in the place of the driver's, as a build does.
    fn replace(&self, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let new = self.folder.path().join("new");
        make(&new)?;
        fs::rename(new, self.file()).context("the program could not be replaced")
    }

    /// Lets it join the cluster.
    fn go_on(&self) -> Result<()> {
        fs::write(self.folder.path().join("gate"), "go").context("the driver does not wait any more")
    }
}

fn undisturbed(cluster: &Cluster) -> Result<String> {
    Driver::rust(cluster, FIXTURE, &[])?.result()
}

/// The programs that nodes have fetched.
fn fetched(cluster: &Cluster) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for node in fs::read_dir(cluster.session_dir())? {
        let Ok(programs) = fs::read_dir(node?.path().join("programs")) else { continue };
        for content in programs {
            // What is still on its way lies beside those folders.
            let Ok(files) = fs::read_dir(content?.path()) else { continue };
            found.extend(files.map(|file| file.map(|file| file.path())).collect::<Result<Vec<_>, _>>()?);
        }
    }
    Ok(found)
}

#[test]
fn workers_run_what_their_driver_runs_whatever_lies_at_its_path() -> Result<()> {
    let cluster = Cluster::start(2, 1)?;
    let plain = undisturbed(&cluster)?;
    ensure!(fetched(&cluster)?.is_empty(), "a program that is there was fetched");
    // Another program, which would do something else; a file that cannot be run; and none.
    let other = Late::start(&cluster)?;
    other.replace(|new| {
        fs::copy(program::rust_fixture("deadline")?, new)?;
        Ok(())
    })?;
    other.go_on()?;
    ensure!(other.driver.result()? == plain);
    let copies = fetched(&cluster)?;
    ensure!(copies.len() == 2, "both nodes need a copy, not {copies:?}");
    ensure!(copies.iter().all(|copy| copy.file_name().is_some_and(|name| name == FIXTURE)));
    let broken = Late::start(&cluster)?;
    broken.replace(|new| fs::write(new, "no program").map_err(Into::into))?;
    broken.go_on()?;
    ensure!(broken.driver.result()? == plain);
    let none = Late::start(&cluster)?;
    fs::remove_file(none.file())?;
    none.go_on()?;
    ensure!(none.driver.result()? == plain);
    ensure!(fetched(&cluster)?.len() == copies.len(), "the same content is fetched once");
    cluster.stop()
}

#[test]
fn a_breakpoint_in_a_stripped_program_stops_with_its_source_and_variables() -> Result<()> {
    let cache = tempfile::tempdir()?;
    let cluster = Cluster::start_with(2, 1, |command| {
        command.env("XDG_CACHE_HOME", cache.path());
    })?;
    let plain = undisturbed(&cluster)?;
    let late = Late::start(&cluster)?;
    late.replace(|new| {
        let done = Command::new("objcopy").arg("--strip-all").args([&late.file(), new]).status()?;
        ensure!(done.success(), "objcopy of binutils: {done}");
        Ok(())
    })?;
    let source = program::rust_source(FIXTURE);
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({"maxPaused": TASKS}), &[&source])?;
    late.go_on()?;
    let line = program::marked_line(&source, "stop here")?;
    let (mut nodes, mut resumed) = (BTreeSet::new(), 0);
    while resumed < TASKS {
        for task in client.paused(1)? {
            let frame = client.top_frame(task.id)?;
            let shown = frame.source.as_ref().and_then(|source| source.path.clone());
            ensure!((frame.line, shown.as_deref()) == (line, source.to_str()), "{frame:?}");
            let number = client.local(task.id, "number")?.value;
            ensure!(client.local(task.id, "label")?.value == format!("\"task {number}\""));
            nodes.insert(node(&task).to_owned());
            client.resume(task.id)?;
            resumed += 1;
        }
    }
    ensure!(nodes.len() == 2, "tasks stopped on {nodes:?} only");
    ensure!(late.driver.result()? == plain);
    ensure!(fetched(&cluster)?.is_empty(), "a stripped copy is the same program");
    // The node without the driver has fetched it; the other has it in its driver.
    let folders = fs::read_dir(cache.path().join("manta/debug/.build-id"))?.count();
    ensure!(folders == 1, "{folders} files with debug information are kept");
    client.close()?;
    cluster.stop()
}

#[test]
fn debug_information_that_nobody_has_is_said_with_who_was_asked() -> Result<()> {
    let cache = tempfile::tempdir()?;
    let cluster = Cluster::start_with(2, 1, |command| {
        command.env("XDG_CACHE_HOME", cache.path());
    })?;
    let plain = undisturbed(&cluster)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(FIXTURE);
    let done = Command::new("objcopy")
        .arg("--strip-all")
        .args([&program::rust_fixture(FIXTURE)?, &file])
        .status()?;
    ensure!(done.success(), "objcopy of binutils: {done}");
    let source = program::rust_source(FIXTURE);
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(&cluster, &json!({}), &[&source])?;
    let driver = Driver::start(on(&cluster, program::isolated(&file, cluster.home())), FIXTURE)?;
    let said = client
        .event_where::<dap::events::Breakpoint, _>("why the breakpoint is not verified", |event| {
            event.breakpoint.message.filter(|message| message.contains("build-id"))
        })?;
    ensure!(said.contains("no debug information for the build-id"), "{said}");
    ensure!(said.contains("node-1, node-2") || said.contains("node-2, node-1"), "{said}");
    ensure!(driver.result()? == plain);
    client.close()?;
    cluster.stop()
}
