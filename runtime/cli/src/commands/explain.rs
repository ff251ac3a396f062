//! `manta explain`: for each node, what keeps a task, an actor or a placement group from running there.

use anyhow::{Context, bail};
use manta_proto::{
    token::Token,
    v1::{Explain, StateKind, node_question::Question},
};
use serde_json::{Value, json};

use super::list::{print, print_json};
use crate::{
    args::ExplainArgs,
    client::{self, Head},
};

/// Explains.
///
/// # Errors
/// When nothing has that id.
pub async fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let mut head = client::head(&args.at.address, &Token::find()?).await?;
    let waiting = waiting(&mut head).await?;
    let explained = match (&args.id, &args.name) {
        (None, None) => everything(&mut head, &waiting).await?,
        (None, Some(name)) => {
            let rows = client::rows(&mut head, StateKind::StateTasks, &[("name", name)]).await?;
            if rows.is_empty() {
                bail!("the cluster knows no task or actor called '{name}'; see 'manta list tasks'");
            }
            explain_all(&mut head, &rows, &waiting).await?
        }
        (Some(id), _) => one(&mut head, id, &waiting).await?,
    };
    if args.json {
        return print_json(&Value::Array(explained));
    }
    if explained.is_empty() {
        print("Nothing waits.\n");
    }
    let blocks: Vec<_> = explained.iter().map(shown).collect();
    print(&blocks.join("\n"));
    Ok(())
}

/// What waits for a worker, as all nodes tell it.
async fn waiting(head: &mut Head) -> anyhow::Result<Vec<Value>> {
    let question = Question::Explain(Explain { id: String::new() });
    let answers = client::json_answers(head, Vec::new(), question).await?;
    Ok(answers
        .into_iter()
        .flat_map(|(_, answer)| answer["waiting"].as_array().cloned().unwrap_or_default())
        .collect())
}

async fn everything(head: &mut Head, waiting: &[Value]) -> anyhow::Result<Vec<Value>> {
    let mut explained = Vec::new();
    for group in waiting {
        explained.push(json!({
            "what": if group["actor"] == true { "actors" } else { "tasks" }, "name": group["names"],
            "count": group["requests"], "state": "PENDING_NODE_ASSIGNMENT",
            "why": format!("needs {}; {}", text(&group["needs"]), text(&group["stage"])), "nodes": group["nodes"],
        }));
    }
    for row in client::rows(head, StateKind::StateTasks, &[("state", "PENDING_ARGS_AVAIL")]).await? {
        explained.push(explain_task(head, &row, waiting).await?);
    }
    explained.extend(
        groups(head)
            .await?
            .iter()
            .filter(|row| row["state"] != "CREATED" && row["state"] != "REMOVED")
            .map(explain_group),
    );
    Ok(explained)
}

async fn groups(head: &mut Head) -> anyhow::Result<Vec<Value>> {
    client::rows(head, StateKind::StatePlacementGroups, &[]).await
}

async fn one(head: &mut Head, id: &str, waiting: &[Value]) -> anyhow::Result<Vec<Value>> {
    let tasks = client::rows(head, StateKind::StateTasks, &[("task_id", id)]).await?;
    if !tasks.is_empty() {
        return explain_all(head, &tasks, waiting).await;
    }
    let groups = groups(head).await?;
    let meant = |row: &&Value| row["placement_group_id"].as_str().is_some_and(|found| found.starts_with(id));
    let explained: Vec<_> = groups.iter().filter(meant).map(explain_group).collect();
    if explained.is_empty() {
        bail!(
            "the cluster knows no task, actor or placement group by the id '{id}'; see 'manta list tasks', and for placement groups \
             'manta list placement-groups'"
        );
    }
    Ok(explained)
}

async fn explain_all(head: &mut Head, rows: &[Value], waiting: &[Value]) -> anyhow::Result<Vec<Value>> {
    let mut explained: Vec<Value> = Vec::new();
    for row in rows {
        // The newest attempt of each is the one that counts.
        if !explained.iter().any(|other| other["id"] == row["task_id"]) {
            explained.push(explain_task(head, row, waiting).await?);
        }
    }
    Ok(explained)
}

