//! `manta stack`: where the threads of workers are.

use anyhow::{Context, bail};
use manta_proto::{
    token::Token,
    v1::{Stacks, StateKind, node_question::Question},
};
use serde_json::{Value, json};

use super::list::{print, print_json};
use crate::{args::StackArgs, client};

/// Prints stacks.
///
/// # Errors
/// When there is no such worker, task or node.
pub async fn run(args: &StackArgs) -> anyhow::Result<()> {
    let mut head = client::head(&args.at.address, &Token::find()?).await?;
    let mut workers = Vec::new();
    for wanted in &args.worker {
        let rows = client::rows(&mut head, StateKind::StateWorkers, &[]).await?;
        let meant = |row: &&Value| {
            wanted.parse().is_ok_and(|pid: u64| row["pid"] == pid)
                || row["worker_id"].as_str().is_some_and(|id| id.starts_with(&**wanted))
        };
        let found = rows.iter().find(meant);
        let found = found
            .with_context(|| format!("the cluster has no worker '{wanted}'; see 'manta list workers'"))?;
        workers.push(found["worker_id"].as_str().unwrap_or_default().to_owned());
    }
    if let Some(task) = &args.task {
        let rows = client::rows(&mut head, StateKind::StateTasks, &[("task_id", task)]).await?;
        let row = rows.first().with_context(|| format!("the cluster knows no task by the id '{task}'"))?;
        match row["worker_id"].as_str().filter(|_| row["ended_unix_us"].is_null()) {
            Some(worker) if !worker.is_empty() => workers.push(worker.to_owned()),
            _ => bail!("the task '{task}' runs nowhere: it is {}", row["state"].as_str().unwrap_or_default()),
        }
    }
    let question = Question::Stacks(Stacks { workers, native: !args.python });
    let nodes: Vec<String> = args.node.iter().cloned().collect();
    let mut stacks: Vec<(String, Value)> = client::json_answers(&mut head, nodes, question).await?;
    stacks.sort_by_key(|(node, stack)| (node.clone(), stack["pid"].as_u64()));
    if args.json {
        let rows = stacks.into_iter().map(|(node, mut stack)| {
            stack["node_name"] = json!(node);
            stack
        });
        return print_json(&rows.collect());
    }
    let blocks: Vec<_> = stacks.iter().map(|(_, stack)| shown(stack)).collect();
    print(&blocks.join("\n"));
    if blocks.is_empty() {
        print("There is no worker.\n");
    }
    Ok(())
}

fn shown(stack: &Value) -> String {
    let tasks: Vec<_> = stack["tasks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let tasks = if tasks.is_empty() { "no task".to_owned() } else { tasks.join(", ") };
    let mut text = format!("{} ({tasks})\n", stack["description"].as_str().unwrap_or_default());
    for kind in ["python", "native"] {
        if let Some(error) = stack[format!("{kind}_error")].as_str() {
            text.push_str(&format!("  no {kind} stacks: {error}\n"));
        }
        for thread in stack[kind].as_array().into_iter().flatten() {
            let name = thread["name"].as_str().unwrap_or_default();
            let task = thread["task"].as_str().map(|task| format!(", task {task}")).unwrap_or_default();
            text.push_str(&format!("  {kind} thread {} '{name}'{task}\n", thread["id"]));
            for frame in thread["frames"].as_array().into_iter().flatten() {
                let place = match (frame["file"].as_str(), frame["line"].as_u64()) {
                    (Some(file), Some(line)) => format!(" ({file}:{line})"),
                    (Some(file), None) => format!(" ({file})"),
                    _ => String::new(),
                };
                text.push_str(&format!("    {}{place}\n", frame["function"].as_str().unwrap_or("?")));
            }
        }
    }
    text
}
