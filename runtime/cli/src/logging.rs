//! What head and nodes log, into the file `manta.log` of their session folder.

use std::{fs::File, path::Path, sync::Mutex};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Logs to `folder`, filtered by `MANTA_LOG`.
///
/// # Errors
/// When the file cannot be made or the filter cannot be read.
pub fn to_folder(folder: &Path) -> anyhow::Result<()> {
    let filter =
        std::env::var("MANTA_LOG").unwrap_or_else(|_| "warn,manta_head=info,manta_node=info".to_owned());
    let filter: EnvFilter =
        filter.parse().context("MANTA_LOG is no filter such as 'debug' or 'manta_node=trace'")?;
    let path = folder.join("manta.log");
    let file = File::create(&path).with_context(|| format!("the log {} cannot be made", path.display()))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(Mutex::new(file)).with_ansi(false).init();
    Ok(())
}
