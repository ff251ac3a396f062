//! The objects that processes of this node own or have refs of. Each process says so itself, on its I/O thread.

use std::{sync::Arc, time::Duration};

use manta_proto::{
    ids::ProcessId,
    limits::ANSWER_PART_BYTES,
    v1::{ListObjects, NodeToProcess, ObjectList, ObjectRow, node_to_process},
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::Instant};

use super::{Shared, questions::Asker};
use crate::core::Attached;

/// How long the processes have to answer, all together.
const LIMIT: Duration = Duration::from_secs(5);

/// Sends lines of JSON: an object each, and notes on what is missing.
pub async fn answer(shared: &Arc<Shared>, asker: &Asker) -> Result<(), String> {
    let asked: Vec<_> = {
        let mut state = shared.lock();
        let attached = state.core.attached();
        attached
            .into_iter()
            .map(|process| {
                let (sender, receiver) = oneshot::channel();
                state.object_lists.entry(process.id).or_default().push(sender);
                let message = node_to_process::Message::ListObjects(ListObjects {});
                state.tell_process(process.id, NodeToProcess { message: Some(message) });
                (process, receiver)
            })
            .collect()
    };
    let deadline = Instant::now() + LIMIT;
    let mut lines = Vec::new();
    for (process, receiver) in asked {
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(list)) => {
                if list.left_out > 0 {
                    let note = format!(
                        "{} smaller objects of the process {} are left out",
                        list.left_out, process.pid
                    );
                    push(&mut lines, &json!({ "note": note }));
                }
                for row in &list.rows {
                    push(&mut lines, &described(&process, row));
                }
            }
            // It ended meanwhile, and its objects with it.
            Ok(Err(_)) => {}
            Err(_) => {
                let note = format!("the process {} did not answer within {} s", process.pid, LIMIT.as_secs());
                push(&mut lines, &json!({ "note": note }));
            }
        }
        for part in std::mem::take(&mut lines).chunks(ANSWER_PART_BYTES) {
            asker.send(part.to_vec()).await?;
        }
    }
    Ok(())
}

fn push(lines: &mut Vec<u8>, value: &Value) {
    lines.extend_from_slice(value.to_string().as_bytes());
    lines.push(b'\n');
}

fn described(process: &Attached, row: &ObjectRow) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let nodes: Vec<_> = row.node_ids.iter().map(|node| hex(node)).collect();
    let place = match (row.size, row.in_memory) {
        (None, _) => "",
        (_, true) => "OWNER",
        _ => "STORE",
    };
    json!({
        "object_id": hex(&row.object_id), "object_size": row.size, "reference_type": reference_type(row),
        "task_status": row.task_status, "task_name": row.task_name, "type": process.kind, "pid": process.pid,
        "worker_id": process.id.to_string(), "owner_id": hex(&row.owner_id), "job_id": process.job.to_string(),
        "place": place, "node_ids": nodes, "local_refs": row.local_refs, "pending_tasks": row.pins,
        "captured_in": row.captures, "borrowers": row.borrowers,
    })
}

/// What keeps it there, in Ray's words where it has one: the first that holds.
fn reference_type(row: &ObjectRow) -> &'static str {
    match row {
        _ if row.pins > 0 => "USED_BY_PENDING_TASK",
        _ if row.local_refs > 0 => "LOCAL_REFERENCE",
        _ if row.captures > 0 => "CAPTURED_IN_OBJECT",
        _ if row.borrowers > 0 => "BORROWED",
        _ if row.escaped => "PICKLED",
        _ => "UNKNOWN_STATUS",
    }
}

impl Shared {
    /// A process has said which objects it knows.
    pub fn objects_arrived(&self, process: ProcessId, list: &ObjectList) {
        for asker in self.lock().object_lists.remove(&process).unwrap_or_default() {
            // Who asked may have had no time left.
            let _gone = asker.send(list.clone());
        }
    }
}