async fn explain_task(head: &mut Head, row: &Value, waiting: &[Value]) -> anyhow::Result<Value> {
    let state = text(&row["state"]);
    let mut nodes = Value::Array(Vec::new());
    let why = match &*state {
        "PENDING_ARGS_AVAIL" => dependencies(head, row).await?,
        "PENDING_NODE_ASSIGNMENT" => {
            let same = |group: &&Value| {
                group["owner_id"] == row["owner_id"]
                    && group["required_resources"] == row["required_resources"]
            };
            let named =
                |group: &&Value| group["names"].as_array().is_some_and(|names| names.contains(&row["name"]));
            // Tasks that are alike wait together, under the name of the first.
            let group = waiting.iter().filter(same).find(named).or_else(|| waiting.iter().find(same));
            match group {
                Some(group) => {
                    nodes = group["nodes"].clone();
                    format!("it needs {}; {}", text(&group["needs"]), text(&group["stage"]))
                }
                None => {
                    "workers that run such tasks are busy with others of them; it is next when one is free"
                        .to_owned()
                }
            }
        }
        "SUBMITTED_TO_WORKER" => {
            format!(
                "it is with the worker {} on {}, behind the task that runs there",
                row["worker_pid"],
                text(&row["node_name"])
            )
        }
        "RUNNING" => format!("it runs in worker {} on {}", row["worker_pid"], text(&row["node_name"])),
        "PAUSED" => {
            format!("a debugger has paused it in worker {} on {}", row["worker_pid"], text(&row["node_name"]))
        }
        "FINISHED" => "it has ended well".to_owned(),
        "FAILED" => format!("it has failed: {}", text(&row["error"])),
        _ => "its owner has not said how it is".to_owned(),
    };
    Ok(json!({
        "what": "task", "id": row["task_id"], "attempt": row["attempt"], "name": row["name"], "state": state, "why": why,
        "nodes": nodes, "waits_for": row["waits_for"],
    }))
}

async fn dependencies(head: &mut Head, row: &Value) -> anyhow::Result<String> {
    let mut waits = Vec::new();
    for object in row["waits_for"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        // The id of an object begins with that of the task that makes it.
        let task = object.get(..32).context("the head answered with an object id that is none")?;
        let made_by = client::rows(head, StateKind::StateTasks, &[("task_id", task)]).await?;
        waits.push(match made_by.first() {
            Some(task) => format!(
                "the result of '{}' ({}), which is {}",
                text(&task["name"]),
                &object[..16],
                text(&task["state"])
            ),
            None => format!("the object {object}, whose task is not listed"),
        });
    }
    Ok(match waits.len() {
        0 => "it waits for its arguments".to_owned(),
        _ => format!("it waits for {}", waits.join("; and ")),
    })
}

fn explain_group(row: &Value) -> Value {
    let why = match row["state"].as_str() {
        Some("CREATED") => "it has its nodes".to_owned(),
        Some("REMOVED") => "it was removed".to_owned(),
        _ => format!("it waits for {}", text(&row["waits_for"])),
    };
    let bundle = |bundle: &Value| {
        let node = text(&bundle["node_id"]);
        json!({
            "bundle": bundle["index"], "resources": bundle["resources"],
            "node_id": if node.is_empty() { Value::Null } else { json!(node) },
        })
    };
    let bundles: Vec<_> = row["bundles"].as_array().into_iter().flatten().map(bundle).collect();
    json!({
        "what": "placement group", "id": row["placement_group_id"], "name": row["name"], "state": row["state"], "why": why,
        "bundles": bundles, "nodes": [],
    })
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shown(explained: &Value) -> String {
    let names = match &explained["name"] {
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(", "),
        name => text(name),
    };
    let id =
        explained["id"].as_str().map(|id| format!(" {}", id.get(..16).unwrap_or(id))).unwrap_or_default();
    let count = explained["count"].as_u64().map(|count| format!("{count} ")).unwrap_or_default();
    let mut lines = format!(
        "{count}{}{id} '{names}': {}\n  {}\n",
        text(&explained["what"]),
        text(&explained["state"]),
        text(&explained["why"])
    );
    for node in explained["nodes"].as_array().into_iter().flatten() {
        let blocked = node["blocked_by"].as_str().unwrap_or("has room; it is asked next");
        lines.push_str(&format!("  {}: {blocked}\n", text(&node["node_name"])));
    }
    lines
}
