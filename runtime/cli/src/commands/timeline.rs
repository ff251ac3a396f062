//! `manta timeline`: which task ran where and when, as a trace that Perfetto and chrome://tracing open.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use manta_proto::{
    PROTOCOL_VERSION,
    token::Token,
    v1::{ListStateRequest, StateKind},
};
use serde_json::{Value, json};

use crate::{args::TimelineArgs, client};

/// Writes the trace of what the head still knows.
///
/// # Errors
/// When the head cannot be asked, or the file not be written.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub async fn run(args: &TimelineArgs) -> anyhow::Result<()> {
    let (rows, notes) = all_tasks(&args.address).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let events = trace(&rows, u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
    match args.output.as_deref() {
        Some(path) if path != Path::new("-") => {
            let file = File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
            write(BufWriter::new(file), &events)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            println!(
                "{} attempts of tasks are in {}; open it at https://ui.perfetto.dev or chrome://tracing",
                events.iter().filter(|event| event["ph"] == "X").count(),
                path.display()
            );
        }
        _ => write(std::io::stdout().lock(), &events)?,
    }
    for note in notes {
        eprintln!("manta: {note}");
    }
    Ok(())
}

async fn all_tasks(address: &str) -> anyhow::Result<(Vec<Value>, Vec<String>)> {
    let mut head = client::head(address, &Token::find()?).await?;
    let (mut rows, mut page) = (Vec::new(), String::new());
    loop {
        let request = ListStateRequest {
            protocol_version: PROTOCOL_VERSION,
            kind: StateKind::StateTasks.into(),
            page,
            ..ListStateRequest::default()
        };
        let answer = client::list_state(&mut head, request).await?;
        for row in &answer.rows {
            rows.push(serde_json::from_str(row).context("the head answered with a row that is no JSON")?);
        }
        page = answer.next_page;
        if page.is_empty() {
            return Ok((rows, answer.notes));
        }
    }
}

/// One event a line: such files are looked at with line tools too.
fn write(mut file: impl Write, events: &[Value]) -> std::io::Result<()> {
    file.write_all(b"[\n")?;
    for (index, event) in events.iter().enumerate() {
        let end = if index + 1 == events.len() { "\n" } else { ",\n" };
        write!(file, "{event}{end}")?;
    }
    file.write_all(b"]\n")?;
    file.flush()
}

/// Rows of a worker that runs several tasks at once; each row has one at a time, as viewers want it.
#[derive(Default)]
struct Rows {
    /// When each row is free again, and its number in the trace.
    rows: Vec<(u64, u64)>,
}

/// The trace's events: nodes are its processes, workers its threads.
fn trace(tasks: &[Value], now_unix_us: u64) -> Vec<Value> {
    let mut ran: Vec<(u64, u64, &Value)> = tasks
        .iter()
        .filter_map(|task| {
            let started = task["started_unix_us"].as_u64()?;
            let ended = task["ended_unix_us"].as_u64().unwrap_or(now_unix_us).max(started);
            Some((started, ended, task))
        })
        .collect();
    ran.sort_by_key(|(started, ended, _)| (*started, *ended));
    let mut nodes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut workers: BTreeMap<(&str, u64), Rows> = BTreeMap::new();
    let (mut events, mut rows_made) = (Vec::new(), 0);
    for (started, ended, task) in ran {
        let node = task["node_name"].as_str().unwrap_or_default();
        let next_node = nodes.len() as u64 + 1;
        let process = *nodes.entry(node).or_insert_with(|| {
            events.push(name("process_name", next_node, 0, node));
            next_node
        });
        let pid = task["worker_pid"].as_u64().unwrap_or(0);
        let rows = &mut workers.entry((node, pid)).or_default().rows;
        let free = rows.iter().position(|(free, _)| *free <= started).unwrap_or_else(|| {
            rows_made += 1;
            let further = if rows.is_empty() { String::new() } else { format!(" ({})", rows.len() + 1) };
            events.push(name("thread_name", process, rows_made, &format!("worker {pid}{further}")));
            rows.push((0, rows_made));
            rows.len() - 1
        });
        rows[free].0 = ended;
        let mut event = json!({
            "ph": "X", "cat": "task", "name": task["name"], "ts": started, "dur": ended - started, "pid": process,
            "tid": rows[free].1,
            "args": {
                "task_id": task["task_id"], "attempt": task["attempt"], "state": task["state"], "job_id": task["job_id"],
                "parent_task_id": task["parent_task_id"], "submitted_unix_us": task["submitted_unix_us"],
                "error": task["error"],
            },
        });
        if task["state"] == "FAILED" {
            event["cname"] = json!("terrible");
        }
        events.push(event);
    }
    events
}

fn name(what: &str, process: u64, thread: u64, name: &str) -> Value {
    json!({ "ph": "M", "name": what, "pid": process, "tid": thread, "args": { "name": name } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(node: &str, pid: u64, started: u64, ended: Option<u64>) -> Value {
        json!({
            "name": "f", "node_name": node, "worker_pid": pid, "state": if ended.is_some() { "FINISHED" } else { "RUNNING" },
            "started_unix_us": started, "ended_unix_us": ended,
        })
    }

    #[test]
    fn tasks_that_overlap_in_a_worker_have_rows_of_their_own() {
        let waiting = json!({ "name": "g", "state": "PENDING_ARGS_AVAIL", "started_unix_us": null });
        let tasks = [
            task("node-1", 7, 30, None),
            task("node-1", 7, 10, Some(20)),
            task("node-1", 7, 15, Some(40)),
            task("node-2", 7, 12, Some(14)),
            waiting,
        ];
        let events = trace(&tasks, 100);
        let spans: Vec<_> = events
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| ["ts", "dur", "pid", "tid"].map(|key| event[key].as_u64().unwrap()))
            .collect();
        // The last has the first one's row, which is free again, and has not ended.
        assert_eq!(spans, [[10, 10, 1, 1], [12, 2, 2, 2], [15, 25, 1, 3], [30, 70, 1, 1]]);
        let names: Vec<_> =
            events.iter().filter(|event| event["ph"] == "M").map(|event| &event["args"]["name"]).collect();
        assert_eq!(names, ["node-1", "worker 7", "node-2", "worker 7", "worker 7 (2)"]);
    }

    #[test]
    fn the_file_is_one_json_array() {
        for count in [0, 1, 3] {
            let mut bytes = Vec::new();
            write(&mut bytes, &vec![json!({"a": 1}); count]).unwrap();
            let read: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(read.len(), count);
        }
    }
}
