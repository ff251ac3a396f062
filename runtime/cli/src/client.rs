//! Calls of the head by commands.

use std::time::Duration;

use anyhow::Context;
use manta_proto::{
    PROTOCOL_VERSION, connect,
    connect::{AuthorizedChannel, ConnectError},
    limits::MESSAGE_BYTES_MAX,
    token::Token,
    v1::{
        GetStatusRequest, GetStatusResponse, ListStateRequest, ListStateResponse, NodeAnswer, NodeQuestion,
        QueryNodesRequest, ShutdownRequest, StateFilter, StateKind, head_client::HeadClient, node_question,
    },
};
use serde_json::Value;
use tonic::{Status, Streaming};

/// A client of the head.
pub type Head = HeadClient<AuthorizedChannel>;

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

/// All rows of one kind that the filters (key, value) choose.
///
/// # Errors
/// With the head's sentence.
pub async fn rows(head: &mut Head, kind: StateKind, filters: &[(&str, &str)]) -> anyhow::Result<Vec<Value>> {
    let filter = |(key, value): &(&str, &str)| StateFilter {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        differs: false,
    };
    let request = ListStateRequest {
        protocol_version: PROTOCOL_VERSION,
        kind: kind.into(),
        filters: filters.iter().map(filter).collect(),
        ..ListStateRequest::default()
    };
    let answer = list_state(head, request).await?;
    let row =
        |row: &String| serde_json::from_str(row).context("the head answered with a row that is no JSON");
    answer.rows.iter().map(row).collect()
}

/// Asks nodes (all without names), and answers with the stream of what they say.
///
/// # Errors
/// With the head's sentence.
pub async fn ask_nodes(
    head: &mut Head,
    nodes: Vec<String>,
    question: node_question::Question,
) -> anyhow::Result<Streaming<NodeAnswer>> {
    let question = Some(NodeQuestion { question: Some(question) });
    let request = QueryNodesRequest { protocol_version: PROTOCOL_VERSION, nodes, question };
    Ok(head.query_nodes(request).await.map_err(sentence)?.into_inner())
}

/// The next part of an answer; a node's error is this one's.
///
/// # Errors
/// When a node cannot answer, or the head is gone.
pub async fn next_part(answers: &mut Streaming<NodeAnswer>) -> anyhow::Result<Option<NodeAnswer>> {
    let part = answers.message().await.map_err(sentence)?;
    match part {
        Some(part) if !part.error.is_empty() => Err(anyhow::anyhow!("{}: {}", part.node_name, part.error)),
        part => Ok(part),
    }
}

/// Everything that nodes answer with, as JSON, each part with its node's name.
///
/// # Errors
/// When a node cannot answer, or says something that is no JSON.
pub async fn json_answers(
    head: &mut Head,
    nodes: Vec<String>,
    question: node_question::Question,
) -> anyhow::Result<Vec<(String, Value)>> {
    let mut answers = ask_nodes(head, nodes, question).await?;
    let mut found = Vec::new();
    while let Some(part) = next_part(&mut answers).await? {
        if !part.data.is_empty() {
            let value = serde_json::from_slice(&part.data)
                .context("a node answered with something that is no JSON")?;
            found.push((part.node_name, value));
        }
    }
    Ok(found)
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
pub fn sentence(status: Status) -> anyhow::Error {
    match status.message() {
        "" => anyhow::anyhow!("the head answered with an error and no reason ({})", status.code()),
        message => anyhow::anyhow!("{message}"),
    }
}
