//! `manta list`, `manta get` and `manta summary`: what the cluster is and does, row by row.

use anyhow::{Context, bail};
use manta_node::resources::Resources;
use manta_proto::{
    PROTOCOL_VERSION,
    token::Token,
    v1::{ListStateRequest, ListStateResponse, StateFilter, StateKind},
};
use serde_json::{Value, json};

use crate::{
    args::{GetArgs, Kind, ListArgs, StateArgs, SummaryArgs},
    client,
    table::{self, table},
};

/// Prints rows.
///
/// # Errors
/// When the head cannot be asked, or refuses.
pub async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let answer = ask(&args.state, false, args.limit, args.page.clone()).await?;
    let rows = rows(&answer)?;
    if args.state.json {
        return print_json(&json!({
            "rows": rows, "total": answer.total, "next_page": answer.next_page, "notes": answer.notes,
        }));
    }
    if args.detail {
        print_details(&rows);
    } else {
        print_table(args.state.kind, &rows);
    }
    print_rest(&answer, rows.len());
    Ok(())
}

/// Prints all there is about one thing.
///
/// # Errors
/// When the head cannot be asked, or has nothing of that id.
pub async fn get(args: &GetArgs) -> anyhow::Result<()> {
    let filter = Filter { key: id_key(args.kind).to_owned(), value: args.id.clone(), differs: false };
    let state =
        StateArgs { kind: args.kind, address: args.address.clone(), filters: vec![filter], json: args.json };
    let answer = ask(&state, false, 100, None).await?;
    let rows = rows(&answer)?;
    if rows.is_empty() {
        bail!(
            "the cluster knows none of its {} by the id '{}'; see 'manta list {}'",
            args.kind,
            args.id,
            args.kind
        );
    }
    if args.json {
        return print_json(&Value::Array(rows));
    }
    print_details(&rows);
    Ok(())
}

/// Prints counts.
///
/// # Errors
/// When the head cannot be asked, or refuses.
pub async fn summary(args: &SummaryArgs) -> anyhow::Result<()> {
    let answer = ask(&args.state, true, 0, None).await?;
    let rows = rows(&answer)?;
    if args.state.json {
        return print_json(&json!({ "rows": rows, "total": answer.total, "notes": answer.notes }));
    }
    let lines: Vec<Vec<String>> = match args.state.kind {
        Kind::Tasks => task_counts(&rows),
        _ => counts(&rows),
    };
    print(&table(&lines));
    notes(&answer);
    Ok(())
}

pub use crate::args::Filter;

async fn ask(
    args: &StateArgs,
    summary: bool,
    limit: u32,
    page: Option<String>,
) -> anyhow::Result<ListStateResponse> {
    let mut head = client::head(&args.address, &Token::find()?).await?;
    let filter = |filter: &Filter| StateFilter {
        key: filter.key.clone(),
        value: filter.value.clone(),
        differs: filter.differs,
    };
    let kind = match args.kind {
        Kind::Tasks => StateKind::StateTasks,
        Kind::Nodes => StateKind::StateNodes,
        Kind::Jobs => StateKind::StateJobs,
        Kind::Workers => StateKind::StateWorkers,
        Kind::Objects => StateKind::StateObjects,
        Kind::PlacementGroups => StateKind::StatePlacementGroups,
        Kind::Actors => StateKind::StateActors,
        Kind::RuntimeEnvs => StateKind::StateRuntimeEnvs,
        Kind::SubmittedJobs => StateKind::StateSubmittedJobs,
    };
    let request = ListStateRequest {
        protocol_version: PROTOCOL_VERSION,
        kind: kind.into(),
        filters: args.filters.iter().map(filter).collect(),
        limit,
        page: page.unwrap_or_default(),
        summary,
    };
    client::list_state(&mut head, request).await
}

