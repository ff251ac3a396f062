//! `manta watch`: the process beside a node that cleans up after it.

/// Waits for the node's end.
///
/// # Errors
/// None: there is nobody left to tell.
pub fn run() -> anyhow::Result<()> {
    manta_node::watcher::watch(std::io::stdin().lock());
    Ok(())
}
