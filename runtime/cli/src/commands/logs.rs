//! `manta logs`: what workers, drivers and tasks printed, also those that have ended.

use std::io::Write;

use anyhow::{Context, bail};
use manta_proto::{
    token::Token,
    v1::{ListLogs, ReadLog, StateKind, node_question::Question},
};
use serde_json::{Value, json};

use super::list::{print, print_json};
use crate::{
    args::LogsArgs,
    client::{self, Head},
    table::{moment, table},
};

/// A log of a node.
struct Found {
    node: String,
    name: String,
    row: Value,
}

/// Lists logs, or prints one.
///
/// # Errors
/// When there is none of that kind.
pub async fn run(args: &LogsArgs) -> anyhow::Result<()> {
    let mut head = client::head(&args.at.address, &Token::find()?).await?;
    if let Some(task) = &args.task {
        return task_log(&mut head, args, task).await;
    }
    let pattern = match (&args.worker, &args.actor, &args.job, &args.name) {
        (Some(worker), ..) => worker_pattern(worker, args.err),
        (_, Some(actor), ..) => worker_pattern(&worker_of_task(&mut head, actor).await?.1, args.err),
        (_, _, Some(job), _) => format!("job-driver-{job}.log"),
        (.., Some(name)) => name.clone(),
        _ => String::new(),
    };
    let found = find(&mut head, args, &pattern).await?;
    if pattern.is_empty() || (args.json && args.name.is_some()) {
        return list(args, &found);
    }
    match &found[..] {
        [] => bail!("no node has a log '{pattern}'; 'manta logs' lists those that there are"),
        [only] => copy(&mut head, only, args).await,
        several => {
            let stale = |found: &&Found| found.row["open"] == false;
            // A process id may have been used twice: the one that runs is meant.
            let open: Vec<_> = several.iter().filter(|found| !stale(found)).collect();
            match &open[..] {
                [only] => copy(&mut head, only, args).await,
                _ => list(args, &found),
            }
        }
    }
}

fn worker_pattern(worker: &str, err: bool) -> String {
    let stream = if err { "err" } else { "out" };
    // A short number is a process id; ids are long, and may be cut.
    if worker.len() < 8 && worker.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("worker-*-{worker}.{stream}")
    } else {
        format!("worker-{worker}*.{stream}")
    }
}

/// The node and the worker that run or ran a task or an actor, whose id is that of its first task.
async fn worker_of_task(head: &mut Head, id: &str) -> anyhow::Result<(String, String)> {
    let rows = client::rows(head, StateKind::StateTasks, &[("task_id", id)]).await?;
    let row = rows.first().with_context(|| format!("the cluster knows no task or actor by the id '{id}'"))?;
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    if text("worker_id").is_empty() {
        bail!(
            "'{}' ({id}) has not started yet, so it has printed nothing; see 'manta explain {id}'",
            text("name")
        );
    }
    Ok((text("node_id"), text("worker_id")))
}

async fn task_log(head: &mut Head, args: &LogsArgs, id: &str) -> anyhow::Result<()> {
    let rows = client::rows(head, StateKind::StateTasks, &[("task_id", id)]).await?;
    let row = rows
        .first()
        .with_context(|| format!("the cluster knows no task by the id '{id}'; see 'manta list tasks'"))?;
    let task_id = row["task_id"].as_str().unwrap_or_default().to_owned();
    let (node, worker) = worker_of_task(head, &task_id).await?;
    if args.follow {
        // Tasks share their worker with others: what is to come is not told apart.
        let found = find(head, args, &worker_pattern(&worker, args.err)).await?;
        let only = found.first().context("the worker's log is gone")?;
        return copy(head, only, args).await;
    }
    let name = format!("*.{}", if args.err { "err" } else { "out" });
    let read = Question::ReadLog(ReadLog { name, tail: args.tail, follow: false, task_id });
    print_parts(head, node, read).await
}

async fn find(head: &mut Head, args: &LogsArgs, pattern: &str) -> anyhow::Result<Vec<Found>> {
    let nodes: Vec<String> = args.node.iter().cloned().collect();
    let question = Question::ListLogs(ListLogs { pattern: pattern.to_owned() });
    let mut found = Vec::new();
    for (node, rows) in client::json_answers(head, nodes, question).await? {
        for row in rows.as_array().into_iter().flatten() {
            let name = row["name"].as_str().unwrap_or_default().to_owned();
            found.push(Found { node: node.clone(), name, row: row.clone() });
        }
    }
    found.sort_by(|a, b| (&a.node, &a.name).cmp(&(&b.node, &b.name)));
    Ok(found)
}

fn list(args: &LogsArgs, found: &[Found]) -> anyhow::Result<()> {
    if args.json {
        let rows = found.iter().map(|found| {
            let mut row = found.row.clone();
            row["node_name"] = json!(found.node);
            row
        });
        return print_json(&rows.collect());
    }
    let mut lines = vec![["NODE", "LOG", "BYTES", "WRITTEN", ""].map(str::to_owned).to_vec()];
    lines.extend(found.iter().map(|found| {
        let modified = found.row["modified_unix_ms"].as_u64().unwrap_or(0);
        let ended = if found.row["open"] == true { "" } else { "ended" };
        vec![
            found.node.clone(),
            found.name.clone(),
            found.row["bytes"].to_string(),
            moment(modified),
            ended.to_owned(),
        ]
    }));
    print(&table(&lines));
    Ok(())
}

async fn copy(head: &mut Head, found: &Found, args: &LogsArgs) -> anyhow::Result<()> {
    let read =
        ReadLog { name: found.name.clone(), tail: args.tail, follow: args.follow, task_id: String::new() };
    print_parts(head, found.node.clone(), Question::ReadLog(read)).await
}

async fn print_parts(head: &mut Head, node: String, question: Question) -> anyhow::Result<()> {
    let mut parts = client::ask_nodes(head, vec![node], question).await?;
    let mut stdout = std::io::stdout();
    while let Some(part) = client::next_part(&mut parts).await? {
        stdout.write_all(&part.data)?;
        stdout.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_id_is_told_apart_from_an_id() {
        assert_eq!(worker_pattern("4711", true), "worker-*-4711.err");
        assert_eq!(worker_pattern("4f2a", false), "worker-4f2a*.out");
        assert_eq!(worker_pattern("0123456789", false), "worker-0123456789*.out");
    }
}
