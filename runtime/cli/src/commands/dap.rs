//! `manta dap`: the debug adapter, for one client on stdio or for clients that connect.

use manta_server::DapOptions;

use crate::args::DapArgs;

/// Serves clients.
///
/// # Errors
/// When it cannot listen, or the log cannot be written.
pub async fn run(args: DapArgs) -> anyhow::Result<()> {
    manta_server::run(DapOptions { listen: args.listen, log: args.log_dap }).await
}
