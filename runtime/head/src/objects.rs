//! The cluster's objects, row by row: the head knows none of them, and asks the nodes, which ask their processes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use manta_proto::v1::{
    ListObjects, ListStateRequest, ListStateResponse, NodeQuestion, node_question::Question,
};
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tonic::Status;

use crate::{
    service::{Shared, ask_nodes},
    state::{Row, answer, checked_limit},
};

/// Bytes of all rows, before filters.
const ROW_BYTES_MAX: usize = 128 * 1024 * 1024;
/// By what objects are counted.
const COUNTED_BY: [&str; 2] = ["reference_type", "task_name"];

/// Asks all nodes, and answers the question of a client.
pub(crate) async fn list(
    shared: &Arc<Shared>,
    request: &ListStateRequest,
) -> Result<Result<ListStateResponse, String>, Status> {
    let limit = match checked_limit(request) {
        Ok(limit) => limit,
        Err(sentence) => return Ok(Err(sentence)),
    };
    let question = NodeQuestion { question: Some(Question::Objects(ListObjects {})) };
    let mut parts = std::pin::pin!(ask_nodes(shared, &[], &question)?);
    let mut gathered = Gathered::default();
    while let Some(part) = parts.next().await {
        let part = part?;
        gathered.take(&part.node_name, &part.data, &part.error);
    }
    let (rows, notes) = gathered.rows();
    let answered = if request.summary { count(request, &rows) } else { answer(request, limit, &rows, &[]) };
    Ok(answered.map(|answered| ListStateResponse { notes, ..answered }))
}

/// What the nodes have said.
#[derive(Default)]
struct Gathered {
    by_node: BTreeMap<String, Vec<u8>>,
    bytes: usize,
    notes: Vec<String>,
    cut: bool,
}

impl Gathered {
    fn take(&mut self, node: &str, data: &[u8], error: &str) {
        if !error.is_empty() {
            self.notes.push(format!("The objects of {node} are not all there: {error}."));
        }
        self.bytes += data.len();
        if self.bytes > ROW_BYTES_MAX {
            self.cut = true;
        } else {
            self.by_node.entry(node.to_owned()).or_default().extend_from_slice(data);
        }
    }

    /// The rows, the largest objects first, and what is missing.
    fn rows(mut self) -> (Vec<Row>, Vec<String>) {
        let mut rows = Vec::new();
        for (node, lines) in self.by_node {
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                // A line that was cut in the middle is the last of what is left out.
                let Ok(Value::Object(mut row)) = serde_json::from_slice(line) else { continue };
                if let Some(note) = row.get("note").and_then(Value::as_str) {
                    self.notes.push(format!("On {node}, {note}."));
                } else {
                    row.insert("node_name".to_owned(), json!(node));
                    rows.push(row);
                }
            }
        }
        if self.cut {
            self.notes.push(format!(
                "The cluster has more objects than the {ROW_BYTES_MAX} bytes of rows that are gathered; the rest is left out."
            ));
        }
        rows.sort_by_cached_key(|row| {
            (
                std::cmp::Reverse(row["object_size"].as_u64()),
                row["object_id"].to_string(),
                row["pid"].as_u64(),
            )
        });
        (rows, self.notes)
    }
}

/// Counts and sizes by what keeps the objects and which task made them.
fn count(request: &ListStateRequest, rows: &[Row]) -> Result<ListStateResponse, String> {
    let every = ListStateRequest { page: String::new(), summary: false, ..request.clone() };
    let meant = answer(&every, usize::MAX, rows, &[])?;
    let mut counts: HashMap<[String; 2], (u64, u64)> = HashMap::new();
    for row in &meant.rows {
        let row: Value = serde_json::from_str(row).map_err(|error| error.to_string())?;
        let key = COUNTED_BY.map(|key| row[key].as_str().unwrap_or_default().to_owned());
        let (objects, bytes) = counts.entry(key).or_default();
        *objects += 1;
        *bytes += row["object_size"].as_u64().unwrap_or(0);
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(a, (_, a_bytes)), (b, (_, b_bytes))| b_bytes.cmp(a_bytes).then_with(|| a.cmp(b)));
    let row = |([kind, task], (objects, bytes)): ([String; 2], (u64, u64))| {
        json!({"reference_type": kind, "task_name": task, "count": objects, "total_size": bytes}).to_string()
    };
    let rows = counts.into_iter().take(crate::state::ROWS_MAX).map(row).collect();
    Ok(ListStateResponse { rows, total: meant.total, ..ListStateResponse::default() })
}

#[cfg(test)]
mod tests {
    use manta_proto::{
        PROTOCOL_VERSION,
        v1::{StateFilter, StateKind},
    };

    use super::*;

    fn gathered() -> Gathered {
        let mut gathered = Gathered::default();
        let row = |id: &str, size: Option<u64>, kind: &str| {
            json!({"object_id": id, "object_size": size, "reference_type": kind, "task_name": "f", "pid": 7})
                .to_string()
                + "\n"
        };
        let one = row("aa", Some(10), "LOCAL_REFERENCE") + &row("bb", None, "USED_BY_PENDING_TASK");
        // Parts end anywhere.
        let (begin, end) = one.split_at(40);
        gathered.take("node-1", begin.as_bytes(), "");
        gathered.take("node-2", row("cc", Some(500), "LOCAL_REFERENCE").as_bytes(), "");
        gathered.take("node-1", end.as_bytes(), "");
        gathered.take("node-2", b"{\"note\": \"the process 9 did not answer\"}\n", "its link broke");
        gathered
    }

    fn request(filters: &[(&str, &str)]) -> ListStateRequest {
        let filter = |(key, value): &(&str, &str)| StateFilter {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            differs: false,
        };
        ListStateRequest {
            protocol_version: PROTOCOL_VERSION,
            kind: StateKind::StateObjects.into(),
            filters: filters.iter().map(filter).collect(),
            ..ListStateRequest::default()
        }
    }

    #[test]
    fn rows_of_all_nodes_come_the_largest_first_and_notes_say_what_is_missing() {
        let (rows, notes) = gathered().rows();
        let ids: Vec<_> = rows.iter().map(|row| row["object_id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["cc", "aa", "bb"]);
        assert_eq!(rows[0]["node_name"], "node-2");
        assert_eq!(
            notes,
            [
                "The objects of node-2 are not all there: its link broke.",
                "On node-2, the process 9 did not answer."
            ]
        );
    }

    #[test]
    fn filters_come_before_limits_and_counts_add_sizes_up() {
        let (rows, _) = gathered().rows();
        let asked = ListStateRequest { limit: 1, ..request(&[("reference_type", "LOCAL_REFERENCE")]) };
        let first = answer(&asked, checked_limit(&asked).unwrap(), &rows, &[]).unwrap();
        assert_eq!((first.rows.len(), first.total, &*first.next_page), (1, 2, "1"));
        let counted = count(&request(&[]), &rows).unwrap();
        let rows: Vec<Value> = counted.rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
        assert_eq!(
            rows[0],
            json!({"reference_type": "LOCAL_REFERENCE", "task_name": "f", "count": 2, "total_size": 510})
        );
        assert_eq!((rows[1]["count"].as_u64(), counted.total), (Some(1), 3));
    }
}
