//! Where the calling code runs.

use std::path::PathBuf;

use crate::{Error, session};

/// A node of the cluster.
pub use manta_worker::NodeDescription as Node;

/// Where the calling code runs. Ids are hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The job.
    pub job_id: String,
    /// The node that this process is attached to.
    pub node_id: String,
    /// Its name.
    pub node_name: String,
    /// Where this node keeps large objects.
    pub object_dir: PathBuf,
    /// The task that the calling thread runs; `None` in the driver.
    pub task_id: Option<String>,
    /// The task's attempt, from 0.
    pub attempt: u32,
}

/// Where the calling code runs.
///
/// # Errors
/// When this process is not part of a cluster.
pub fn context() -> Result<Context, Error> {
    let core = session::core()?;
    let (process, task) = (core.process(), core.current_task());
    Ok(Context {
        job_id: core.job_id().map(|job| job.to_string()).unwrap_or_default(),
        node_id: process.node_id,
        node_name: process.node_name,
        object_dir: core.object_dir(),
        attempt: task.as_ref().map_or(0, |task| task.attempt),
        task_id: task.map(|task| task.id.to_string()),
    })
}

/// The cluster's nodes, as last heard.
///
/// # Errors
/// When this process is not part of a cluster.
pub fn nodes() -> Result<Vec<Node>, Error> {
    Ok(session::core()?.nodes())
}
