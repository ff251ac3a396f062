//! Calls of the head by commands.

use std::time::Duration;

use manta_proto::{
    PROTOCOL_VERSION, connect,
    connect::{AuthorizedChannel, ConnectError},
    limits::MESSAGE_BYTES_MAX,
    token::Token,
    v1::{
        GetStatusRequest, GetStatusResponse, ListStateRequest, ListStateResponse, ShutdownRequest,
        head_client::HeadClient,
    },
};
use tonic::Status;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client of the head at `address`.
///
/// # Errors
/// When nobody listens there.
pub async fn head(address: &str, token: &Token) -> Result<HeadClient<AuthorizedChannel>, ConnectError> {
    let channel = connect::tcp(address, token, CONNECT_TIMEOUT).await?;
    Ok(HeadClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// The cluster's status.
///
/// # Errors
/// With the head's sentence.
pub async fn status(head: &mut HeadClient<AuthorizedChannel>) -> anyhow::Result<GetStatusResponse> {
    let request = GetStatusRequest { protocol_version: PROTOCOL_VERSION };
    Ok(head.get_status(request).await.map_err(sentence)?.into_inner())
}

/// Rows of what the cluster is and does.
///
/// # Errors
/// With the head's sentence.
pub async fn list_state(
    head: &mut HeadClient<AuthorizedChannel>,
    request: ListStateRequest,
) -> anyhow::Result<ListStateResponse> {
    Ok(head.list_state(request).await.map_err(sentence)?.into_inner())
}

/// Ends the cluster; the number of its nodes.
///
/// # Errors
/// With the head's sentence.
pub async fn shutdown(head: &mut HeadClient<AuthorizedChannel>) -> anyhow::Result<u32> {
    let request = ShutdownRequest { protocol_version: PROTOCOL_VERSION };
    Ok(head.shutdown(request).await.map_err(sentence)?.into_inner().nodes)
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn sentence(status: Status) -> anyhow::Error {
    match status.message() {
        "" => anyhow::anyhow!("the head answered with an error and no reason ({})", status.code()),
        message => anyhow::anyhow!("{message}"),
    }
}