fn rows(answer: &ListStateResponse) -> anyhow::Result<Vec<Value>> {
    let row =
        |row: &String| serde_json::from_str(row).context("the head answered with a row that is no JSON");
    answer.rows.iter().map(row).collect()
}

fn id_key(kind: Kind) -> &'static str {
    match kind {
        Kind::Tasks => "task_id",
        Kind::Nodes => "node_id",
        Kind::Jobs => "job_id",
        Kind::Workers => "worker_id",
        Kind::Objects => "object_id",
        Kind::PlacementGroups => "placement_group_id",
        Kind::Actors => "actor_id",
        // They have no id of their own; a node has few.
        Kind::RuntimeEnvs => "node_id",
        Kind::SubmittedJobs => "submission_id",
    }
}

/// The columns of a table, and their headings.
fn columns(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Tasks => &[
            ("task_id", "TASK"),
            ("attempt", "ATTEMPT"),
            ("name", "NAME"),
            ("state", "STATE"),
            ("duration", "TOOK"),
            ("job_id", "JOB"),
            ("node_name", "NODE"),
            ("worker_pid", "PID"),
            ("error", "ERROR"),
        ],
        Kind::Nodes => &[
            ("node_id", "NODE"),
            ("name", "NAME"),
            ("state", "STATE"),
            ("total", "HAS"),
            ("available", "FREE"),
            ("workers", "WORKERS"),
            ("pid", "PID"),
        ],
        Kind::Jobs => &[
            ("job_id", "JOB"),
            ("name", "NAME"),
            ("state", "STATE"),
            ("node_name", "NODE"),
            ("driver_pid", "DRIVER PID"),
            ("started_unix_ms", "STARTED"),
        ],
        Kind::PlacementGroups => &[
            ("placement_group_id", "PLACEMENT GROUP"),
            ("name", "NAME"),
            ("state", "STATE"),
            ("strategy", "STRATEGY"),
            ("job_id", "JOB"),
            ("waits_for", "WAITS FOR"),
        ],
        Kind::Actors => &[
            ("actor_id", "ACTOR"),
            ("class_name", "CLASS"),
            ("name", "NAME"),
            ("ray_namespace", "NAMESPACE"),
            ("state", "STATE"),
            ("job_id", "JOB"),
            ("node_name", "NODE"),
            ("pid", "PID"),
        ],
        Kind::RuntimeEnvs => &[
            ("node_name", "NODE"),
            ("state", "STATE"),
            ("creation_time_ms", "TOOK MS"),
            ("ref_cnt", "USED BY"),
            ("environment", "ENVIRONMENT"),
            ("error", "ERROR"),
        ],
        Kind::SubmittedJobs => &[
            ("submission_id", "SUBMISSION"),
            ("status", "STATUS"),
            ("node_name", "NODE"),
            ("submitted_unix_ms", "SUBMITTED"),
            ("entrypoint", "ENTRYPOINT"),
        ],
        Kind::Objects => &[
            ("object_id", "OBJECT"),
            ("object_size", "BYTES"),
            ("reference_type", "REFERENCE"),
            ("task_name", "TASK"),
            ("task_status", "TASK STATUS"),
            ("type", "PROCESS"),
            ("pid", "PID"),
            ("node_name", "NODE"),
        ],
        Kind::Workers => &[
            ("worker_id", "WORKER"),
            ("kind", "KIND"),
            ("pid", "PID"),
            ("node_name", "NODE"),
            ("job_id", "JOB"),
            ("debug_level", "DEBUG LEVEL"),
        ],
    }
}

fn print_table(kind: Kind, rows: &[Value]) {
    let columns = columns(kind);
    let mut lines = vec![columns.iter().map(|(_, heading)| (*heading).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|(key, _)| cell(row, key)).collect()));
    print(&table(&lines));
}

/// The table of submitted jobs.
pub fn print_submitted(rows: &[Value]) {
    print_table(Kind::SubmittedJobs, rows);
}

const CELL_CHARS_MAX: usize = 60;

