//! `manta drain-node`: a node finishes what it runs and leaves.

use manta_proto::{PROTOCOL_VERSION, token::Token, v1::DrainNodeRequest};

use super::list::print;
use crate::{args::DrainArgs, client};

/// Tells the node.
///
/// # Errors
/// When there is no such node.
pub async fn run(args: &DrainArgs) -> anyhow::Result<()> {
    let mut head = client::head(&args.at.address, &Token::find()?).await?;
    let reason = match &*args.reason_message {
        "" => args.reason.clone(),
        message => format!("{}: {message}", args.reason),
    };
    let request = DrainNodeRequest {
        protocol_version: PROTOCOL_VERSION,
        node: args.node_id.clone(),
        reason,
        deadline_ms: args.deadline_remaining_seconds.unwrap_or(0).saturating_mul(1000),
    };
    let answer = head.drain_node(request).await.map_err(client::sentence)?.into_inner();
    print(&format!("{}.\n", answer.sentence));
    Ok(())
}
