//! The environments of workers and drivers, row by row: each node knows those that it has made.

use std::{collections::BTreeMap, sync::Arc};

use manta_proto::{
    ids::NodeId,
    v1::{ListEnvironments, ListStateRequest, ListStateResponse, NodeQuestion, node_question::Question},
};
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tonic::Status;

use crate::{
    service::{Shared, ask_nodes},
    state::{Row, answer, checked_limit},
};

/// Asks all nodes, and answers the question of a client.
pub(crate) async fn list(
    shared: &Arc<Shared>,
    request: &ListStateRequest,
) -> Result<Result<ListStateResponse, String>, Status> {
    let limit = match checked_limit(request) {
        Ok(limit) => limit,
        Err(sentence) => return Ok(Err(sentence)),
    };
    let question = NodeQuestion { question: Some(Question::Environments(ListEnvironments {})) };
    let mut parts = std::pin::pin!(ask_nodes(shared, &[], &question)?);
    let (mut by_node, mut notes) = (BTreeMap::new(), Vec::new());
    while let Some(part) = parts.next().await {
        let part = part?;
        if !part.error.is_empty() {
            notes.push(format!("The environments of {} are not here: {}.", part.node_name, part.error));
        }
        let id = NodeId::try_from(&part.node_id).map(|id| id.to_string()).unwrap_or_default();
        let data: &mut Vec<u8> = by_node.entry((part.node_name, id)).or_default();
        data.extend_from_slice(&part.data);
    }
    let rows = rows(by_node, &mut notes);
    let answered = answer(request, limit, &rows, &["state", "node_name"]);
    Ok(answered.map(|answered| ListStateResponse { notes, ..answered }))
}

/// What the nodes have said, with their names; what cannot be read is noted.
fn rows(by_node: BTreeMap<(String, String), Vec<u8>>, notes: &mut Vec<String>) -> Vec<Row> {
    let mut rows = Vec::new();
    // A node that answered with an error has no list, and is noted already.
    for ((name, id), data) in by_node.into_iter().filter(|(_, data)| !data.is_empty()) {
        let all = serde_json::from_slice::<Vec<Value>>(&data).unwrap_or_else(|error| {
            notes.push(format!("The environments of {name} cannot be read: {error}."));
            Vec::new()
        });
        for listed in all {
            if let Value::Object(mut row) = listed {
                row.insert("node_name".to_owned(), json!(name));
                row.insert("node_id".to_owned(), json!(id));
                rows.push(row);
            }
        }
    }
    rows
}
