//! `manta head`: a head, and nothing else.

use anyhow::Context;
use manta_head::{Head, HeadOptions};
use manta_node::session_dir::SessionDir;
use manta_proto::token::Token;
use serde::{Deserialize, Serialize};

use crate::{args::HeadArgs, daemon, logging, state};

/// What a head says when it is ready.
#[derive(Serialize, Deserialize)]
pub struct HeadReady {
    /// Where it listens.
    pub address: String,
    /// The cluster that it made.
    pub cluster_id: String,
    /// Its process.
    pub pid: u32,
    /// Its log.
    pub session_dir: String,
    /// Where Prometheus reads its metrics.
    pub metrics: Option<String>,
}

/// Runs until the cluster is told to end.
///
/// # Errors
/// When it cannot listen.
pub async fn run(args: HeadArgs) -> anyhow::Result<()> {
    let token = Token::find_or_create()?;
    let stop = daemon::told_to_end()?;
    let kept_in = args.state.or_else(|| state::of_head(args.listen));
    let head = Head::bind(HeadOptions {
        address: args.listen.to_string(),
        token,
        metrics: args.metrics.map(|address| address.to_string()),
        state: kept_in.clone(),
    })
    .await?;
    let session_dir = SessionDir::create(&format!("head-{}", &head.cluster_id()[..8]))
        .context("the head's folder cannot be made")?;
    logging::to_folder(session_dir.path())?;
    // Where the state outlives the head, so do the files that its jobs need.
    let packages = kept_in.unwrap_or_else(|| session_dir.path().to_owned()).join("packages");
    head.keep_packages_in(&packages).context("the head's folder for packages cannot be made")?;
    daemon::ready(&HeadReady {
        address: head.address().to_string(),
        cluster_id: head.cluster_id(),
        pid: std::process::id(),
        session_dir: session_dir.path().display().to_string(),
        metrics: head.metrics_address().map(|address| address.to_string()),
    })?;
    if args.daemon {
        daemon::detach()?;
    }
    Ok(head.run(stop).await?)
}
