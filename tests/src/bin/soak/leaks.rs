//! What must not be left: processes, shared memory, folders, open files.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use manta_tests::{PATIENCE, cluster::ended_within};

use crate::cluster::{Nodes, Traces};

/// Files that the first node may hold open beyond those that it held after the first job: connections that are just closing.
const OPEN_FILES_MORE_MAX: usize = 16;
/// Between two looks at something that is about to happen.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How many files the first node has open.
pub fn open_files(nodes: &Nodes) -> Result<usize> {
    let folder = format!("/proc/{}/fd", nodes.first().pid);
    Ok(fs::read_dir(&folder).with_context(|| format!("{folder} cannot be read"))?.count())
}

/// The first node holds about as many files open as before.
pub fn ensure_open_files(nodes: &Nodes, before: usize) -> Result<()> {
    let limit = before + OPEN_FILES_MORE_MAX;
    eventually(|| {
        let now = open_files(nodes)?;
        Ok((now > limit).then(|| {
            format!("{} has {now} files open, and had {before} after the first job", nodes.first().name)
        }))
    })
}

/// No object of a job outlives it, on any node.
pub fn ensure_objects_freed(nodes: &Nodes) -> Result<()> {
    eventually(|| {
        for folder in nodes.object_folders()? {
            let left = files_below(&folder);
            if !left.is_empty() {
                let some = left.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
                return Ok(Some(format!(
                    "{} files are left in {} after the job: {some}",
                    left.len(),
                    folder.display()
                )));
            }
        }
        Ok(None)
    })
}

/// Nothing that the cluster used is there any more.
pub fn ensure_nothing_left(traces: &Traces) -> Result<()> {
    for pid in &traces.pids {
        ensure!(ended_within(*pid, PATIENCE), "process {pid} still runs after the cluster has ended");
    }
    for folder in &traces.folders {
        eventually(|| Ok(folder.exists().then(|| format!("{} was left behind", folder.display()))))?;
    }
    Ok(())
}

/// Files of objects. What a node keeps for itself and for the next objects has a hidden name, and goes with the node.
fn files_below(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// Looks until there is nothing to complain of, or the patience ends.
fn eventually(mut complaint: impl FnMut() -> Result<Option<String>>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(text) = complaint()? {
        if Instant::now() > deadline {
            bail!("{text}");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}
