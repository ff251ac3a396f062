//! Clusters as people start and stop them.

use anyhow::{Context, Result, ensure};
use manta_tests::{Cluster, PATIENCE, cluster, driver};
use serde_json::Value;

/// A port that was free a moment ago.
fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

#[test]
fn a_private_cluster_ends_with_its_lifeline_and_leaves_nothing() -> Result<()> {
    let cluster = Cluster::start(2, 1)?;
    let (pid, folder) = (cluster.pid(), cluster.session_dir().to_owned());
    ensure!(folder.is_dir(), "{} is not there", folder.display());
    let family = cluster::descendants(pid);
    cluster.stop()?;
    ensure!(!folder.exists(), "{} is left", folder.display());
    for process in family {
        ensure!(cluster::ended_within(process.pid, PATIENCE), "{process:?} is left");
    }
    Ok(())
}

#[test]
fn a_cluster_is_started_shown_and_stopped() -> Result<()> {
    let home = tempfile::tempdir()?;
    let address = free_address()?;
    let started =
        driver::manta(home.path(), &["start", "--nodes", "2", "--num-cpus", "1", "--listen", &address])?;
    ensure!(started.status.success(), "{}{}", started.stdout, started.stderr);
    ensure!(started.stdout.contains(&address), "it does not say where: {}", started.stdout);

    let status = driver::manta(home.path(), &["status", "--json", "--address", &address])?;
    let stopped = driver::manta(home.path(), &["stop", "--address", &address])?;
    ensure!(status.status.success(), "{}{}", status.stdout, status.stderr);
    let status: Value = serde_json::from_str(&status.stdout)?;
    let nodes = status["nodes"].as_array().context("status names no nodes")?;
    ensure!(nodes.len() == 2, "status shows {nodes:?}");
    ensure!(stopped.status.success(), "{}{}", stopped.stdout, stopped.stderr);

    let gone = driver::manta(home.path(), &["status", "--address", &address])?;
    ensure!(gone.status.code() == Some(1), "status of a stopped cluster ended with {}", gone.status);
    ensure!(gone.stderr.contains(&address), "it says {:?}", gone.stderr);
    Ok(())
}