fn cell(row: &Value, key: &str) -> String {
    match (key, &row[key]) {
        ("environment", _) => cut(&row["runtime_env"].to_string()),
        ("creation_time_ms", Value::Number(ms)) => format!("{:.0}", ms.as_f64().unwrap_or(0.0)),
        ("duration", _) => match (row["started_unix_us"].as_u64(), row["ended_unix_us"].as_u64()) {
            (Some(started), Some(ended)) => table::microseconds(ended.saturating_sub(started)),
            _ => String::new(),
        },
        // People choose these.
        ("submission_id", Value::String(id)) => id.clone(),
        // Those of one task differ in their last digits.
        ("object_id", Value::String(id)) => id.clone(),
        (_, Value::String(id)) if key.ends_with("_id") => id.chars().take(16).collect(),
        (_, Value::Number(ms)) if key.ends_with("_unix_ms") => table::moment(ms.as_u64().unwrap_or(0)),
        ("total" | "available", Value::Object(amounts)) => {
            let named = amounts.iter().filter_map(|(name, amount)| Some((name.as_str(), amount.as_f64()?)));
            Resources::from_amounts(named)
                .map_or_else(|error| error, |amounts| amounts.for_people().to_string())
        }
        (_, Value::Object(amounts)) => {
            let amounts: Vec<_> =
                amounts.iter().map(|(name, amount)| format!("{name} {}", text(amount))).collect();
            amounts.join(", ")
        }
        (_, value) => cut(&text(value)),
    }
}

fn cut(text: &str) -> String {
    // A cell is one line.
    let text = text.replace('\n', " ");
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        // Amounts of resources are whole most of the time.
        Value::Number(number) => number
            .as_f64()
            .filter(|_| number.is_f64())
            .map_or(number.to_string(), |amount| amount.to_string()),
        other => other.to_string(),
    }
}

fn print_details(rows: &[Value]) {
    let mut blocks = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        let width = row.keys().map(String::len).max().unwrap_or(0);
        let lines = row.iter().map(|(key, value)| format!("{key:width$}  {}\n", text(value)));
        blocks.push(lines.collect::<String>());
    }
    print(&blocks.join("\n"));
}

fn task_counts(rows: &[Value]) -> Vec<Vec<String>> {
    let mut states: Vec<&String> =
        rows.iter().filter_map(|row| row["states"].as_object()).flat_map(|states| states.keys()).collect();
    states.sort();
    states.dedup();
    let mut lines = vec![
        std::iter::once("NAME".to_owned())
            .chain(states.iter().map(|state| (*state).clone()))
            .collect::<Vec<_>>(),
    ];
    for row in rows {
        let count = |state: &&String| row["states"][state.as_str()].as_u64().unwrap_or(0).to_string();
        lines.push(std::iter::once(text(&row["name"])).chain(states.iter().map(count)).collect());
    }
    lines
}

fn counts(rows: &[Value]) -> Vec<Vec<String>> {
    let keys: Vec<String> =
        rows.first().and_then(Value::as_object).map(|row| row.keys().cloned().collect()).unwrap_or_default();
    let mut lines = vec![keys.iter().map(|key| key.to_uppercase().replace('_', " ")).collect()];
    lines.extend(rows.iter().map(|row| keys.iter().map(|key| text(&row[key])).collect()));
    lines
}

fn print_rest(answer: &ListStateResponse, shown: usize) {
    if !answer.next_page.is_empty() {
        print(&format!(
            "\n{shown} of {} are shown; go on with --page {}, show more with --limit, or choose with --filter\n",
            answer.total, answer.next_page
        ));
    }
    notes(answer);
}

fn notes(answer: &ListStateResponse) {
    for note in &answer.notes {
        print(&format!("\n{note}\n"));
    }
}

#[expect(clippy::print_stdout, reason = "the command's output")]
pub fn print(text: &str) {
    print!("{text}");
}

pub fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?));
    Ok(())
}
